"""A circuit breaker per version: a version that keeps failing is not called for a while, then tried with a few calls.

    closed ──failures in a row, or most of a window──► open ──time──► half-open ──all probes are good──► closed
                                                      ▲                │
                                                      └──one failure───┘

Every call carries the generation of the breaker at its start, and each change of state starts a new generation. So a
late result from before the breaker opened can neither close it nor keep it open.

One caller alone cannot open it while others get answers: of failures in a row of the same caller, one counts, unless
nobody else was answered in the last ten seconds. Of a window, no caller counts for as much as all others together.

The breaker only judges its version. Whether a request is really refused depends on the other versions
(`serving.targets.ServedModel.can_spare`): the last healthy version of a model is called whatever its breaker's state.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from streamb.errors import BreakerOpen
from streamb.lifecycle import Lifecycle
from streamb.metrics import Outcome, OutcomeWindows, Snapshot
from streamb.metrics.callers import Callers
from streamb.metrics.weighing import Group, Weights, weighed, weights
from streamb.traffic import BreakerPolicy

_log = logging.getLogger(__name__)
_LESS: Final = 0.9
"""A caller who would weigh as much as all others could open a breaker that opens at half: it weighs so much of that."""
_OUTCOMES: Final = frozenset(outcome.value for outcome in Outcome)

REFUSED: Final = -1
"""Returned instead of a generation if the call should not be made; results reported under it are ignored."""

WINDOW_S: Final = 10
WINDOW_CALLS: Final = 20
WINDOW_SHARE: Final = 0.5
"""The breaker also opens if this share of at least this many requests, within this many seconds, failed."""


class BreakerState(StrEnum):
    """The state of a breaker: closed calls the version, open does not, half-open makes a few probe calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


_CLOSED, _OPEN, _HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN

BREAKER_LIFECYCLE: Final = Lifecycle(
    "circuit breaker",
    {
        _CLOSED: frozenset({_OPEN}),
        _OPEN: frozenset({_HALF_OPEN}),
        _HALF_OPEN: frozenset({_CLOSED, _OPEN}),
    },
)


class Breaker:
    """The breaker of one version in one gateway. Times are of the monotonic clock; it belongs to one event loop.

    Attributes:
        state: the present state.
        generation: how often the state has changed.
        since: when the state last changed, in seconds.
    """

    __slots__ = (
        *("_answered", "_failing", "_failures", "_other", "_probes", "_successes", "generation"),
        *("model_id", "policy", "since", "state", "version"),
    )

    def __init__(self, model_id: str, version: str, policy: BreakerPolicy, now: float = 0.0) -> None:
        self.model_id = model_id
        self.version = version
        self.policy = policy
        self.state = _CLOSED
        self.generation = 0
        self.since = now
        self._failures = 0
        self._probes = 0
        self._successes = 0
        self._failing: set[str] = set()  # callers with failures in this row
        self._answered: tuple[str, float] = ("", -math.inf)  # the last answer: to whom, and when
        self._other: tuple[str, float] = ("", -math.inf)  # the last one to somebody else

    def enter(self, now: float, *, trial: bool = True) -> int:
        """Ask before a call: returns the generation under which to report its result, or `REFUSED`.

        Args:
            now: the time, in seconds.
            trial: whether the call may be one of the trial calls. If not, nothing may be reported of it.
        """
        if self.state is _CLOSED:
            return self.generation
        if not trial:
            return REFUSED if self.retry_after_s(now) > 0 else self.generation
        if self.state is _OPEN:
            if self.retry_after_s(now) > 0:
                return REFUSED
            self._move(_HALF_OPEN, now)
        if self._probes >= self.policy.half_open_max_calls:
            return REFUSED
        self._probes += 1
        return self.generation

    def succeeded(self, generation: int, now: float, caller: str = "") -> None:
        """Report that the call was answered, and to whom."""
        if caller != self._answered[0]:
            self._other = self._answered
        self._answered = caller, now
        if generation != self.generation:
            return
        if self.state is _CLOSED:
            if self._failures:
                self._failures = 0
                self._failing.clear()
        elif self.state is _HALF_OPEN:
            self._successes += 1
            if self._successes >= self.policy.half_open_max_calls:
                self._move(_CLOSED, now)

    def failed(self, generation: int, now: float, caller: str = "") -> None:
        """Report that the call failed in a way that counts against the version, and whose call it was."""
        if generation != self.generation:
            return
        if self.state is _CLOSED:
            _, others_at = self._answered if self._answered[0] != caller else self._other
            if caller in self._failing and others_at > now - WINDOW_S:
                return
            self._failing.add(caller)
            self._failures += 1
            if self._failures >= self.policy.failure_threshold:
                self._move(_OPEN, now)
        elif self.state is _HALF_OPEN:
            self._move(_OPEN, now)

    def abandoned(self, generation: int) -> None:
        """Report that the call ended without a judgement of the version (client gone, gateway full)."""
        if generation == self.generation and self.state is _HALF_OPEN:
            self._probes -= 1

    def judge(self, recent: Snapshot, now: float) -> None:
        """Open if most requests of a recent window failed, even if not in a row."""
        if self.state is _CLOSED and recent.judged >= WINDOW_CALLS and recent.blamed >= WINDOW_SHARE * recent.judged:
            self._move(_OPEN, now)

    def retry_after_s(self, now: float) -> float:
        """Return how many more seconds it stays open; 0.0 if it is not open, or may close."""
        if self.state is not _OPEN:
            return 0.0
        return max(0.0, self.since + self.policy.recovery_timeout_s - now)

    def refusal(self, now: float) -> BreakerOpen:
        """Return the error for a client whose call is refused."""
        seconds = max(1.0, round(self.retry_after_s(now), 3))
        return BreakerOpen(
            f"version {self.version} is not called at present, because it kept failing; try again in {seconds:.0f} s",
            retry_after_s=seconds,
        )

    def _move(self, state: BreakerState, now: float) -> None:
        _log.warning("circuit breaker of %s %s: %s -> %s", self.model_id, self.version, self.state, state)
        self.state = BREAKER_LIFECYCLE.check(self.state, state)
        self.generation += 1
        self.since = now
        self._failures = self._probes = self._successes = 0
        self._failing.clear()


class BreakerWatch:
    """Gives each breaker the recent counts of its version, whenever the gateway reports."""

    def __init__(self) -> None:
        self._windows = OutcomeWindows(horizon_s=2 * WINDOW_S)

    def look(self, now: float, snapshots: Iterable[Snapshot], breakers: Iterable[Breaker]) -> None:
        """Let the breakers judge the requests counted since the last call.

        Only failures after a breaker last closed may open it; older ones in the window do not count.
        """
        outcomes = (
            Snapshot(one.model_id, one.version, counts=one.counts, callers=_outcomes_only(one.callers))
            for one in snapshots
        )
        self._windows.feed("gateway", now, outcomes)
        for breaker in breakers:
            seconds = min(WINDOW_S, int(now - breaker.since) - 1)
            if breaker.state is _CLOSED and seconds > 0:
                recent = self._windows.recent(breaker.model_id, breaker.version, now, seconds)
                if len(recent.callers) > 1:
                    (by,) = weights([recent], floor=0)
                    capped = {name: _LESS * weight for name, weight in by.of.get(Group.ERRORS, {}).items()}
                    recent = weighed(recent, Weights({Group.ERRORS: capped}))
                breaker.judge(recent, now)


def _outcomes_only(callers: Callers) -> Callers:
    """The tallies without latencies, which a breaker does not need; empty if there is only one caller."""
    if len(callers) < 2:
        return {}
    return {name: {key: n for key, n in tally.items() if key in _OUTCOMES} for name, tally in callers.items()}
