"""The instances of one model: requests wait in order for the freest one, and a policy says how many there are.

Knows nothing of Ray: an instance is whatever predicts elsewhere and may die.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Final

from streamb.clock import Clock
from streamb.errors import DeadlineExceeded, Overloaded, StartFailed, StreambError, Unavailable
from streamb.metrics.histogram import LatencyHistogram
from streamb.sdk.instance import Instance, Member
from streamb.serving.scaling import QueueTrend, ScalingState, Signals, aggregate, desired_instances
from streamb.serving.scaling_policy import ScalingPolicy

_DEPTH: Final = 2
"""Requests per instance: the one it works on, and the next one, so that it never has to wait."""
_TRIES: Final = 2
_FRESH_S: Final = 5.0
"""How long the numbers that an instance reported are used."""
_LATENCIES: Final = 2_000
_LATENCY_S: Final = 10.0
_BACKOFF_S: Final = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScalerStatus:
    """How a model is scaled now; a number that is not known yet is None.

    Attributes:
        instances: how many answer requests.
        target: how many there should be.
        queue: requests that wait.
        cpu: percent of the cores that an instance reserves, at least one; mean.
        memory: percent of the machine's memory, of the largest instance.
        busy: share of the time, 0..1, that instances spend predicting; mean.
        latency_ms: the percentile that is watched, over the last seconds.
        reason: of the last decision, in words.
    """

    instances: int
    target: int
    queue: int
    cpu: float | None
    memory: float | None
    busy: float | None
    latency_ms: float | None
    reason: str


class InstancePool:
    """The instances of one model.

    Args:
        launch: starts an instance and returns at once.
        wake: asks for a `tick` soon; `tick` must be called about every second by one thread.
        max_queued: requests that may wait; more are refused.
        percentile: of the latency that is watched.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[], Instance],
        policy: ScalingPolicy,
        *,
        wake: Callable[[], None],
        clock: Clock,
        max_queued: int,
        percentile: int,
    ) -> None:
        self._name = name
        self._launch = launch
        self._policy = policy
        self._wake = wake
        self._clock = clock
        self._max_queued = max_queued
        self._quantile = percentile / 100
        self._lock = threading.RLock()  # callbacks of a future that is done already run at once, in the same thread
        self._members: list[Member] = []
        self._waiters: deque[Future[Member]] = deque()
        self._trend = QueueTrend()
        self._latencies: deque[tuple[float, float]] = deque(maxlen=_LATENCIES)
        self._state = ScalingState(policy.min_instances)
        self._signals = Signals(0)
        self._reason = "starting"
        self._failure: StreambError | None = None
        self._failures = 0
        self._launch_at = 0.0
        self._closed = False

    def predict(self, rows: list[Any], timeout_s: float) -> list[Any]:
        """Ask the freest instance; a request whose instance dies goes to another one, once.

        Raises:
            Overloaded: too many wait.
            DeadlineExceeded: no answer in time.
            Unavailable: both instances died, or the pool was closed.
            StartFailed: the model cannot be made.
        """
        began = self._clock.monotonic()
        deadline = began + timeout_s
        for attempt in range(1, _TRIES + 1):
            member = self._acquire(deadline)
            try:
                answer = self._ask(member, rows, deadline)
            except Unavailable as error:
                _log.warning("an instance of %s died on a request (try %s): %s", self._name, attempt, error)
                self._lost(member, error)
                continue
            now = self._clock.monotonic()
            with self._lock:
                self._failures = 0
                self._latencies.append((now, now - began))
            return answer
        raise Unavailable(f"{_TRIES} instances of {self._name!r} died on this request", retry_after_s=1)

    def status(self) -> ScalerStatus:
        """Return the status as of the last tick."""
        with self._lock:
            ready = sum(1 for member in self._members if member.ready and not member.leaving)
            known = self._signals
            measured = (known.cpu, known.memory, known.busy, known.latency_ms)
            return ScalerStatus(ready, self._state.target, len(self._waiters), *measured, self._reason)

    def wait_until_ready(self, timeout_s: float) -> None:
        """Return once an instance answers, or at once if the policy asks for no instances.

        Raises:
            StartFailed: the model cannot be made.
            DeadlineExceeded: it takes longer.
        """
        if self._policy.min_instances:
            self._release(self._acquire(self._clock.monotonic() + timeout_s))

    def tick(self) -> None:
        """Check every instance, decide how many there should be, and start or stop some."""
        now = self._clock.monotonic()
        with self._lock:
            if self._closed:
                return
            self._look(now)
            self._signals = self._measure(now)
            _, self._state, self._reason = desired_instances(self._signals, self._policy, self._state, now)
            self._adjust(self._state.target, now)
            self._hand_out()

    def close(self) -> None:
        """Stop all instances and refuse all requests. Idempotent."""
        with self._lock:
            self._closed = True
            self._refuse(Unavailable(f"the model {self._name!r} is no longer served here"))
            for member in self._members:
                member.instance.stop()
            self._members.clear()

    # --- requests -----------------------------------------------------------------------------------------------------

    def _acquire(self, deadline: float) -> Member:
        waiter: Future[Member] = Future()
        with self._lock:
            if self._closed:
                raise Unavailable(f"the model {self._name!r} is no longer served here")
            self._waiters.append(waiter)
            self._hand_out()
            if not waiter.done():
                if len(self._waiters) > self._max_queued:
                    self._waiters.remove(waiter)
                    raise Overloaded(f"{self._max_queued} requests wait for {self._name!r}", retry_after_s=1)
                if not self._members:
                    self._raise_if_hopeless(waiter)
                    self._wake()
        try:
            return waiter.result(max(deadline - self._clock.monotonic(), 0))
        except TimeoutError:
            with self._lock:
                if waiter.done():  # handed over in this very moment
                    return waiter.result()
                self._waiters.remove(waiter)
            raise DeadlineExceeded(f"no instance of {self._name!r} was free in time") from None

    def _ask(self, member: Member, rows: list[Any], deadline: float) -> list[Any]:
        try:
            answer = member.instance.predict(rows)
        except BaseException:
            self._release(member)
            raise
        # A request that nobody waits for any longer keeps its place until the instance is done with it.
        answer.add_done_callback(lambda done: self._release(member, done.exception()))
        try:
            return answer.result(max(deadline - self._clock.monotonic(), 0))
        except TimeoutError:
            raise DeadlineExceeded(f"{self._name!r} did not answer in time") from None

    def _release(self, member: Member, error: BaseException | None = None) -> None:
        with self._lock:
            member.in_flight -= 1
            member.dead |= isinstance(error, Unavailable)  # before the next request is handed out
            if member.leaving and not member.in_flight:
                self._remove(member)
            self._hand_out()

    def _lost(self, member: Member, error: StreambError) -> None:
        with self._lock:
            member.dead, self._failure = True, error
        self._wake()

    def _hand_out(self) -> None:
        """Assign the requests that have waited longest to the least busy instances."""
        while self._waiters:
            able = [one for one in self._members if one.ready and not (one.leaving or one.dead)]
            member = min(able, key=lambda one: one.in_flight, default=None)
            if member is None or member.in_flight >= _DEPTH:
                return
            member.in_flight += 1
            self._waiters.popleft().set_result(member)

    def _raise_if_hopeless(self, waiter: Future[Member]) -> None:
        """Fail the waiting requests if the model could not be made and the next attempt is not due yet."""
        if isinstance(self._failure, StartFailed) and self._clock.monotonic() < self._launch_at:
            self._waiters.remove(waiter)
            raise self._failure

    def _refuse(self, error: StreambError) -> None:
        while self._waiters:
            self._waiters.popleft().set_exception(error)

    # --- instances ----------------------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        for member in list(self._members):
            try:
                member.look(now)
            except StreambError as error:
                member.dead, self._failure = True, error
            if member.dead:
                self._bury(member, now)

    def _start(self, count: int, now: float) -> None:
        try:
            for _ in range(count):
                member = Member(self._launch())
                member.instance.started.add_done_callback(lambda _: self._wake())
                self._members.append(member)
        except Exception:
            _log.exception("an instance of %s could not be started", self._name)
            self._back_off(now)

    def _back_off(self, now: float) -> None:
        """After one failure the next try is at once; then they come at longer and longer intervals."""
        self._failures += 1
        self._launch_at = now + (min(2.0 ** min(self._failures - 2, 10), _BACKOFF_S) if self._failures > 1 else 0)

    def _bury(self, member: Member, now: float) -> None:
        self._remove(member)
        self._back_off(now)
        _log.warning("an instance of %s is gone: %s", self._name, self._failure)
        if not member.ready and self._failure is not None and not self._members:
            self._refuse(self._failure)

    def _remove(self, member: Member) -> None:
        if member in self._members:
            self._members.remove(member)
            member.instance.stop()

    def _measure(self, now: float) -> Signals:
        ready = [one for one in self._members if one.ready and not one.leaving]
        fresh = [one for one in ready if now - one.numbers_at < _FRESH_S]
        names = ("busy", "cpu", "memory", "rate")
        told = {name: {one: one.numbers[name] for one in fresh if name in one.numbers} for name in names}
        self._trend.add(now, len(self._waiters) + sum(one.in_flight for one in ready))
        recent = [seconds for at, seconds in self._latencies if now - at < _LATENCY_S]
        slow = LatencyHistogram.of(recent).quantile(self._quantile)
        signals = self._trend.seen_by(aggregate(told, fresh, analysing=False))
        return replace(signals, latency_ms=None if slow is None else 1e3 * slow)

    def _adjust(self, target: int, now: float) -> None:
        staying = [one for one in self._members if not one.leaving]
        if len(staying) < target and now >= self._launch_at:
            self._start(target - len(staying), now)
        for member in sorted(staying, key=lambda one: (one.ready, one.in_flight))[: max(len(staying) - target, 0)]:
            member.leaving = True
            if not member.in_flight:
                self._remove(member)
