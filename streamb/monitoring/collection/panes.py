"""Counts by the minute, and any window over the last minutes, by adding them up.

Minutes are kept for two hours; older ones are added into their hour, and hours are kept for a week. Adding is exact, so
a window is the same whether its rows came in one push or in thousands, in order or not.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from functools import reduce
from typing import Final, Generic, Protocol, TypeVar

PANE_S: Final = 60
"""Seconds in one pane, the unit in which what was counted is kept."""
MINUTES_KEPT = 120
HOURS_KEPT = 168
_PANES_PER_HOUR = 60


def pane_of(at: float) -> int:
    """The pane, counted in minutes since the epoch, that holds a moment in seconds since the epoch."""
    return int(at // PANE_S)


class Summable(Protocol):
    """Counts that add up exactly."""

    def __add__(self: S, other: S, /) -> S: ...


S = TypeVar("S", bound=Summable)


class Panes(Generic[S]):
    """The panes of one series. Not thread-safe.

    Bounded: `MINUTES_KEPT` and `HOURS_KEPT` counts at most, whatever comes.
    """

    __slots__ = ("_hours", "_minutes", "_newest")

    def __init__(self) -> None:
        self._minutes: dict[int, S] = {}
        self._hours: dict[int, S] = {}
        self._newest = -1

    @property
    def newest(self) -> int:
        """The newest pane that holds something; -1 while there is none."""
        return self._newest

    def add(self, pane: int, counts: S) -> None:
        """Add to a pane, which need not be the newest. What is older than a week is gone at once."""
        if pane > self._newest:
            self._newest = pane
            self._roll()
        if pane > self._newest - MINUTES_KEPT:
            _add(self._minutes, pane, counts)
        elif pane // _PANES_PER_HOUR > self._newest // _PANES_PER_HOUR - HOURS_KEPT:
            _add(self._hours, pane // _PANES_PER_HOUR, counts)

    def rewind(self, pane: int) -> None:
        """Time was set back to this pane: what is in later ones is counted in it."""
        if pane >= self._newest:
            return
        hour = pane // _PANES_PER_HOUR
        later = [self._minutes.pop(one) for one in sorted(self._minutes) if one > pane]
        later += [self._hours.pop(one) for one in sorted(self._hours) if one > hour]
        for counts in later:
            _add(self._minutes, pane, counts)
        self._newest = pane

    def window(self, last: int, minutes: int) -> S | None:
        """All counts of the last `minutes` panes, `last` being the last; None where nothing was counted.

        Of what is older than two hours, whole hours: those that begin within the window.
        """
        first = last - minutes + 1
        from_hour, to_hour = math.ceil(first / _PANES_PER_HOUR), last // _PANES_PER_HOUR
        found = [counts for hour, counts in self._hours.items() if from_hour <= hour <= to_hour]
        found += [counts for pane, counts in self._minutes.items() if first <= pane <= last]
        return reduce(operator.add, found) if found else None

    def items(self) -> Iterator[tuple[int, S]]:
        """Every pane that is kept, the oldest first; an hour as its first minute. `add` of them all makes the same."""
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
