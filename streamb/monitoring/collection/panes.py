"""Counts by the minute, which add up to a window of any number of recent minutes.

Minutes are kept for two hours; older ones are added to their hour, and hours are kept for a week. Addition is exact, so
a window is the same whether its rows came in one push or in thousands, in any order.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from functools import reduce
from typing import Final, Generic, Protocol, TypeVar

PANE_S: Final = 60
"""The length of a pane, the unit of time in which counts are kept, in seconds."""
MINUTES_KEPT = 120
HOURS_KEPT = 168
_PANES_PER_HOUR = 60


def pane_of(at: float) -> int:
    """Return the pane (minutes since the epoch) of a time (seconds since the epoch)."""
    return int(at // PANE_S)


class Summable(Protocol):
    """Counts that add up exactly."""

    def __add__(self: S, other: S, /) -> S: ...


S = TypeVar("S", bound=Summable)


class Panes(Generic[S]):
    """The panes of one series, at most `MINUTES_KEPT` minutes and `HOURS_KEPT` hours. Not thread-safe."""

    __slots__ = ("_hours", "_minutes", "_newest")

    def __init__(self) -> None:
        self._minutes: dict[int, S] = {}
        self._hours: dict[int, S] = {}
        self._newest = -1

    @property
    def newest(self) -> int:
        """The newest pane with counts; -1 if there is none."""
        return self._newest

    def add(self, pane: int, counts: S) -> None:
        """Add counts to a pane, which need not be the newest; counts older than a week are discarded."""
        if pane > self._newest:
            self._newest = pane
            self._roll()
        if pane > self._newest - MINUTES_KEPT:
            _add(self._minutes, pane, counts)
        elif pane // _PANES_PER_HOUR > self._newest // _PANES_PER_HOUR - HOURS_KEPT:
            _add(self._hours, pane // _PANES_PER_HOUR, counts)

    def rewind(self, pane: int) -> None:
        """Move the counts of later panes into this one, because the clock was set back to it."""
        if pane >= self._newest:
            return
        hour = pane // _PANES_PER_HOUR
        later = [self._minutes.pop(one) for one in sorted(self._minutes) if one > pane]
        later += [self._hours.pop(one) for one in sorted(self._hours) if one > hour]
        for counts in later:
            _add(self._minutes, pane, counts)
        self._newest = pane

    def window(self, last: int, minutes: int) -> S | None:
        """Return the sum of the `minutes` panes that end with `last`; None if there are no counts.

        Counts older than two hours are added by whole hours: those that begin within the window.
        """
        first = last - minutes + 1
        from_hour, to_hour = math.ceil(first / _PANES_PER_HOUR), last // _PANES_PER_HOUR
        found = [counts for hour, counts in self._hours.items() if from_hour <= hour <= to_hour]
        found += [counts for pane, counts in self._minutes.items() if first <= pane <= last]
        return reduce(operator.add, found) if found else None

    def items(self) -> Iterator[tuple[int, S]]:
        """Yield every pane, the oldest first, an hour as its first minute; `add` of all of them restores the series."""
        yield from ((hour * _PANES_PER_HOUR, counts) for hour, counts in sorted(self._hours.items()))
        yield from sorted(self._minutes.items())

    def _roll(self) -> None:
        for pane in sorted(pane for pane in self._minutes if pane <= self._newest - MINUTES_KEPT):
            _add(self._hours, pane // _PANES_PER_HOUR, self._minutes.pop(pane))
        oldest = self._newest // _PANES_PER_HOUR - HOURS_KEPT
        for hour in [hour for hour in self._hours if hour <= oldest]:
            del self._hours[hour]


def _add(panes: dict[int, S], pane: int, counts: S) -> None:
    panes[pane] = panes[pane] + counts if pane in panes else counts
