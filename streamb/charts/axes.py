"""Axes: the position of a value between 0 and 1, the ticks, and the text of values.

An axis is a range of numbers, linear or logarithmic, or a list of values; a range may have values beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

_TICKS: Final = 5
_DECADES_TO_BE_LOGARITHMIC: Final = 2.0
_LONGEST_LABEL: Final = 24
_MOST_LISTED: Final = 12
_MOST_BESIDE: Final = 3
_ROOM_BESIDE: Final = 0.12
"""The share of an axis for each value beside its range."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a chart.

    Attributes:
        name: the text beside it.
        values: the values of an axis that is a list of them; None for a range.
        low, high: the ends of a range.
        log: whether equal ratios have equal lengths.
        others: values beside the range, such as a default that is not a number; their places are above it.
    """

    name: str
    values: tuple[Any, ...] | None = None
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    others: tuple[Any, ...] = ()

    def position(self, value: Any) -> float | None:
        """Return the position of a value, 0 to 1; None if it is not on the axis.

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
        """Return the share of the axis for the range."""
        return 1.0 - _ROOM_BESIDE * len(self.others)

    def within(self, number: float) -> float:
        """Return the position of a number, 0 to 1; a number beyond the range is at its edge.

        >>> Axis("x", low=0.0, high=10.0).within(12.0)
        1.0
        """
        return min(max(self.position(number) or 0.0, 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Return the positions of about five ticks, with their labels."""
        if self.values is not None:
            return [((k + 0.5) / len(self.values), show(value)) for k, value in enumerate(self.values)]
        marks = [self.low]
        if self.high > self.low:
            marks = _decades(self.low, self.high) if self.log else _round_numbers(self.low, self.high)
        placed = [(self.position(mark), show(mark)) for mark in (*marks, *self.others)]
        return [(position, label) for position, label in placed if position is not None]


def axis_around(name: str, numbers: Iterable[float]) -> Axis:
    """Return a linear axis for these numbers, a little wider than their range."""
    found = [number for number in numbers if math.isfinite(number)]
    if not found:
        return Axis(name)
    low, high = min(found), max(found)
    margin = 0.04 * (high - low) or 0.05 * abs(high) or 0.5
    return Axis(name, low=low - margin, high=high + margin)


def range_axis(name: str, low: float, high: float, shown: Sequence[Any], *, log: bool = False) -> Axis:
    """Return an axis over a range, widened for numbers outside of it; other values get a place beside the range.

    Args:
        name: the name of the axis.
        low, high: the ends of the range.
        shown: the values that will be drawn.
        log: whether equal ratios have equal lengths; numbers up to 0 are then beside the range.

    >>> range_axis("gamma", 0.1, 10.0, [100.0, "scale"], log=True)
    Axis(name='gamma', values=None, low=0.1, high=100.0, log=True, others=('scale',))
    """
    numbers = [float(value) for value in shown if not _is_beside(value, log=log)]
    beside = distinct([value for value in shown if _is_beside(value, log=log)])
    low, high = min([low, *numbers]), max([high, *numbers])
    return Axis(name, low=float(low), high=float(high), log=log, others=beside[:_MOST_BESIDE])


def axis_through(name: str, shown: Sequence[Any]) -> Axis | None:
    """Return an axis for the values that will be drawn; None if they are all the same.

    Numbers make a range, logarithmic over two powers of ten and more; a list with few numbers stays a list.
    """
    values = distinct(shown)
    if len(values) < 2:
        return None
    numbers = [float(value) for value in shown if _is_number(value)]
    beside = distinct([value for value in shown if not _is_number(value)])
    if len(beside) > min(_MOST_BESIDE, len(set(numbers)) - 2):
        return Axis(name, values)
    low, high = min(numbers), max(numbers)
    log = low > 0 and math.log10(high / low) >= _DECADES_TO_BE_LOGARITHMIC
    return Axis(name, low=low, high=high, log=log, others=beside)


def distinct(shown: Sequence[Any], first: Sequence[Any] = ()) -> tuple[Any, ...]:
    """Return the values `first`, then each other shown value once; at most as many as an axis can list.

    >>> distinct(["a", 1, "a", True], first=["b"])
    ('b', 'a', 1, True)
    """
    found = list(first)
    for value in shown:
        if len(found) >= max(_MOST_LISTED, len(first)) and not all(_is_number(one) for one in found):
            break
        if not any(_same(one, value) for one in found):
            found.append(value)
    return tuple(found)


def show(value: Any, longest: int = _LONGEST_LABEL) -> str:
    """Return the text of a value for people: numbers with four digits, long texts shortened.

    >>> show(0.00012345), show(None), show(True), show((64, 32))
    ('0.0001234', 'None', 'True', '(64, 32)')
    """
    if isinstance(value, float) or (_is_number(value) and not isinstance(value, int)):
        return f"{float(value):.4g}"
    text = " ".join(str(value).split())
    return text if len(text) <= longest else text[: max(longest - 1, 0)] + "…"


def _round_numbers(low: float, high: float) -> list[float]:
    """Return ticks at multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / (_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Return powers of ten, only every second or third if there are many; the ends if there are too few."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first < 1:
        return [low, math.sqrt(low * high), high]
    stride = max(1, math.ceil((last - first + 1) / _TICKS))
    return [float(f"1e{k}") for k in range(first, last + 1, stride)]


def _place(values: Sequence[Any], value: Any) -> float | None:
    number = next((k for k, one in enumerate(values) if _same(one, value)), None)
    return None if number is None else (number + 0.5) / len(values)


def _is_beside(value: Any, *, log: bool) -> bool:
    """Return whether no range can contain the value, so that its place is beside the range."""
    return not _is_number(value) or (log and value <= 0)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except TypeError:
        return False


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, with True unlike 1; values that cannot be compared are compared as text."""
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    try:
        return bool(one == other)
    except (TypeError, ValueError):
        return str(one) == str(other)
