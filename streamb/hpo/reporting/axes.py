"""One axis per parameter, for pictures and for importance: where a value lies between 0 and 1, and its label.

Axes come from the search space; where that is not at hand (a file of trials is all there is) they are read off the
values that were tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streamb.hpo.parameters import Categorical, Float, Integer, Ordinal
from streamb.hpo.space import Space

_TICKS: Final = 5
_DECADES_TO_BE_LOGARITHMIC: Final = 2.0
_LONGEST_LABEL: Final = 24
_MOST_LISTED: Final = 12
_MOST_BESIDE: Final = 3
_ROOM_BESIDE: Final = 0.12
"""The share of an axis that each value beside its range takes."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What a parameter, or a score, is drawn along.

    Attributes:
        values: the values of a parameter that has a list of them; None for a range.
        low, high: the ends of a range.
        log: whether equal ratios have equal lengths.
        others: values beside the range, such as a default that is no number; they have places above it.
    """

    name: str
    values: tuple[Any, ...] | None = None
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    others: tuple[Any, ...] = ()

    def position(self, value: Any) -> float | None:
        """Where a value lies, 0 to 1; None for one that is not on the axis.

        >>> Axis("C", low=0.01, high=100.0, log=True).position(1.0), Axis("kind", ("a", "b")).position("b")
        (0.5, 0.75)
        """
        if self.values is not None:
            return _place(self.values, value)
        if _is_beside(value, log=self.log):
            above = _place(self.others, value)
            return None if above is None else self._room + above * (1.0 - self._room)
        if self.high == self.low:
            return 0.5 * self._room
        if self.log:
            return self._room * math.log(value / self.low) / math.log(self.high / self.low)
        return self._room * float((value - self.low) / (self.high - self.low))

    @property
    def _room(self) -> float:
        """The share of the axis that the range takes."""
        return 1.0 - _ROOM_BESIDE * len(self.others)

    def ticks(self, most: int = _TICKS) -> list[tuple[float, str]]:
        """Positions with what to write there."""
        if self.values is not None:
            return [((k + 0.5) / len(self.values), show(value)) for k, value in enumerate(self.values)]
        marks = [self.low]
        if self.high > self.low:
            marks = _decades(self.low, self.high, most) if self.log else _round_numbers(self.low, self.high, most)
        placed = [(self.position(mark), show(mark)) for mark in (*marks, *self.others)]
        return [(position, label) for position, label in placed if position is not None]


def axes_of(space: Space | None, tried: Sequence[Mapping[str, Any]]) -> tuple[Axis, ...]:
    """Axes of the parameters that vary, in the order of the space, wide enough for every value that was tried.

    Args:
        space: the search space; None to read axes off the values.
        tried: parameters of the trials.
    """
    if space is None:
        names = dict.fromkeys(name for parameters in tried for name in parameters)
        inferred = [_inferred(name, [parameters[name] for parameters in tried if name in parameters]) for name in names]
        return tuple(axis for axis in inferred if axis is not None)
    return tuple(_described(p, [t[p.name] for t in tried if p.name in t]) for p in space.searched)


def score_axis(name: str, scores: Iterable[float]) -> Axis:
    """A linear axis around scores, a little wider than they reach."""
    found = [score for score in scores if math.isfinite(score)]
    if not found:
        return Axis(name)
    low, high = min(found), max(found)
    margin = 0.04 * (high - low) or 0.05 * abs(high) or 0.5
    return Axis(name, low=low - margin, high=high + margin)


def show(value: Any, longest: int = _LONGEST_LABEL) -> str:
    """A parameter's value or a score as a person reads it: numbers with four digits, long texts cut.

    >>> show(0.00012345), show(None), show(True), show((64, 32))
    ('0.0001234', 'None', 'True', '(64, 32)')
    """
    if isinstance(value, float) or (_is_number(value) and not isinstance(value, int)):
        return f"{float(value):.4g}"
    text = " ".join(str(value).split())
    return text if len(text) <= longest else text[: max(longest - 1, 0)] + "…"


def shared_prefix(names: Iterable[str]) -> str:
    """What all parameters of a step of a pipeline begin with, and nobody needs to read.

    >>> shared_prefix(["estimator__C", "estimator__gamma"]), shared_prefix(["C", "estimator__gamma"])
    ('estimator__', '')
    """
    stems = {name.rpartition("__")[0] for name in names}
    stem = stems.pop() if len(stems) == 1 else ""
    return f"{stem}__" if stem else ""


def without_prefix(prefix: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by the names that are left."""
    return {name.removeprefix(prefix): value for name, value in parameters.items()}


def show_all(parameters: Mapping[str, Any]) -> str:
    """Parameters on one line: `C=1.5 kernel=rbf`."""
    return " ".join(f"{name}={show(value)}" for name, value in parameters.items())


def _described(parameter: Any, tried: Sequence[Any]) -> Axis:
    if isinstance(parameter, Categorical | Ordinal):
        return Axis(parameter.name, _with_others(parameter.values, tried))
    if not isinstance(parameter, Float | Integer):
        return _inferred(parameter.name, tried) or Axis(parameter.name)
    numbers = [float(value) for value in tried if not _is_beside(value, log=parameter.log)]
    beside = _with_others((), [value for value in tried if _is_beside(value, log=parameter.log)])
    low, high = min([parameter.low, *numbers]), max([parameter.high, *numbers])
    return Axis(parameter.name, low=float(low), high=float(high), log=parameter.log, others=beside[:_MOST_BESIDE])


def _inferred(name: str, tried: Sequence[Any]) -> Axis | None:
    """The axis of values without a space; None for a parameter that never changed."""
    distinct = _with_others((), tried)
    if len(distinct) < 2:
        return None
    numbers = [value for value in tried if _is_number(value)]
    beside = _with_others((), [value for value in tried if not _is_number(value)])
    if len(beside) > min(_MOST_BESIDE, len(set(numbers)) - 2):
        return Axis(name, distinct)
    low, high = float(min(numbers)), float(max(numbers))
    log = low > 0 and math.log10(high / low) >= _DECADES_TO_BE_LOGARITHMIC
    return Axis(name, low=low, high=high, log=log, others=beside)


def _with_others(values: Sequence[Any], tried: Sequence[Any]) -> tuple[Any, ...]:
    found = list(values)
    for value in tried:
        if len(found) >= max(_MOST_LISTED, len(values)) and not all(_is_number(one) for one in found):
            break
        if not any(_same(one, value) for one in found):
            found.append(value)
    return tuple(found)


def _round_numbers(low: float, high: float, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float, most: int) -> list[float]:
    """Powers of ten, every second or third where there are many; the ends where there are too few."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first < 1:
        return [low, math.sqrt(low * high), high]
    stride = max(1, math.ceil((last - first + 1) / most))
    return [float(f"1e{k}") for k in range(first, last + 1, stride)]


def _place(values: Sequence[Any], value: Any) -> float | None:
    number = next((k for k, one in enumerate(values) if _same(one, value)), None)
    return None if number is None else (number + 0.5) / len(values)


def _is_beside(value: Any, *, log: bool) -> bool:
    """Whether a range has no place for a value, wherever it ends."""
    return not _is_number(value) or (log and value <= 0)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except TypeError:
        return False


def _same(one: Any, other: Any) -> bool:
    """Equal, where True is not 1; what cannot be compared is told apart by its text."""
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    try:
        return bool(one == other)
    except (TypeError, ValueError):
        return str(one) == str(other)
