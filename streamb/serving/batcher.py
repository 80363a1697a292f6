"""Joins waiting requests of one model version into one call, without a timer.

A request is sent at once while fewer than two calls to each replica of its version are in flight; else it waits and
goes together with all that wait when a call returns. So a lone request never waits for company, and under load the
batches grow by themselves. Everything here is bounded (rows per call, requests inside calls, requests waiting, time),
belongs to one event loop, and costs a request neither a task nor a timer: one task for each call, and one timer for
all deadlines.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from functools import cached_property
from typing import Final

from streamb.clock import Clock
from streamb.errors import ModelFailed, Overloaded, StreambError, Unavailable
from streamb.models.outputs import Answer
from streamb.serving import lateness
from streamb.serving.answer import Rows
from streamb.serving.batch import BatchReply, Predictor
from streamb.serving.deadlines import Deadlines
from streamb.serving.fallback import FIRST_SHARE
from streamb.serving.http.receive import Receive
from streamb.serving.lane import Call, Lane, Waiting
from streamb.serving.limits import GatewayLimits
from streamb.serving.queues import RETRY_AFTER_S, Queues

_log = logging.getLogger(__name__)

_PATIENCE_S: Final = 0.01
"""Whether the client left is checked only for requests that waited longer than this (seconds); for shorter waits the
check costs more than it could save."""


class Batcher:
    """Batches the requests of one gateway, with a lane for each version.

    Invariants: every future that `submit` returned is resolved in the end; `queued` and `in_flight` count exactly the
    requests in queues and inside calls, so both are zero when nothing is left.
    """

    def __init__(self, predictor: Predictor, limits: GatewayLimits, clock: Clock) -> None:
        self._predictor = predictor
        self._limits = limits
        self._clock = clock
        self._idle: set[Lane] = set()
        self._queues = Queues(limits.max_queued_requests, clock)
        self._calls: set[Call] = set()
        longest_s = limits.request_timeout_s / 2
        self._deadlines = Deadlines(self._queues, self._calls, predictor, clock, longest_s, self._stop)
        self._closed = False
        self.in_flight = 0
        self._pump_due = False

    @property
    def queued(self) -> int:
        """The number of requests that wait for a call."""
        return self._queues.queued

    # --- in -------------------------------------------------------------------------------------------------------

    def submit(self, lane: Lane, waiting: Waiting) -> asyncio.Future[Answer]:
        """Queue a request. The returned future resolves to its answer, or to the error that says why there is none.

        Raises:
            Overloaded: the queue is full.
            Unavailable: the gateway is stopping.
        """
        if self._closed:
            raise Unavailable("this gateway is stopping; send the request again", retry_after_s=RETRY_AFTER_S)
        may_go = self._may_call(lane) and self._room(lane) > len(lane.queue)
        if not may_go:
            self._queues.make_place(lane)
        self._queues.add(lane, waiting)
        if may_go and not self._pump_due:
            # At the end of this turn of the event loop, so that requests from other connections in this turn join it.
            self._pump_due = True
            self._loop.call_soon(self._pump)
        self._deadlines.watch(waiting)
        return waiting.future

    def spare(self, lane: Lane, waiting: Waiting) -> None:
        """Prepare a request for a version that another one can stand in for.

        Its deadline moves, to half of the time of a request at most, while the other version is late as well: then the
        machine stands still, and the version is not to blame.

        Raises:
            Unavailable: no replica of the version can be called at present, so there is nothing to wait for.
        """
        if not self._predictor.replicas(lane.target):
            version = lane.target.version
            raise Unavailable(f"no replica of version {version} runs at present", retry_after_s=RETRY_AFTER_S)
        waiting.latest = max(waiting.deadline, waiting.since + self._limits.request_timeout_s * FIRST_SHARE)

    def admit(self, rows: Rows, *, probabilities: bool, receive: Receive, timeout_s: float | None = None) -> Waiting:
        """Return a request to be submitted at once; `timeout_s` shortens its usual time limit, in seconds."""
        now = self._clock.monotonic()
        deadline = now + (self._limits.request_timeout_s if timeout_s is None else timeout_s)
        return Waiting(rows, now, deadline, self._loop.create_future(), receive, probabilities=probabilities)

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the first request; asking asyncio each time is a system call (getpid)."""
        return asyncio.get_running_loop()

    # --- out ------------------------------------------------------------------------------------------------------

    def _may_call(self, lane: Lane) -> bool:
        """Whether another call to the version may begin; if no replica is known yet, one is assumed."""
        return lane.calls < self._limits.calls_per_replica * max(1, self._predictor.replicas(lane.target))

    def _room(self, lane: Lane) -> int:
        """How many more requests of `lane` may be inside calls now.

        A version with nothing in flight may always send one request while any room is left, and for that each lane
        leaves one place for every other lane that has none (of half the places at most).
        """
        free = self._limits.max_concurrent_requests - self.in_flight
        if not lane.in_flight or free <= 0:
            return min(free, max(1, free - self._reserved(lane)))
        return free - self._reserved(lane)

    def _reserved(self, lane: Lane) -> int:
        others = len(self._idle) - (lane in self._idle)
        return min(others, self._limits.max_concurrent_requests // 2)

    def _part(self, lane: Lane) -> int:
        """How many requests one call may take: with several replicas no more than an even part of what calls may hold.

        Else the first call to return would take all that wait to one replica, and the others would have nothing to do.
        """
        replicas = self._predictor.replicas(lane.target)
        if replicas < 2:
            return lane.size
        return -(-min(lane.size, self._limits.max_concurrent_requests) // (replicas * self._limits.calls_per_replica))

    def _pump(self) -> None:
        """Send the calls that may be sent, lane after lane in turn."""
        self._pump_due = False
        lanes = self._queues.lanes
        progress = True
        while progress and lanes:
            progress = False
            for _ in range(len(lanes)):
                if self.in_flight >= self._limits.max_concurrent_requests:
                    return  # the lane whose turn it was stays in front
                lane = lanes.popleft()
                if self._may_call(lane) and (room := self._room(lane)) > 0:
                    together = self._take(lane, min(room, self._part(lane)))
                    progress = True
                    if together:
                        self._send(lane, together)
                if lane.queue:
                    lanes.append(lane)

    def _take(self, lane: Lane, room: int) -> list[Waiting]:
        """Take the next requests of a queue that fit in one call; abandoned ones are dropped on the way."""
        together: list[Waiting] = []
        rows = 0
        waited = 0.0
        now = self._clock.monotonic()
        long_ago = now - _PATIENCE_S
        while lane.queue and len(together) < room:
            waiting = lane.queue[0]
            if (waiting.since < long_ago and waiting.is_over()) or not self._deadlines.is_live(lane, waiting, now):
                pass
            elif together and (
                not lane.target.batching.join
                or rows + waiting.row_count > self._limits.max_batch_rows
                or waiting.shape != together[0].shape
            ):
                break
            else:
                together.append(waiting)
                rows += waiting.row_count
            lane.queue.popleft()
            self._queues.queued -= 1
            waited += now - waiting.since
        lane.recorder.waited(waited)
        return together

    def _send(self, lane: Lane, together: list[Waiting]) -> None:
        call = Call(lane, together, self._clock.monotonic())
        self._calls.add(call)
        self._idle.discard(lane)
        lane.calls += 1
        lane.in_flight += len(together)
        self.in_flight += len(together)
        call.task = self._loop.create_task(self._run(call))

    def _release(self, call: Call) -> None:
        """Release the places of a call, once, and use them for waiting requests."""
        if call in self._calls:
            self._calls.remove(call)
            call.lane.calls -= 1
            call.lane.in_flight -= len(call.requests)
            self.in_flight -= len(call.requests)
            if not call.lane.in_flight and not call.lane.retired:
                self._idle.add(call.lane)
            if self._queues.lanes:
                self._pump()

    def _stop(self, call: Call) -> None:
        """End a call that nobody waits for any more."""
        if call.task is not None:
            call.task.cancel()
        self._release(call)

    # --- one call -------------------------------------------------------------------------------------------------

    async def _run(self, call: Call) -> None:
        try:
            reply = await self._ask(call)
            answers = call.answers(reply)
        except StreambError as error:
            self._release(call)
            call.fail(error)
        except asyncio.CancelledError:  # by the deadline sweep (then nobody waits any more), or by close()
            self._release(call)
            call.fail(Unavailable("the call was stopped; send the request again", retry_after_s=RETRY_AFTER_S))
            raise
        except Exception:
            _log.exception("calling %s failed unexpectedly", call.lane.target.app)
            self._release(call)
            call.fail(
                ModelFailed(f"calling version {call.lane.target.version} failed unexpectedly; see the gateway's log")
            )
        else:
            self._release(call)
            lateness.note(call, self._clock.monotonic())
            for waiting, answer in zip(call.requests, answers, strict=True):
                waiting.resolve(answer)
            call.lane.recorder.predicted(reply.sound, call.lane.target.task)

    async def _ask(self, call: Call) -> BatchReply:
        """Call the version; once more if its replica died, because a prediction has no side effects."""
        batch, lane = call.batch(), call.lane
        lane.recorder.called(len(batch.rows))
        troubled = not self._predictor.replicas(lane.target)
        try:
            return await self._predictor.predict(lane.target, batch)
        except Overloaded:
            raise
        except Unavailable:
            if not any(not waiting.is_over() for waiting in call.requests):
                raise
            troubled = True
            lane.recorder.retried()
            return await self._predictor.predict(lane.target, batch)
        finally:
            if troubled:
                lane.troubled = self._clock.monotonic()

    # --- end ------------------------------------------------------------------------------------------------------

    def overdue(self) -> Counter[Lane]:
        """Return how many requests of each lane are overdue (see `lateness.overdue`)."""
        return self._deadlines.overdue()

    def retire(self, lane: Lane) -> None:
        """Stop reserving places for a version that gets no new requests; its remaining requests are answered."""
        lane.retired = True
        self._idle.discard(lane)

    async def close(self) -> None:
        """Refuse new requests, fail waiting ones, stop the calls, and return when no call runs any more."""
        self._closed = True
        self._deadlines.close()
        stopping = Unavailable("this gateway is stopping; send the request again", retry_after_s=RETRY_AFTER_S)
        for waiting in self._queues.drain():
            waiting.fail(stopping)
        tasks = [call.task for call in self._calls if call.task is not None]
        for call in list(self._calls):
            call.fail(stopping)
            self._stop(call)
        await asyncio.gather(*tasks, return_exceptions=True)
