"""The thread of a replica that asks the model: one call after the other, and always the same thread.

The event loop of the links needs a thread, too. While calls are quick, the predicting thread runs it in between, so
that a call is read, predicted and answered without a change of thread (which costs more than a small model). While
calls are slow, a second thread runs it, so that frames are read while the model works. It also takes the loop over when
a call of a quick model does not return.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from streamb.clock import Clock, SystemClock
from streamb.errors import StreambError
from streamb.models.outputs import RAISED, failure_of
from streamb.serving.batch import Batch, BatchReply

Outcome: TypeAlias = BatchReply | StreambError

QUICK_S: Final = 0.001
SLOW_S: Final = 0.002
"""The predicting thread runs the loop while calls usually take less than `QUICK_S`, and gives it away from `SLOW_S`."""

_NEWEST: Final = 0.2
"""How much the newest call counts in what is usual."""

_LATE_S: Final = 0.25
"""The second thread looks this often whether a call keeps the predicting thread from the loop (seconds)."""


class Watch(Protocol):
    """Hears of calls, in numbers of requests; see `cluster.autoscaling.ReplicaStats`."""

    def arrived(self, requests: int) -> float: ...

    def left(self, arrived_at: float, requests: int, *, answered: bool) -> None: ...


class Work:
    """One call, from its arrival to its answer.

    Attributes:
        batch: the rows.
        told: is called with the outcome, on the loop.
        left: whether nobody waits for the outcome any more.
    """

    __slots__ = ("arrived", "batch", "left", "told")

    def __init__(self, batch: Batch, told: Callable[[Outcome], None]) -> None:
        self.batch = batch
        self.told = told
        self.arrived = 0.0
        self.left = False


class PredictThread:
    """Answers calls with one model. `submit` and `drop` belong to `loop`; the other methods to any thread.

    Args:
        run: answers a batch; whatever it raises fails that call.
        limit_s: a call that runs longer (seconds), and that nobody waits for any more, is stuck.
        watch: hears of each call.
        after: called with each batch and its reply, once the reply was sent.
        clock: the source of time.
        loop: the event loop of the links; by default a new one.
    """

    def __init__(
        self,
        run: Callable[[Batch], BatchReply],
        *,
        limit_s: float,
        watch: Watch | None = None,
        after: Callable[[Batch, BatchReply], None] | None = None,
        clock: Clock | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = loop or asyncio.new_event_loop()
        self._run = run
        self._limit_s = limit_s
        self._watch = watch
        self._after = after
        self._clock = clock or SystemClock()
        self._queue: deque[Work] = deque()
        self._current: Work | None = None
        self._began = 0.0
        self._usual_s = math.inf  # of a call; not known yet
        self._lock = threading.Lock()  # guards what follows, the queue and the current call
        self._changed = threading.Condition(self._lock)
        self._lent = True  # whether the loop is the second thread's
        self._borrowed = False  # whether that thread is running it
        self._there = threading.Event()  # while it is: whether there may be a call
        self._resting = False  # whether the predicting thread runs the loop until a call comes
        self._ended = False
        roles = ((self._predict_all, "predict"), (self._lend_a_hand, "links"))
        self._threads = [threading.Thread(target=role, name=name, daemon=True) for role, name in roles]
        for thread in self._threads:
            thread.start()

    # --- calls ----------------------------------------------------------------------------------------------------

    def submit(self, batch: Batch, told: Callable[[Outcome], None]) -> Work:
        """Queue a call; `told` gets its outcome."""
        work = Work(batch, told)
        self._put(work)
        return work

    def drop(self, work: Work) -> bool:
        """Note that nobody waits for a call any more.

        Returns:
            whether it had not begun: then it is never computed, and `told` not called.
        """
        with self._lock:
            work.left = True
            if work is self._current or work not in self._queue:
                return False
            self._queue.remove(work)
        self._leaves(work, answered=False)
        return True

    async def answer(self, batch: Batch) -> BatchReply:
        """Answer a batch of a caller on any event loop."""
        home = asyncio.get_running_loop()
        answer: asyncio.Future[BatchReply] = home.create_future()

        def told(outcome: Outcome) -> None:
            home.call_soon_threadsafe(_settle, answer, outcome)

        work = Work(batch, told)
        self.loop.call_soon_threadsafe(self._put, work)
        try:
            return await answer
        except asyncio.CancelledError:
            self.loop.call_soon_threadsafe(self.drop, work)
            raise

    def trouble(self) -> str:
        """Return why no call can be answered at present; "" if they can."""
        with self._lock:
            work, seconds = self._current, self._clock.monotonic() - self._began
        if not self._ended and not all(thread.is_alive() for thread in self._threads):
            return "a thread of the replica has ended"
        if work is None or not work.left or seconds <= self._limit_s:
            return ""
        return f"a call has been running for {seconds:.0f} s, and nobody waits for it any more"

    def end(self) -> None:
        """Begin no further call, and end both threads when the one that runs has returned."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._there.set()
        self.loop.call_soon_threadsafe(self.loop.stop)

    def _put(self, work: Work) -> None:
        if self._watch is not None:
            work.arrived = self._watch.arrived(len(work.batch.counts))
        with self._lock:
            self._queue.append(work)
        if self._lent:
            self._there.set()
        elif self._resting:
            self._resting = False
            self.loop.stop()

    def _tell(self, work: Work, outcome: Outcome) -> None:
        reply = outcome if isinstance(outcome, BatchReply) and not work.left else None
        self._leaves(work, answered=reply is not None)
        work.told(outcome)
        if reply is not None and self._after is not None:
            self.loop.call_soon(self._after, work.batch, reply)

    def _leaves(self, work: Work, *, answered: bool) -> None:
        if self._watch is not None:
            self._watch.left(work.arrived, len(work.batch.counts), answered=answered)

    # --- the predicting thread ------------------------------------------------------------------------------------

    def _predict_all(self) -> None:
        while not self._ended:
            if self._lent and self._usual_s < QUICK_S:
                self._take_back()
            elif not self._lent and self._usual_s > SLOW_S:
                self._lend()
            work = self._begin()
            if work is not None:
                self._finish(work, self._ask(work.batch))
            elif self._lent:
                self._there.wait()
                self._there.clear()
            else:
                self._resting = True
                self.loop.run_forever()
                self._resting = False
        with self._changed:
            while self._borrowed:
                self._changed.wait()
        self.loop.close()

    def _begin(self) -> Work | None:
        with self._lock:
            if not self._queue:
                return None
            self._began = self._clock.monotonic()
            self._current = work = self._queue.popleft()
            return work

    def _ask(self, batch: Batch) -> Outcome:
        try:
            return self._run(batch)
        except RAISED as error:
            return failure_of(error)

    def _finish(self, work: Work, outcome: Outcome) -> None:
        with self._lock:
            self._current = None
            seconds, lent = self._clock.monotonic() - self._began, self._lent
        known = self._usual_s < math.inf
        self._usual_s = self._usual_s + _NEWEST * (seconds - self._usual_s) if known else seconds
        if lent:
            self.loop.call_soon_threadsafe(self._tell, work, outcome)
            return
        self.loop.call_soon(self._tell, work, outcome)
        if self._queue:  # else the loop runs next in any case
            self.loop.stop()
            self.loop.run_forever()  # one turn: the answer leaves, and what arrived meanwhile is read

    # --- whose the loop is ----------------------------------------------------------------------------------------

    def _lend(self) -> None:
        with self._changed:
            self._lent = True
            self._changed.notify_all()

    def _take_back(self) -> None:
        with self._changed:
            self._lent = False
            if self._borrowed:
                self.loop.call_soon_threadsafe(self.loop.stop)
            while self._borrowed:
                self._changed.wait()

    def _lend_a_hand(self) -> None:
        """What the second thread does: run the loop while it is lent, and look whether it should be."""
        while True:
            with self._changed:
                while not self._lent and not self._ended:
                    self._changed.wait(_LATE_S)
                    if self._current is not None and self._clock.monotonic() - self._began > _LATE_S:
                        self._lent = True
                if self._ended:
                    return
                self._borrowed = True
            try:
                self.loop.run_forever()
            finally:
                with self._changed:
                    self._borrowed = False
                    self._changed.notify_all()


def _settle(answer: asyncio.Future[BatchReply], outcome: Outcome) -> None:
    if answer.done():
        return
    if isinstance(outcome, StreambError):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
