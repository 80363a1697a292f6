"""The deadlines of all requests in one gateway: one timer looks at them, and knows when the process stood still."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from streamb.clock import Clock
from streamb.serving import lateness
from streamb.serving.batch import Predictor
from streamb.serving.lane import Call, Lane, Waiting
from streamb.serving.queues import Queues

_SWEEP_S: Final = 0.005
"""Deadlines are kept to this many seconds."""

_TICK_S: Final = 0.5
"""While requests are in progress, the clock is looked at at least this often (seconds)."""

_STOPPED_S: Final = 0.25
"""A look that comes this much too late (seconds) shows that the gateway itself stood still (stopped, or no CPU)."""


_PATIENCE_S: Final = 0.01
"""Where nobody tells that a client has left, it is asked only after so many seconds: before, that costs more than it
could save."""


class Deadlines:
    """Fails requests whose time is over, and stops calls that nobody waits for any more.

    Args:
        queues: the requests that wait for a call.
        calls: the calls in flight; the batcher adds and removes them.
        predictor: knows how many replicas of a version can be called.
        clock: tells the time.
        longest_s: the gateway's time limit of a request, in seconds; overdue it is after half of it, whatever is usual.
        stop: ends a call that nobody waits for.
    """

    def __init__(
        self,
        queues: Queues,
        calls: set[Call],
        predictor: Predictor,
        clock: Clock,
        longest_s: float,
        stop: Callable[[Call], None],
    ) -> None:
        self._queues = queues
        self._calls = calls
        self._predictor = predictor
        self._clock = clock
        self._longest_s = longest_s
        self._stop = stop
        self._timer: asyncio.TimerHandle | None = None
        self._sweep_at = math.inf

    def watch(self, waiting: Waiting) -> None:
        """Look at the clock in time for a request's deadline."""
        if waiting.deadline < self._sweep_at:
            now = self._clock.monotonic()
            seconds = max(waiting.deadline - now, _SWEEP_S)
            if now + seconds < self._sweep_at:
                self._look_in(seconds)

    def is_live(self, lane: Lane, waiting: Waiting, now: float) -> bool:
        """Return whether somebody still waits for the answer; a request past its deadline is failed first."""
        if waiting.receive is not None and waiting.since < now - _PATIENCE_S and waiting.is_over():
            return False
        if waiting.deadline <= now:
            if waiting.latest > now and lane.other is not None and lateness.is_stuck(lane.other, self._calls, now):
                waiting.deadline = min(now + _TICK_S, waiting.latest)
            else:
                replicas = self._predictor.replicas(lane.target)
                waiting.fail(lateness.too_late(lane, waiting, replicas, self._longest_s))
        return not waiting.future.done()

    def overdue(self) -> Counter[Lane]:
        """Return how many requests of each lane are overdue (see `lateness.overdue`)."""
        judged = ((lane, waiting) for lane, waiting in self._in_progress() if not waiting.aside)
        return lateness.overdue(judged, self._clock.monotonic(), self._longest_s / 2)

    def sweep(self) -> None:
        """Fail requests past their deadline, stop abandoned calls, and schedule the next sweep."""
        now = self._clock.monotonic()
        if now - self._sweep_at > _STOPPED_S:
            self._stood_still(now - self._sweep_at + _TICK_S, now)
        self._timer = None
        self._sweep_at = math.inf
        self._queues.keep(lambda lane, waiting: self.is_live(lane, waiting, now))
        for call in list(self._calls):
            if not any(self.is_live(call.lane, waiting, now) for waiting in call.requests):
                self._stop(call)
        following = min((waiting.deadline for _, waiting in self._in_progress()), default=None)
        if following is not None and self._timer is None:
            self._look_in(max(following - now, _SWEEP_S))

    def close(self) -> None:
        """Look at the clock no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _in_progress(self) -> Iterator[tuple[Lane, Waiting]]:
        """Every request that is not answered yet, in a queue or inside a call."""
        for lane in self._queues.lanes:
            for waiting in lane.queue:
                if not waiting.future.done():
                    yield lane, waiting
        for call in self._calls:
            for waiting in call.requests:
                if not waiting.future.done():
                    yield call.lane, waiting

    def _look_in(self, seconds: float) -> None:
        seconds = min(seconds, _TICK_S)
        if self._timer is not None:
            self._timer.cancel()
        self._sweep_at = self._clock.monotonic() + seconds
        self._timer = asyncio.get_running_loop().call_later(seconds, self.sweep)

    def _stood_still(self, seconds: float, now: float) -> None:
        """Give every request the time back in which this process did not run; no version is to blame for it."""
        for lane, waiting in self._in_progress():
            waiting.deadline += seconds
            waiting.latest += seconds
            lane.troubled = now
