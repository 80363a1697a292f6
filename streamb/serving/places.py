"""How many calls each version may have, how many requests may be inside them, and how large one call may be."""

from __future__ import annotations

from streamb.serving.batch import Predictor
from streamb.serving.lane import Lane
from streamb.serving.limits import GatewayLimits


class Places:
    """Counts the requests inside calls, over all lanes of one gateway.

    Attributes:
        taken: the number of requests inside calls.
    """

    def __init__(self, predictor: Predictor, limits: GatewayLimits) -> None:
        self._predictor = predictor
        self._limits = limits
        self._idle: set[Lane] = set()
        self.taken = 0

    @property
    def full(self) -> bool:
        """Whether no further request may be inside a call."""
        return self.taken >= self._limits.max_concurrent_requests

    def take(self, lane: Lane, requests: int) -> None:
        """Begin a call with this number of requests."""
        self._idle.discard(lane)
        lane.calls += 1
        lane.in_flight += requests
        self.taken += requests

    def give_back(self, lane: Lane, requests: int) -> None:
        """End a call."""
        lane.calls -= 1
        lane.in_flight -= requests
        self.taken -= requests
        if not lane.in_flight and not lane.retired:
            self._idle.add(lane)

    def retire(self, lane: Lane) -> None:
        """Reserve no place for a lane any more."""
        self._idle.discard(lane)

    def may_call(self, lane: Lane) -> bool:
        """Whether another call to the version may begin; if no replica is known yet, one is assumed."""
        return lane.calls < self._depth(lane) * max(1, self._predictor.replicas(lane.target))

    def room(self, lane: Lane) -> int:
        """How many more requests of `lane` may be inside calls now.

        A version with nothing in flight may always send one request while any room is left, and for that each lane
        leaves one place for every other lane that has none (of half the places at most).
        """
        free = self._limits.max_concurrent_requests - self.taken
        if not lane.in_flight or free <= 0:
            return min(free, max(1, free - self._reserved(lane)))
        return free - self._reserved(lane)

    def part(self, lane: Lane) -> int:
        """How many requests one call may take: with several replicas no more than an even part of what calls may hold.

        Else the first call to return would take all that wait to one replica, and the others would have nothing to do.
        """
        replicas = self._predictor.replicas(lane.target)
        if replicas < 2:
            return lane.size
        return -(-min(lane.size, self._limits.max_concurrent_requests) // (replicas * self._depth(lane)))

    def rows(self, lane: Lane) -> int:
        """How many rows of several requests one call may take."""
        return min(lane.target.batching.max_rows or self._limits.max_batch_rows, self._limits.max_batch_rows)

    def waits_s(self, lane: Lane, now: float) -> float:
        """Return for how many more seconds the requests of a lane may wait for company; 0.0: a call begins now.

        None waits longer than `Batching.max_wait_ms`, nor half of the time until its deadline, nor once a call is full.
        """
        batching = lane.target.batching
        longest = batching.max_wait_ms / 1000
        if not (longest and batching.join) or len(lane.queue) >= self.room(lane):
            return 0.0
        if sum(waiting.row_count for waiting in lane.queue) >= self.rows(lane):
            return 0.0
        return max(0.0, min(one.since + min(longest, (one.deadline - one.since) / 2) for one in lane.queue) - now)

    def _reserved(self, lane: Lane) -> int:
        others = len(self._idle) - (lane in self._idle)
        return min(others, self._limits.max_concurrent_requests // 2)

    def _depth(self, lane: Lane) -> int:
        """How many calls each replica may have at once."""
        most = self._limits.calls_per_replica
        return min(most, lane.depth.calls) if self._limits.adapts_depth else most
