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


_PASSED: Final = 128
"""So many requests of other forms are passed over, at most, in search of those that fit into a call."""


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

    def remove(self, lane: Lane, waiting: Waiting) -> None:
        """Remove a request that waits in the queue of its lane."""
        lane.queue.remove(waiting)
        lane.recorder.waited(self._clock.monotonic() - waiting.since)
        self._dropped(lane, waiting)

    def take(
        self, lane: Lane, most: int, most_rows: int, is_live: Callable[[Lane, Waiting, float], bool]
    ) -> list[Waiting]:
        """Take the requests of the next call: the oldest, and those behind it whose rows have the same form.

        Requests that are no evidence (`Waiting.aside`) never share a call with others: they could make it fail or late.

        A request of another form stays where it is, so it is the first of a later call; nobody waits longer because
        another form is taken from behind it, for that call is made anyway. Among requests of one form the order is
        kept. Requests that nobody waits for are dropped on the way.

        Args:
            lane: the lane, which is not in `lanes` at present.
            most: the most requests.
            most_rows: the most rows of several requests; a larger one goes alone.
            is_live: whether somebody waits for a request at a time (monotonic clock, seconds).
        """
        together: list[Waiting] = []
        passed: list[Waiting] = []
        form: object = None
        queue, join, rows, waited, now = lane.queue, lane.target.batching.join, 0, 0.0, self._clock.monotonic()
        while queue and len(together) < most and len(passed) < _PASSED:
            waiting = queue[0]
            if is_live(lane, waiting, now):
                if together:
                    if not join or rows + waiting.row_count > most_rows:
                        break
                    if waiting.aside is not together[0].aside:
                        passed.append(queue.popleft())
                        continue
                    if form is None:
                        form = together[0].form(lane)
                    if waiting.form(lane) != form:
                        passed.append(queue.popleft())
                        continue
                together.append(waiting)
                rows += waiting.row_count
            queue.popleft()
            self.queued -= 1
            waited += now - waiting.since
        queue.extendleft(reversed(passed))
        lane.recorder.waited(waited)
        return together

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
