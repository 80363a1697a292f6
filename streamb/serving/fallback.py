"""Fallback: since a prediction has no side effects, another version may answer a request that one version failed.

The first version gets the time that the second one usually takes, three times over (`first_limit_s`), and never more
than half of the request's time, so that the second has the rest.

Second calls are bounded to a share of all requests, so that a fallback never doubles an overload. Not bounded are
requests whose first version was not called at all: they cost one call like any other. Nor are those that were with the
first version when its breaker opened: from then on all its requests go to the second version anyway, and these are no
more than fit into the queue and the calls, once each time the breaker opens. So a version that stops answering hurts
nobody, while one that fails now and then causes no more second calls than the share.
"""

from __future__ import annotations

from typing import Final

from streamb.errors import DeadlineExceeded, InvalidInput, ModelFailed, Overloaded, StreambError, Unavailable
from streamb.serving.usual import Usual

FIRST_SHARE: Final = 0.5
"""The share of a request's time that the first version gets if there is a second one."""

BUDGET_SHARE: Final = 0.2
BUDGET_WINDOW_S: Final = 10
BUDGET_BURST: Final = 10


def may_fall_back(error: StreambError) -> bool:
    """Return whether another version may succeed: this one failed, was late, was not running, or refused the rows.

    >>> may_fall_back(ModelFailed("the model raised")), may_fall_back(Overloaded("the queue is full"))
    (True, False)
    """
    failures = ModelFailed | DeadlineExceeded | Unavailable | InvalidInput
    return isinstance(error, failures) and not isinstance(error, Overloaded)


def first_limit_s(second: Usual, rows: int, request_limit_s: float) -> float:
    """Return how many seconds the first version may take for a request.

    Args:
        second: how long the second version usually takes.
        rows: the number of rows of the request.
        request_limit_s: the time limit of the whole request, in seconds.
    """
    return min(FIRST_SHARE * request_limit_s, second.allows_s(rows))


class FallbackBudget:
    """Limits the second calls of one model: in any ten seconds, to a fifth of its requests or ten, whichever is more.

    Kept in one-second buckets of plain integers, because every request is counted.
    """

    __slots__ = ("_requests", "_second", "_taken")

    def __init__(self) -> None:
        self._second = 0
        self._requests = [0] * BUDGET_WINDOW_S
        self._taken = [0] * BUDGET_WINDOW_S

    def count(self, now: float) -> None:
        """Count a request."""
        second = int(now)
        if second > self._second:
            self._turn(second)
        self._requests[self._second % BUDGET_WINDOW_S] += 1

    def take(self, now: float) -> bool:
        """Return whether a second call is allowed, and count it."""
        second = int(now)
        if second > self._second:
            self._turn(second)
        if sum(self._taken) + 1 > max(BUDGET_BURST, BUDGET_SHARE * sum(self._requests)):
            return False
        self._taken[self._second % BUDGET_WINDOW_S] += 1
        return True

    def _turn(self, second: int) -> None:
        """Empty the buckets of the seconds since the last call."""
        for passed in range(max(self._second + 1, second - BUDGET_WINDOW_S + 1), second + 1):
            self._requests[passed % BUDGET_WINDOW_S] = self._taken[passed % BUDGET_WINDOW_S] = 0
        self._second = second
