"""The journal of a search: one JSON line per ask and tell, on disk before either returns, read back on resume.

A line is an object with `event`: `opened` (first line: seed, direction, digest of the space), `asked` (id, row,
hyperparameters of the surrogate; parameters as text) or `told` (id, status, value, variance,
constraints). Numbers come back as the same doubles.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from streamb.errors import InvalidInput
from streamb.store.files import LineFile


@dataclass(frozen=True, slots=True)
class Opened:
    """What identifies a search: an optimizer that differs in it cannot resume from the journal."""

    seed: int
    direction: str
    space: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A trial was handed out.

    Attributes:
        row: the trial's row; None for a point outside the space.
        initial: its index among the initial points; None if it is not one of them.
        theta: the hyperparameters fitted for it; None if no surrogate chose it.
        parameters: the values as text, for people and for points outside the space.
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
    """The result of a trial."""

    id: int
    status: str
    value: float | None
    variance: float | None
    constraints: Mapping[str, float] | None


Entry = Opened | Asked | Told

_EVENTS: Final[dict[str, type[Entry]]] = {"opened": Opened, "asked": Asked, "told": Told}
_NAMES: Final = {kind: name for name, kind in _EVENTS.items()}


def line_of(entry: Entry) -> dict[str, Any]:
    """Return the line of an entry, for `LineFile.append`."""
    return {"event": _NAMES[type(entry)], **asdict(entry)}


def entries_of(file: LineFile) -> list[Entry]:
    """Return the entries that a journal held when it was opened.

    Raises:
        InvalidInput: a line is damaged; the message gives its number.
    """
    return [_entry(line, f"line {number} of the journal {file.path}") for number, line in enumerate(file.lines, 1)]


def _entry(line: bytes, place: str) -> Entry:
    try:
        found: dict[str, Any] = json.loads(line)
        kind: Callable[..., Entry] = _EVENTS[found.pop("event")]
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in found.items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{place} is damaged: {error}") from error
