"""The journal of a search: one JSON line per ask and tell, on disk before either returns, read back on resume.

A line is an object with `event`: `opened` (first line: seed, direction, digest of the space), `asked` (id, row,
hyperparameters of the surrogate; parameters as text, for people) or `told` (id, status, value, variance,
constraints). Numbers come back as the same doubles. A last line that a crash cut short is dropped: whoever wrote it
had not been answered yet.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from streamb.errors import AlreadyRunning, InvalidInput, StorageFailed


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
        parameters: as text; nothing is read from them.
    """

    id: int
    row: tuple[float, ...] | None
    initial: int | None
    theta: tuple[float, ...] | None
    parameters: Mapping[str, str]


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
    """An append-only file with one writer at a time.

    Attributes:
        path: the file; its folder is made if there is none.
        entries: what was in it when it was opened.

    Raises:
        AlreadyRunning: another process writes to it.
        InvalidInput: a line before the last is damaged; says which.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        except OSError as error:
            raise StorageFailed(f"the journal {self.path} cannot be opened: {error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise AlreadyRunning(
                f"another process writes the journal {self.path}; stop it or use another file"
            ) from error
        try:
            self.entries: tuple[Entry, ...] = tuple(self._read())
        except BaseException:
            self._file.close()
            raise

    def append(self, entry: Entry) -> None:
        """Add a line; it is on disk when this returns.

        Raises:
            StorageFailed: the disk is full or gone.
        """
        line = json.dumps({"event": _NAMES[type(entry)], **asdict(entry)}, separators=(",", ":"), allow_nan=False)
        try:
            self._file.write(line.encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageFailed(f"the journal {self.path} cannot be written: {error}") from error

    def close(self) -> None:
        """Let another process write."""
        self._file.close()

    def _read(self) -> Iterator[Entry]:
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                break
            yield self._parse(line, number)
            whole += len(line)
        self._file.truncate(whole)

    def _parse(self, line: bytes, number: int) -> Entry:
        try:
            found: dict[str, Any] = json.loads(line)
            kind: Callable[..., Entry] = _EVENTS[found.pop("event")]
            return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in found.items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"line {number} of the journal {self.path} is damaged: {error}") from error
