"""A batcher whose calls a test answers by hand."""

import asyncio
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from streamb.clock import ManualClock
from streamb.metrics import VersionRecorder
from streamb.serving import Batch, BatchReply, GatewayLimits
from streamb.serving.batcher import Batcher
from streamb.serving.lane import Lane
from tests.serving.asgi_client import Connection
from tests.serving.predictors import target


@dataclass
class Desk:
    """A batcher whose calls are answered by hand."""

    limits: GatewayLimits = field(default_factory=GatewayLimits)
    clock: ManualClock = field(default_factory=ManualClock)

    replica_count: int = 1

    def __post_init__(self) -> None:
        self.calls: list[tuple[str, Batch, asyncio.Future[BatchReply]]] = []
        self._left: dict[asyncio.Future, partial] = {}
        self.batcher = Batcher(self, self.limits, self.clock)

    def replicas(self, version) -> int:
        return self.replica_count

    async def predict(self, version, batch) -> BatchReply:
        answer = asyncio.get_running_loop().create_future()
        self.calls.append((version.app, batch, answer))
        return await answer

    def lane(self, version="1.0.0") -> Lane:
        return Lane(target(version), VersionRecorder("m", version))

    def submit(self, lane, *values, probabilities=False, connection=None):
        rows = np.array([[float(value)] for value in values])
        connection = connection or Connection(more_to_come=True)
        waiting = self.batcher.admit(rows, probabilities=probabilities)
        waiting.receive = connection.receive
        future = self.batcher.submit(lane, waiting)
        self._left[future] = partial(self.batcher.leave, lane, waiting)
        self.end_turn()
        return future

    def leave(self, future) -> None:
        """The client of a request leaves, and the listener tells."""
        self._left[future]()

    def end_turn(self) -> None:
        """Each request comes in a turn of the event loop of its own, unless a test says otherwise."""
        self.batcher._pump()

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    async def answer(self, index=0) -> None:
        _, batch, answer = self.calls.pop(index)
        asked = batch.rows[np.repeat(batch.probabilities, batch.counts)] if batch.probabilities else None
        chances = None if asked is None else np.column_stack([asked, asked])
        answer.set_result(BatchReply(np.asarray(batch.rows)[:, 0] * 10, chances))
        await self.settle()

    async def fail(self, error, index=0) -> None:
        self.calls.pop(index)[2].set_exception(error)
        await self.settle()

    def sweep(self, seconds) -> None:
        """Let time pass, in which the batcher looks at the clock every half second, as its timer does."""
        while seconds > 0:
            self.clock.advance(min(seconds, 0.5))
            self.batcher._deadlines.sweep()
            seconds -= 0.5

    def is_empty(self) -> bool:
        return not (self.batcher.queued or self.batcher.in_flight or self.batcher._calls or self.batcher._queues.lanes)
