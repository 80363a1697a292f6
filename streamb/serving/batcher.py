"""Joins waiting requests of one model version into one call, without a timer.

A request is sent at once while fewer than two calls (or one, see `depth`) to each replica of its version are in flight;
else it waits, and goes together with all of its form (see `forms`) that wait when a call returns. So a lone request
never waits for company, and under load the batches grow by themselves. Everything here is bounded (rows per call,
requests inside calls, requests waiting, time), belongs to one event loop, and costs a request neither a task nor a
timer: at most one task for each call (none where it can be sent at once), and one timer for all deadlines. (Only where
a version has `Batching.max_wait_ms`, its requests wait for company, with one more timer for all.)
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from functools import cached_property, partial

from streamb.clock import Clock
from streamb.errors import ModelFailed, Overloaded, StreambError, Unavailable
from streamb.models.outputs import Answer
from streamb.serving import lateness
from streamb.serving.answer import Rows
from streamb.serving.batch import Batch, BatchReply, Predictor
from streamb.serving.deadlines import Deadlines
from streamb.serving.fallback import FIRST_SHARE
from streamb.serving.lane import Call, ClientGone, Lane, Waiting
from streamb.serving.limits import GatewayLimits
from streamb.serving.places import Places
from streamb.serving.queues import RETRY_AFTER_S, Queues

_log = logging.getLogger(__name__)


class Batcher:
    """Batches the requests of one gateway, with a lane for each version.

    Invariants: every future that `submit` returned is resolved in the end; `queued` and `in_flight` count exactly the
    requests in queues and inside calls, so both are zero when nothing is left.
    """

    def __init__(self, predictor: Predictor, limits: GatewayLimits, clock: Clock) -> None:
        self._predictor = predictor
        self._begin = getattr(predictor, "begin", None)  # not every predictor can
        self._limits = limits
        self._clock = clock
        self._places = Places(predictor, limits)
        self._queues = Queues(limits.max_queued_requests, clock)
        self._calls: set[Call] = set()
        longest_s = limits.request_timeout_s
        self._deadlines = Deadlines(self._queues, self._calls, predictor, clock, longest_s, self._stop)
        self._closed = False
        self._pump_due = False
        self._company: asyncio.TimerHandle | None = None

    @property
    def queued(self) -> int:
        """The number of requests that wait for a call."""
        return self._queues.queued

    @property
    def in_flight(self) -> int:
        """The number of requests inside calls."""
        return self._places.taken

    # --- in -------------------------------------------------------------------------------------------------------

    def submit(self, lane: Lane, waiting: Waiting) -> asyncio.Future[Answer]:
        """Queue a request. The returned future resolves to its answer, or to the error that says why there is none.

        Raises:
            Overloaded: the queue is full.
            Unavailable: the gateway is stopping.
        """
        if self._closed:
            raise Unavailable("this gateway is stopping; send the request again", retry_after_s=RETRY_AFTER_S)
        may_go = self._places.may_call(lane) and self._places.room(lane) > len(lane.queue)
        if not may_go:
            self._queues.make_place(lane)
        self._queues.add(lane, waiting)
        if may_go and not self._pump_due:
            # At the end of this turn of the event loop, so that requests from other connections in this turn join it.
            self._pump_due = True
            self._loop.call_soon(self._pump)
        self._deadlines.watch(waiting)
        return waiting.future

    def leave(self, lane: Lane, waiting: Waiting) -> None:
        """End the wait of a request whose client has left; a call that nobody waits for any more is stopped."""
        if waiting.future.done():
            return
        waiting.future.set_exception(ClientGone())
        if waiting.call is None:
            self._queues.remove(lane, waiting)
        elif waiting.call.is_over():
            self._stop(waiting.call)

    def spare(self, lane: Lane, waiting: Waiting, limit_s: float) -> None:
        """Prepare a request for a version that another one can stand in for.

        Its deadline moves, to half of the time of the request at most, while the other version is late as well: then
        the machine stands still, and the version is not to blame.

        Args:
            lane: the version.
            waiting: the request.
            limit_s: the time limit of the request with both versions, in seconds.

        Raises:
            Unavailable: no replica of the version can be called at present, so there is nothing to wait for.
        """
        if not self._predictor.replicas(lane.target):
            version = lane.target.version
            raise Unavailable(f"no replica of version {version} runs at present", retry_after_s=RETRY_AFTER_S)
        waiting.latest = max(waiting.deadline, waiting.since + limit_s * FIRST_SHARE)

    def admit(
        self,
        rows: Rows,
        *,
        probabilities: bool,
        timeout_s: float | None = None,
        own_limit: bool = False,
        aside: bool = False,
    ) -> Waiting:
        """Return a request to be submitted at once.

        Args:
            rows: its rows.
            probabilities: whether it asks for class probabilities.
            timeout_s: its time limit in seconds; None: the gateway's.
            own_limit: whether the request itself set this limit.
            aside: whether the request is no evidence (see `Exchange.aside`).
        """
        now = self._clock.monotonic()
        deadline = now + (self._limits.request_timeout_s if timeout_s is None else timeout_s)
        future = self._loop.create_future()
        return Waiting(rows, now, deadline, future, probabilities=probabilities, own_limit=own_limit, aside=aside)

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the first request; asking asyncio each time is a system call (getpid)."""
        return asyncio.get_running_loop()

    # --- out ------------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Send the calls that may be sent, lane after lane in turn."""
        self._pump_due = False
        lanes, places = self._queues.lanes, self._places
        progress = True
        while progress and lanes:
            progress = False
            for _ in range(len(lanes)):
                if places.full:
                    return  # the lane whose turn it was stays in front
                lane = lanes.popleft()
                if places.may_call(lane) and (room := places.room(lane)) > 0:
                    if lane.target.batching.max_wait_ms and self._waits(lane):
                        lanes.append(lane)
                        continue
                    most = min(room, places.part(lane))
                    together = self._queues.take(lane, most, places.rows(lane), self._deadlines.is_live)
                    progress = True
                    if together:
                        self._send(lane, together)
                if lane.queue:
                    lanes.append(lane)

    def _waits(self, lane: Lane) -> bool:
        """Whether the requests of a lane wait for company; the batcher looks again when that ends."""
        seconds = self._places.waits_s(lane, self._clock.monotonic())
        if seconds > 0 and (self._company is None or self._loop.time() + seconds < self._company.when()):
            self._stop_waiting()
            self._company = self._loop.call_later(seconds, self._pump_waited)
        return seconds > 0

    def _pump_waited(self) -> None:
        self._company = None
        self._pump()

    def _stop_waiting(self) -> None:
        if self._company is not None:
            self._company.cancel()
            self._company = None

    def _send(self, lane: Lane, together: list[Waiting]) -> None:
        call = Call(lane, together, self._clock.monotonic())
        self._calls.add(call)
        self._places.take(lane, len(together))
        try:
            batch = call.batch()
            lane.recorder.called(len(batch.rows))
            begun = None if self._begin is None else self._begin(lane.target, batch)
        except Exception as error:
            self._loop.call_soon(self._failed, call, error)  # later: it sends what waits, as our caller does now
            return
        if begun is None:
            call.task = self._loop.create_task(self._run(call, batch))
        else:  # the usual case: the call is on its way, and needs no task
            call.task = begun
            begun.add_done_callback(partial(self._returned, call, batch))

    def _release(self, call: Call) -> None:
        """Release the places of a call, once, and use them for waiting requests."""
        if call in self._calls:
            self._calls.remove(call)
            for waiting in call.requests:
                waiting.call = None  # else each keeps the rows of all until the garbage collector runs
            self._places.give_back(call.lane, len(call.requests))
            if self._queues.lanes:
                self._pump()

    def _stop(self, call: Call) -> None:
        """End a call that nobody waits for any more."""
        call.lane.depth.interrupted()
        if call.task is not None:
            call.task.cancel()
        self._release(call)

    def _returned(self, call: Call, batch: Batch, begun: asyncio.Future[BatchReply]) -> None:
        """Deliver the reply of a call that began at once; whatever else became of it is for `_run`."""
        if begun.cancelled():
            self._stopped(call)
            return
        if begun.exception() is not None:
            call.task = self._loop.create_task(self._run(call, batch, begun))
            return
        try:
            self._answered(call, begun.result())
        except Exception as error:
            self._failed(call, error)

    async def _run(self, call: Call, batch: Batch, begun: asyncio.Future[BatchReply] | None = None) -> None:
        """Make a call, or make up for one that began and failed."""
        try:
            self._answered(call, await self._ask(call, batch, begun))
        except asyncio.CancelledError:  # by the deadline sweep (then nobody waits any more), or by close()
            self._stopped(call)
            raise
        except Exception as error:
            self._failed(call, error)

    def _answered(self, call: Call, reply: BatchReply) -> None:
        answers = call.answers(reply)
        lane, now, requests = call.lane, self._clock.monotonic(), len(call.requests)
        lane.depth.returned(now, requests, lane.size > requests, self._predictor.replicas(lane.target))
        self._release(call)
        lateness.note(call, now)
        for waiting, answer in zip(call.requests, answers, strict=True):
            waiting.resolve(answer)
        if not call.aside:
            lane.recorder.predicted(reply.sound, lane.target.task)

    def _stopped(self, call: Call) -> None:
        self._release(call)
        call.fail(Unavailable("the call was stopped; send the request again", retry_after_s=RETRY_AFTER_S))

    def _failed(self, call: Call, error: Exception) -> None:
        version, app = call.lane.target.version, call.lane.target.app
        call.lane.depth.interrupted()
        self._release(call)
        if not isinstance(error, StreambError):
            _log.error("calling %s failed unexpectedly", app, exc_info=error)
            error = ModelFailed(f"calling version {version} failed unexpectedly; see the gateway's log")
        call.fail(error)

    async def _ask(self, call: Call, batch: Batch, begun: asyncio.Future[BatchReply] | None) -> BatchReply:
        """Call the version; once more if its replica died, because a prediction has no side effects."""
        lane = call.lane
        troubled = begun is None and not self._predictor.replicas(lane.target)
        try:
            return await (self._predictor.predict(lane.target, batch) if begun is None else begun)
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

    def overdue(self) -> Counter[Lane]:
        """Return how many requests of each lane are overdue (see `lateness.overdue`)."""
        return self._deadlines.overdue()

    def retire(self, lane: Lane) -> None:
        """Stop reserving places for a version that gets no new requests; its remaining requests are answered."""
        lane.retired = True
        self._places.retire(lane)

    async def close(self) -> None:
        """Refuse new requests, fail waiting ones, stop the calls, and return when no call runs any more."""
        self._closed = True
        self._deadlines.close()
        self._stop_waiting()
        stopping = Unavailable("this gateway is stopping; send the request again", retry_after_s=RETRY_AFTER_S)
        for waiting in self._queues.drain():
            waiting.fail(stopping)
        tasks = [call.task for call in self._calls if call.task is not None]
        for call in list(self._calls):
            call.fail(stopping)
            self._stop(call)
        await asyncio.gather(*tasks, return_exceptions=True)
