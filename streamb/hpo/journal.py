"""The journal of a search: one JSON line per ask and tell, on disk before either returns, read back on resume.

A line is an object with `event`: `opened` (first line: seed, direction, digest of the space), `asked` (id, row,
hyperparameters of the surrogate; parameters as text) or `told` (id, status, value, variance,
constraints). Numbers come back as the same doubles.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from streamb.errors import InvalidInput
from streamb.store.files import LineFile


@dataclass(frozen=True, slots=True)
class Opened:
    """What the search is; an optimizer that differs in it cannot go on with the journal."""

    seed: int
    direction: str
    space: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A trial was handed out.

    Attributes:
        row: None for a point outside of the space.
        initial: its place among the initial points, if it is one.
        theta: hyperparameters fitted for it, if a surrogate chose it.
        parameters: as text, for people, and for points outside of the space.
        fitted_to: how many results `theta` was fitted to.
    """

    id: int
    row: tuple[float, ...] | None
    initial: int | None
    theta: tuple[float, ...] | None
    parameters: Mapping[str, str]
    fitted_to: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a trial."""

    id: int
    status: str
    value: float | None
    variance: float | None
    constraints: Mapping[str, float] | None


Entry = Opened | Asked | Told

_EVENTS: Final[dict[str, type[Entry]]] = {"opened": Opened, "asked": Asked, "told": Told}
_NAMES: Final = {kind: name for name, kind in _EVENTS.items()}


class Journal:
    """The entries of a search, in a file with one writer at a time.

    Attributes:
        path: the file.
        entries: what was in it when it was opened.

    Raises:
        AlreadyRunning: another process writes to it. StorageFailed: the disk refused.
        InvalidInput: a line is damaged; says which.
    """

    def __init__(self, path: Path | str) -> None:
        self._file = LineFile(path)
        self.path = self._file.path
        try:
            self.entries: tuple[Entry, ...] = tuple(
                self._parse(line, number) for number, line in enumerate(self._file.lines, start=1)
            )
        except BaseException:
            self._file.close()
            raise

    def append(self, entry: Entry) -> None:
        """Add a line; it is on disk when this returns.

        Raises:
            StorageFailed: the disk is full or gone; nothing was added.
        """
        self._file.append({"event": _NAMES[type(entry)], **asdict(entry)})

    def close(self) -> None:
        """Let another process write."""
        self._file.close()

    def _parse(self, line: bytes, number: int) -> Entry:
        try:
            found: dict[str, Any] = json.loads(line)
            kind: Callable[..., Entry] = _EVENTS[found.pop("event")]
            return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in found.items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"line {number} of the journal {self.path} is damaged: {error}") from error
