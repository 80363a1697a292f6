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
from streamb.rollouts.blocks import Blocks
from streamb.rollouts.observation import NOW_S, RECENT_S, WHILE_REFUSED_S, is_refused
from streamb.serving.breaker import REFUSED, Breaker, BreakerState
from streamb.traffic import BreakerPolicy

GATEWAYS = 2
ROOM = 120
"""How many buckets latencies may shift to either side: by a factor of ten."""


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
        error_rate: the chance of an error.
        p95_ms: the 95th percentile of the latency.
        sigma: the standard deviation of the latency's logarithm, within a second.
        client_errors: the chance that a request is refused as the client's mistake.
        drift: the standard deviation of what all latencies of a second have in common (their logarithm), of this
            version's own: its replicas' cores, memory and neighbours.
        drift_s: how long that lasts, in seconds: its correlation falls to 37 % in this time.
    """

    error_rate: float = 0.02
    p95_ms: float = 100.0
    sigma: float = 0.5
    client_errors: float = 0.0
    drift: float = 0.0
    drift_s: float = 5.0

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


class Drift:
    """A slowly changing shift of the logarithm of latencies (an autoregressive process, one value per second)."""

    def __init__(self, deviation: float, lasting_s: float, random: np.random.Generator) -> None:
        self._deviation, self._random = deviation, random
        self._kept = math.exp(-1.0 / lasting_s)
        self._now = deviation * float(random.standard_normal()) if deviation else 0.0

    def next(self) -> float:
        """The shift of the next second."""
        if self._deviation:
            fresh = self._deviation * math.sqrt(1.0 - self._kept**2) * float(self._random.standard_normal())
            self._now = self._kept * self._now + fresh
        return self._now


class _Counts:
    """What one version is counted to have done: since the step began, and in the last seconds."""

    def __init__(self, name: str, behaviour: Behaviour, random: np.random.Generator) -> None:
        self._name, self._behaviour, self._random = name, behaviour, random
        first, self._chances = behaviour.bucket_chances()
        self._first = first - ROOM
        self._drift = Drift(behaviour.drift, behaviour.drift_s, random)
        self._ever = [0, 0]
        self.reset()

    def reset(self) -> None:
        """A step begins."""
        self._sums = [_Sums(0, 0, 0, 0, np.zeros(len(self._chances) + 2 * ROOM, dtype=np.int64))]

    def serve(self, requests: int, shift: float = 0.0, gateways: _Gateways | None = None) -> int:
        """One second's requests; returns how many of them the gateways sent elsewhere.

        Args:
            requests: how many arrive.
            shift: what the machine adds to the logarithm of every latency in this second.
            gateways: the breakers in front of the version.
        """
        rate = self._behaviour.error_rate
        mistaken = int(self._random.binomial(requests, self._behaviour.client_errors))
        if gateways is None:
            errors, called = int(self._random.binomial(requests - mistaken, rate)), requests - mistaken
        else:
            through = gateways.let_through(self._random.random(requests - mistaken) < rate)
            errors, called = int(through.sum()), len(through)
        self._ever = [self._ever[0] + errors, self._ever[1] + called]
        refused = requests - mistaken - called
        self._sums.append(self._sums[-1].plus(errors, called, refused, mistaken, self._buckets(called, shift)))
        return refused

    def _buckets(self, called: int, shift: float) -> NDArray[np.int64]:
        moved = round((shift + self._drift.next()) / math.log(GROWTH))
        at = ROOM + min(max(moved, -ROOM), ROOM)
        buckets = np.zeros(len(self._chances) + 2 * ROOM, dtype=np.int64)
        buckets[at : at + len(self._chances)] = self._random.multinomial(called, self._chances)
        return buckets

    def snapshot(self) -> Snapshot:
        """Since the step began."""
        return self._snapshot(self._sums[-1])

    def recent(self, seconds: int = RECENT_S) -> Snapshot:
        """The last seconds of the step."""
        return self._snapshot(self._sums[-1].minus(self._sums[max(0, len(self._sums) - 1 - seconds)]))

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
            Outcome.CLIENT_ERROR: counted.mistaken,
        }
        return Snapshot("simulated", self._name, counts=counts, latency=LatencyHistogram(pairs))


class _Sums(NamedTuple):
    """What was counted in some seconds."""

    errors: int
    judged: int
    refused: int
    mistaken: int
    buckets: NDArray[np.int64]

    def plus(self, errors: int, judged: int, refused: int, mistaken: int, buckets: NDArray[np.int64]) -> _Sums:
        return _Sums(
            self.errors + errors,
            self.judged + judged,
            self.refused + refused,
            self.mistaken + mistaken,
            self.buckets + buckets,
        )

    def minus(self, then: _Sums) -> _Sums:
        return self.plus(-then.errors, -then.judged, -then.refused, -then.mistaken, -then.buckets)


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
    busy: float = 0.0,
    busy_s: float = 10.0,
) -> Result:
    """One rollout from the first step to its end.

    Args:
        ladder: the steps.
        stable, target: how the versions behave.
        requests_per_second: the model's traffic.
        random: the source of chance.
        criteria: what is judged; by default the defaults.
        busy: the standard deviation of what all latencies of both versions have in common (their logarithm): one
            machine that is busy now and then.
        busy_s: how long that lasts, in seconds.
    """
    criteria = criteria or HealthCriteria()
    mine, theirs, gateways = _Counts("2", target, random), _Counts("1", stable, random), _Gateways()
    machine = Drift(busy, busy_s, random)
    elapsed = 0
    for step in ladder:
        mine.reset()
        theirs.reset()
        blocks = Blocks()
        weight = step.share / BASIS_POINTS
        seconds = 0
        while True:
            seconds += 1
            gateways.now = elapsed + seconds
            arrived = int(random.poisson(requests_per_second))
            to_target = int(random.binomial(arrived, weight))
            shift = machine.next()
            refused = mine.serve(to_target, shift, gateways)
            theirs.serve(arrived - to_target + refused, shift)
            evidence = _evidence(mine, theirs, weight, seconds, blocks)
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


def _evidence(mine: _Counts, theirs: _Counts, weight: float, seconds: int, blocks: Blocks) -> StepEvidence:
    recent, target, stable = mine.recent(), mine.snapshot(), theirs.snapshot()
    lately = [one for one in WHILE_REFUSED_S if one <= seconds] if recent.refused else []
    return StepEvidence(
        target,
        stable if weight < 1 else None,
        recent,
        seconds,
        usual_error_rate=theirs.usual_error_rate(),
        target_lately=tuple(map(mine.recent, lately)),
        blocks=blocks.add(seconds, target.latency, stable.latency),
    )
