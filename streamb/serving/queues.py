"""The requests of one gateway that wait for a call: a queue for each version, together bounded in number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from streamb.clock import Clock
from streamb.errors import Overloaded
from streamb.serving.lane import Lane, Waiting

RETRY_AFTER_S: Final = 1

_LOOK_S: Final = 0.05
"""A full queue is searched for abandoned requests no more often than this (seconds)."""


class Queues:
    """The queues of all lanes.

    Args:
        limit: how many requests may wait, over all lanes.
        clock: measures how long they wait.

    Attributes:
        lanes: the lanes with at least one waiting request; the first one's turn is next.
        queued: the number of requests in all queues.
    """

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._look_at = 0.0
        self.lanes: deque[Lane] = deque()
        self.queued = 0

    def add(self, lane: Lane, waiting: Waiting) -> None:
        """Append a request to the queue of its lane."""
        if not lane.queue:
            self.lanes.append(lane)
        lane.queue.append(waiting)
        self.queued += 1

    def make_place(self, lane: Lane) -> None:
        """Where the queues are full, refuse a request of the longest, so that no slow version takes all places.

        Raises:
            Overloaded: the longest is the queue of `lane` itself, so its new request is refused.
        """
        if self.queued < self._limit:
            return
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self.keep(lambda _lane, waiting: not waiting.is_over())
        if self.queued < self._limit:
            return
        longest = max(self.lanes, key=lambda other: len(other.queue), default=lane)
        error = Overloaded(
            f"the queue is full: {self.queued} requests are waiting; send the request again in a moment",
            retry_after_s=RETRY_AFTER_S,
        )
        if len(longest.queue) <= len(lane.queue) + 1:
            raise error
        self._dropped(longest, longest.queue.pop()).fail(error)

    def keep(self, is_live: Callable[[Lane, Waiting], bool]) -> None:
        """Remove the requests for which `is_live` says no."""
        now = self._clock.monotonic()
        for lane in self.lanes:
            alive: deque[Waiting] = deque()
            waited = 0.0
            for waiting in lane.queue:
                if is_live(lane, waiting):
                    alive.append(waiting)
                else:
                    waited += now - waiting.since
            if len(alive) < len(lane.queue):
                lane.recorder.waited(waited)
            self.queued -= len(lane.queue) - len(alive)
            lane.queue = alive
        kept = [lane for lane in self.lanes if lane.queue]
        self.lanes.clear()
        self.lanes.extend(kept)

    def drain(self) -> list[Waiting]:
        """Empty all queues, and return what waited in them."""
        lanes = list(self.lanes)
        return [self._dropped(lane, lane.queue.popleft()) for lane in lanes for _ in range(len(lane.queue))]

    def _dropped(self, lane: Lane, waiting: Waiting) -> Waiting:
        self.queued -= 1
        if not lane.queue:
            self.lanes.remove(lane)
        return waiting
