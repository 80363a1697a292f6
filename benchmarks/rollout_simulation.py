"""Rollouts without a cluster: counts drawn at random, one look per second, judged by what judges real rollouts.

Pure numpy. A ladder of steps is climbed as a canary does it: a step passes when everything passed and its minimum time
is over, is held for a person when it stays inconclusive until its maximum time, and a failure ends the rollout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamb.hashing import BASIS_POINTS
from streamb.metrics.criteria import Finding, Verdict, overall
from streamb.metrics.histogram import BUCKETS, GROWTH, SMALLEST_S, LatencyHistogram
from streamb.metrics.snapshot import Snapshot
from streamb.rollouts.analysis import HealthCriteria, StepEvidence, judge

RECENT_S = 10


class Rung(Protocol):
    """What the simulation reads of a step; `streamb.rollouts.Step` has it too."""

    @property
    def weight(self) -> int: ...
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

    def bucket_chances(self) -> tuple[int, NDArray[np.float64]]:
        """The first latency bucket that matters, and the chance of each from there on."""
        mu = math.log(self.p95_ms / 1e3) - 1.6448536 * self.sigma
        bounds = np.log(SMALLEST_S) + np.log(GROWTH) * np.arange(BUCKETS + 1)
        below = np.array([0.5 * math.erfc(-(bound - mu) / self.sigma / math.sqrt(2.0)) for bound in bounds])
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
    """One simulated rollout: how, at which weight (percent) and after how many seconds it ended, and what failed."""

    end: End
    percent: float
    seconds: int
    failed: str = ""


class _Counts:
    """What one version is counted to have done: since the step began, and in the last seconds."""

    def __init__(self, name: str, behaviour: Behaviour, random: np.random.Generator) -> None:
        self._name, self._behaviour, self._random = name, behaviour, random
        self._first, self._chances = behaviour.bucket_chances()
        self.reset()

    def reset(self) -> None:
        """A step begins."""
        self._errors = self._judged = 0
        self._buckets = np.zeros(len(self._chances), dtype=np.int64)
        self._seconds: list[tuple[int, int, NDArray[np.int64]]] = []

    def serve(self, requests: int) -> None:
        """One second's requests."""
        errors = int(self._random.binomial(requests, self._behaviour.error_rate))
        buckets = self._random.multinomial(requests, self._chances)
        self._errors += errors
        self._judged += requests
        self._buckets += buckets
        self._seconds = [*self._seconds[1 - RECENT_S :], (errors, requests, buckets)]

    def snapshot(self) -> Snapshot:
        """Since the step began."""
        return self._snapshot(self._errors, self._judged, self._buckets)

    def recent(self) -> Snapshot:
        """The last seconds."""
        errors, judged, buckets = zip(*self._seconds, strict=True)
        return self._snapshot(sum(errors), sum(judged), np.sum(buckets, axis=0))

    def _snapshot(self, errors: int, judged: int, buckets: NDArray[np.int64]) -> Snapshot:
        used = np.flatnonzero(buckets)
        pairs = tuple(zip((used + self._first).tolist(), buckets[used].tolist(), strict=True))
        counts = {"ok": judged - errors, "model_error": errors}
        return Snapshot("simulated", self._name, counts=counts, latency=LatencyHistogram(pairs))


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
    mine, theirs = _Counts("2", target, random), _Counts("1", stable, random)
    elapsed = 0
    for step in ladder:
        mine.reset()
        theirs.reset()
        weight = step.weight / BASIS_POINTS
        seconds = 0
        while True:
            seconds += 1
            arrived = int(random.poisson(requests_per_second))
            to_target = int(random.binomial(arrived, weight))
            mine.serve(to_target)
            theirs.serve(arrived - to_target)
            findings = _look(criteria, mine, theirs if weight < 1 else None, seconds, step.min_samples)
            verdict = overall(findings)
            if verdict is Verdict.FAIL:
                failed = next(finding.criterion for finding in findings if finding.verdict is Verdict.FAIL)
                return Result(End.ROLLED_BACK, weight * 100, elapsed + seconds, failed)
            if verdict is Verdict.PASS and seconds >= step.min_time_s:
                break
            if seconds >= step.max_time_s:
                return Result(End.HELD, weight * 100, elapsed + seconds)
        elapsed += seconds
    return Result(End.COMPLETED, 100.0, elapsed)


def _look(
    criteria: HealthCriteria, mine: _Counts, theirs: _Counts | None, seconds: int, min_samples: int
) -> tuple[Finding, ...]:
    stable = theirs.snapshot() if theirs else None
    return judge(criteria, StepEvidence(mine.snapshot(), stable, mine.recent(), seconds), min_samples)
