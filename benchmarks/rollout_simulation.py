"""Rollouts without a cluster: counts drawn at random, one look per second, judged by what judges real rollouts.

A ladder of steps is climbed as a canary does it: a step passes when everything passed and its minimum time is over, is
held for a person when it stays inconclusive until its maximum time, and a failure ends the rollout. In front of the
target are the circuit breakers of two gateways, as they are by default: what they refuse, stable answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamb.hashing import BASIS_POINTS
from streamb.metrics import Outcome
from streamb.metrics.criteria import Verdict, overall
from streamb.metrics.histogram import BUCKETS, GROWTH, SMALLEST_S, LatencyHistogram
from streamb.metrics.snapshot import Snapshot
from streamb.rollouts.analysis import HealthCriteria, StepEvidence, judge
from streamb.rollouts.observation import NOW_S, RECENT_S, WHILE_REFUSED_S, is_refused
from streamb.serving.breaker import REFUSED, Breaker, BreakerState
from streamb.traffic import BreakerPolicy

GATEWAYS = 2


class Rung(Protocol):
    """What the simulation reads of a step; `streamb.rollouts.Step` has it too."""

    @property
    def share(self) -> int: ...
    @property
    def min_time_s(self) -> float: ...
    @property
    def max_time_s(self) -> float: ...
    @property
    def min_samples(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a version behaves: the chance of an error, and log-normal latencies.

    Attributes:
        p95_ms: the 95th percentile of the latency.
        sigma: the standard deviation of the latency's logarithm.
    """

    error_rate: float = 0.02
    p95_ms: float = 100.0
    sigma: float = 0.5

    @property
    def middle(self) -> float:
        """The logarithm of the median latency in seconds."""
        return math.log(self.p95_ms / 1e3) - 1.6448536 * self.sigma

    def bucket_chances(self) -> tuple[int, NDArray[np.float64]]:
        """The first latency bucket that matters, and the chance of each from there on."""
        bounds = np.log(SMALLEST_S) + np.log(GROWTH) * np.arange(BUCKETS + 1)
        below = np.array([0.5 * math.erfc(-(bound - self.middle) / self.sigma / math.sqrt(2.0)) for bound in bounds])
        chances = np.diff(below)
        kept = np.flatnonzero(chances > 1e-9)
        first, last = int(kept[0]), int(kept[-1]) + 1
        return first, chances[first:last] / chances[first:last].sum()


class End(StrEnum):
    """How a simulated rollout ended."""

    COMPLETED = "completed"
    ROLLED_BACK = "rolled back"
    HELD = "held for a person"


@dataclass(frozen=True, slots=True)
class Result:
    """One simulated rollout: how, at which weight (percent) and after how many seconds it ended, and what failed.

    Attributes:
        errors: how many requests the new version failed until then.
    """

    end: End
    percent: float
    seconds: int
    failed: str = ""
    errors: int = 0


class _Counts:
    """What one version is counted to have done: since the step began, and in the last seconds."""

    def __init__(self, name: str, behaviour: Behaviour, random: np.random.Generator) -> None:
        self._name, self._behaviour, self._random = name, behaviour, random
        self._first, self._chances = behaviour.bucket_chances()
        self._ever = [0, 0]
        self.reset()

    def reset(self) -> None:
        """A step begins."""
        self._sums = [_Sums(0, 0, 0, np.zeros(len(self._chances), dtype=np.int64))]

    def serve(self, requests: int, gateways: _Gateways | None = None) -> int:
        """One second's requests; returns how many of them the gateways sent elsewhere."""
        rate = self._behaviour.error_rate
        if gateways is None:
            errors, called = int(self._random.binomial(requests, rate)), requests
        else:
            through = gateways.let_through(self._random.random(requests) < rate)
            errors, called = int(through.sum()), len(through)
        self._ever = [self._ever[0] + errors, self._ever[1] + called]
        buckets = self._random.multinomial(called, self._chances)
        last = self._sums[-1]
        refused = requests - called
        now = _Sums(last.errors + errors, last.judged + called, last.refused + refused, last.buckets + buckets)
        self._sums.append(now)
        return refused

    def snapshot(self) -> Snapshot:
        """Since the step began."""
        return self._snapshot(self._sums[-1])

    def recent(self, seconds: int = RECENT_S) -> Snapshot:
        """The last seconds of the step."""
        now, then = self._sums[-1], self._sums[max(0, len(self._sums) - 1 - seconds)]
        parts = (now.errors - then.errors, now.judged - then.judged, now.refused - then.refused)
        return self._snapshot(_Sums(*parts, now.buckets - then.buckets))

    @property
    def errors(self) -> int:
        """Over all steps."""
        return self._ever[0]

    def usual_error_rate(self) -> float | None:
        """Over all steps."""
        return self._ever[0] / self._ever[1] if self._ever[1] else None

    def _snapshot(self, counted: _Sums) -> Snapshot:
        used = np.flatnonzero(counted.buckets)
        pairs = tuple(zip((used + self._first).tolist(), counted.buckets[used].tolist(), strict=True))
        counts = {
            Outcome.OK: counted.judged - counted.errors,
            Outcome.MODEL_ERROR: counted.errors,
            Outcome.REFUSED: counted.refused,
        }
        return Snapshot("simulated", self._name, counts=counts, latency=LatencyHistogram(pairs))


class _Sums(NamedTuple):
    """What was counted in some seconds."""

    errors: int
    judged: int
    refused: int
    buckets: NDArray[np.int64]


class _Gateways:
    """The circuit breakers that the target's requests meet, in turn; stable is well, so that they may refuse."""

    def __init__(self) -> None:
        self._breakers = [Breaker("simulated", "2", BreakerPolicy()) for _ in range(GATEWAYS)]
        self.now = 0

    def let_through(self, failing: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Of requests that would fail or not, the ones that are called."""
        parts = [self._through(breaker, failing[turn::GATEWAYS]) for turn, breaker in enumerate(self._breakers)]
        return np.concatenate(parts)

    def _through(self, breaker: Breaker, failing: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if breaker.state is not BreakerState.CLOSED:
            return np.array([fails for fails in failing.tolist() if self._called(breaker, fails=fails)], dtype=bool)
        after = 0
        for index in np.flatnonzero(failing).tolist():
            if index > after:  # to a closed breaker, several answers in a row are one
                self._called(breaker, fails=False)
            self._called(breaker, fails=True)
            after = index + 1
            if breaker.state is BreakerState.OPEN:
                return failing[:after]
        if after < len(failing):
            self._called(breaker, fails=False)
        return failing

    def _called(self, breaker: Breaker, *, fails: bool) -> bool:
        generation = breaker.enter(self.now)
        if generation != REFUSED:
            (breaker.failed if fails else breaker.succeeded)(generation, self.now)
        return generation != REFUSED


def simulate(
    ladder: Sequence[Rung],
    stable: Behaviour,
    target: Behaviour,
    *,
    requests_per_second: float,
    random: np.random.Generator,
    criteria: HealthCriteria | None = None,
) -> Result:
    """One rollout from the first step to its end."""
    criteria = criteria or HealthCriteria()
    mine, theirs, gateways = _Counts("2", target, random), _Counts("1", stable, random), _Gateways()
    elapsed = 0
    for step in ladder:
        mine.reset()
        theirs.reset()
        weight = step.share / BASIS_POINTS
        seconds = 0
        while True:
            seconds += 1
            gateways.now = elapsed + seconds
            arrived = int(random.poisson(requests_per_second))
            to_target = int(random.binomial(arrived, weight))
            refused = mine.serve(to_target, gateways)
            theirs.serve(arrived - to_target + refused)
            evidence = _evidence(mine, theirs, weight, seconds)
            findings = judge(criteria, evidence, step.min_samples)
            verdict = overall(findings)
            if verdict is Verdict.FAIL:
                failed = next(finding.criterion for finding in findings if finding.verdict is Verdict.FAIL)
                return Result(End.ROLLED_BACK, weight * 100, elapsed + seconds, failed, mine.errors)
            if verdict is Verdict.PASS and seconds >= step.min_time_s and not is_refused(mine.recent(NOW_S)):
                break
            if seconds >= step.max_time_s:
                return Result(End.HELD, weight * 100, elapsed + seconds, errors=mine.errors)
        elapsed += seconds
    return Result(End.COMPLETED, 100.0, elapsed, errors=mine.errors)


def _evidence(mine: _Counts, theirs: _Counts, weight: float, seconds: int) -> StepEvidence:
    recent = mine.recent()
    lately = [one for one in WHILE_REFUSED_S if one <= seconds] if recent.refused else []
    return StepEvidence(
        mine.snapshot(),
        theirs.snapshot() if weight < 1 else None,
        recent,
        seconds,
        usual_error_rate=theirs.usual_error_rate(),
        target_lately=tuple(map(mine.recent, lately)),
    )
