"""How many calls a version gets at once for each of its replicas: what is measured to answer requests fastest.

A second call waits at the replica while the first one is computed, so the replica need not wait for the way between the
two: right for models that take microseconds. But what waits there no longer grows: of sixteen clients, five are in each
of two calls and eight in a single one, so where a call costs much however many rows it has, one at a time answers more.

Whether it is so is not guessed but tried. While requests follow each other without a break, a few calls go at one
depth, then a few at the other, and the time per request is compared until the better one is clear. Then the other is
tried again only now and then, ever more rarely, or when the time per request or the number of replicas changes. There
is no timer; a request that nobody accompanies is not counted, for its depth makes no difference.
"""

from __future__ import annotations

import math
from statistics import median
from typing import Final

_ROUND_CALLS: Final = 6
_TRY_CALLS: Final = 3
_ROUND_S: Final = 0.02
"""A round has at least so many calls for each replica, a later try of the other depth fewer, and so many seconds."""

_CLEAR: Final = 0.15
"""Three comparisons in a row that differ by more than this share are enough."""

_LEAST: Final = 5
_MOST: Final = 9
"""So many comparisons of the same sign are enough; after the larger number their median decides."""

_EVEN: Final = 0.01
"""Where two calls at once are better by less than this share, one is preferred: it leaves more for other gateways."""

_DOUBT: Final = 0.03
"""Two later tries in a row that contradict by more than this share make it an open question again."""

_PAUSE: Final = 32
_LONGEST_PAUSE: Final = 512
"""Rounds until the other depth is tried again: at first, and after tries that all agreed."""

_SOON: Final = 4
"""The same after a try that contradicts, after a change of the number of replicas, or when the time per request was for
two rounds less than half, or more than twice, of what it used to be."""


class Depth:
    """Finds the better number of calls at once, one or two, for each replica of one version.

    Attributes:
        calls: the present number.
    """

    __slots__ = (
        *("_answered", "_costs", "_differences", "_doubts", "_last", "_left", "_pause", "_replicas"),
        *("_returned", "_seconds", "_settled", "_skip", "_unusual", "_usual", "calls"),
    )

    def __init__(self) -> None:
        self.calls = 2
        self._costs = [0.0, 0.0]  # of the latest round with one call at once, and with two; 0.0: unknown
        self._differences: list[float] = []
        self._settled = 0  # the better depth; 0 while it is open
        self._pause = self._left = _PAUSE
        self._replicas = 1
        self._last = -1.0
        self._usual = 0.0
        self._unusual = self._doubts = 0
        self._begin(self.calls)

    def interrupted(self) -> None:
        """Count nothing up to the next call that returns: a call was stopped, or failed."""
        self._last = -1.0

    def returned(self, now: float, requests: int, busy: bool, replicas: int) -> None:  # noqa: FBT001 - for each call
        """Count a call that has returned.

        Args:
            now: the present time on the monotonic clock, in seconds.
            requests: the requests in this call.
            busy: whether other requests of the version wait or are in calls, so that it goes on without a break.
            replicas: how many replicas can be called at present.
        """
        last, self._last = self._last, now if busy else -1.0
        if last < 0.0:
            return
        if replicas != self._replicas:
            self._replicas, self._left = replicas, min(self._left, _SOON)
            self._begin(self.calls)
        if self._skip:
            self._skip -= 1
            return
        self._seconds += now - last
        self._answered += requests
        self._returned += 1
        is_try = self._settled and self.calls != self._settled
        if self._returned >= (_TRY_CALLS if is_try else _ROUND_CALLS) * replicas and self._seconds >= _ROUND_S:
            self._end()

    def _begin(self, calls: int) -> None:
        """Begin a round; the calls that were sent before it are not counted."""
        self._skip = 0 if calls == self.calls and self._last >= 0.0 else 1 + max(calls, self.calls) * self._replicas
        self.calls = calls
        self._seconds = 0.0
        self._answered = self._returned = 0

    def _end(self) -> None:
        cost = self._seconds / max(1, self._answered)
        if not self._settled:
            self._compare(cost)
        elif self.calls == self._settled:
            self._go_on(cost)
        else:
            self._check(cost)

    def _compare(self, cost: float) -> None:
        """Take turns until the better depth is clear."""
        self._costs[self.calls - 1] = cost
        if min(self._costs) > 0.0:
            self._differences.append(math.log(self._costs[1] / self._costs[0]))
        if not _is_clear(self._differences):
            self._begin(3 - self.calls)
            return
        self._settled = 1 if median(self._differences) > -_EVEN else 2
        self._differences = []
        self._left, self._usual, self._unusual = self._pause, self._costs[self._settled - 1], 0
        self._begin(self._settled)

    def _go_on(self, cost: float) -> None:
        self._costs[self.calls - 1] = cost
        self._left -= 1
        self._unusual = 0 if self._usual / 2 <= cost <= self._usual * 2 else self._unusual + 1
        if self._unusual > 1:
            self._usual, self._unusual = cost, 0
            self._left, self._pause = min(self._left, _SOON), _PAUSE
        self._begin(self.calls if self._left > 0 else 3 - self.calls)

    def _check(self, cost: float) -> None:
        """Compare a try of the other depth with the round before it."""
        own = self._costs[self._settled - 1]
        gain = math.log(own / cost) if own > 0.0 and cost > 0.0 else 0.0
        self._doubts = self._doubts + 1 if gain > _DOUBT else 0
        if self._doubts > 1:
            self._settled, self._pause, self._doubts = 0, _PAUSE, 0
            self._costs = [0.0, 0.0]
            self._costs[self.calls - 1] = cost
            self._begin(3 - self.calls)
            return
        if self._doubts:
            self._left = _SOON
        else:
            self._pause = self._left = min(2 * self._pause, _LONGEST_PAUSE)
        self._begin(self._settled)


def _is_clear(differences: list[float]) -> bool:
    """Return whether comparisons say which depth is better, or that it does not matter."""
    if len(differences) < 3:
        return False
    if min(differences[-3:]) > _CLEAR or max(differences[-3:]) < -_CLEAR:
        return True
    one_sign = min(differences) > 0.0 or max(differences) < 0.0
    return len(differences) >= (_LEAST if one_sign else _MOST)
