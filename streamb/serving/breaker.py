"""A circuit breaker per version: a version that keeps failing is not called for a while, then tried with a few calls.

    closed ──failures in a row, or most of a window──► open ──time──► half-open ──all probes are good──► closed
                                                      ▲                │
                                                      └──one failure───┘

Every call carries the generation of the breaker at its start, and each change of state begins a new one. So what comes
back late, from before the breaker opened, can neither close it nor keep it open.

The breaker only says what it makes of its version. Whether a request is really refused depends on who else could answer
(`serving.targets.ServedModel.can_spare`): the last healthy version of a model is called whatever its breaker says.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from streamb.errors import BreakerOpen
from streamb.lifecycle import Lifecycle
from streamb.metrics import OutcomeWindows, Snapshot
from streamb.traffic import BreakerPolicy

_log = logging.getLogger(__name__)

REFUSED: Final = -1
"""Instead of a generation: the call should not be made. What is reported under it is ignored."""

WINDOW_S: Final = 10
WINDOW_CALLS: Final = 20
WINDOW_SHARE: Final = 0.5
"""Over so many seconds, with at least so many judged requests, such a share of failures opens the breaker too."""


class BreakerState(StrEnum):
    """What a breaker does with calls."""

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
        state: what it does with calls now.
        generation: how often the state has changed.
        since: when it last did.
    """

    __slots__ = ("_failures", "_probes", "_successes", "generation", "model_id", "policy", "since", "state", "version")

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

    def enter(self, now: float) -> int:
        """A call is about to be made: the generation to report its end under, or `REFUSED`."""
        if self.state is _CLOSED:
            return self.generation
        if self.state is _OPEN:
            if self.retry_after_s(now) > 0:
                return REFUSED
            self._move(_HALF_OPEN, now)
        if self._probes >= self.policy.half_open_max_calls:
            return REFUSED
        self._probes += 1
        return self.generation

    def succeeded(self, generation: int, now: float) -> None:
        """The call was answered."""
        if generation != self.generation:
            return
        if self.state is _CLOSED:
            self._failures = 0
        elif self.state is _HALF_OPEN:
            self._successes += 1
            if self._successes >= self.policy.half_open_max_calls:
                self._move(_CLOSED, now)

    def failed(self, generation: int, now: float) -> None:
        """The call failed in a way that counts against the version."""
        if generation != self.generation:
            return
        if self.state is _CLOSED:
            self._failures += 1
            if self._failures >= self.policy.failure_threshold:
                self._move(_OPEN, now)
        elif self.state is _HALF_OPEN:
            self._move(_OPEN, now)

    def abandoned(self, generation: int) -> None:
        """The call ended without a word about the version (the client went away, the gateway was full)."""
        if generation == self.generation and self.state is _HALF_OPEN:
            self._probes -= 1

    def judge(self, recent: Snapshot, now: float) -> None:
        """Open when a recent window was mostly failures, though never enough of them in a row."""
        if self.state is _CLOSED and recent.judged >= WINDOW_CALLS and recent.blamed >= WINDOW_SHARE * recent.judged:
            self._move(_OPEN, now)

    def retry_after_s(self, now: float) -> float:
        """How long it stays open from now on; 0.0 when it is not open, or need not be any longer."""
        if self.state is not _OPEN:
            return 0.0
        return max(0.0, self.since + self.policy.recovery_timeout_s - now)

    def refusal(self, now: float) -> BreakerOpen:
        """What to tell a client whose call is refused."""
        seconds = max(1.0, round(self.retry_after_s(now), 3))
        return BreakerOpen(
            f"version {self.version} is not called now, because it kept failing; try again in {seconds:.0f} s",
            retry_after_s=seconds,
        )

    def _move(self, state: BreakerState, now: float) -> None:
        _log.warning("circuit breaker of %s %s: %s -> %s", self.model_id, self.version, self.state, state)
        self.state = BREAKER_LIFECYCLE.check(self.state, state)
        self.generation += 1
        self.since = now
        self._failures = self._probes = self._successes = 0


class BreakerWatch:
    """Shows each breaker the last seconds of its version, as `metrics` counted them, whenever the gateway reports."""

    def __init__(self) -> None:
        self._windows = OutcomeWindows(horizon_s=2 * WINDOW_S)

    def look(self, now: float, snapshots: Iterable[Snapshot], breakers: Iterable[Breaker]) -> None:
        """Take in the counts so far and let the breakers judge what is new.

        Only what came in after a breaker last closed may open it: that old failures are still in the window is no news.
        """
        outcomes = (Snapshot(one.model_id, one.version, counts=one.counts) for one in snapshots)
        self._windows.feed("gateway", now, outcomes)
        for breaker in breakers:
            seconds = min(WINDOW_S, int(now - breaker.since) - 1)
            if breaker.state is _CLOSED and seconds > 0:
                breaker.judge(self._windows.recent(breaker.model_id, breaker.version, now, seconds), now)
