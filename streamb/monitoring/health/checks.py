"""One look at a version: each threshold becomes a finding, and what it would mean for the health if it lasts.

| criterion | beyond its limit | and proven | and far beyond |
| --- | --- | --- | --- |
| error_rate, accuracy | degraded, once it lasts | unhealthy | |
| p95_latency | degraded, once it lasts | degraded | unhealthy: surely above twice the limit |
| throughput | degraded, once it lasts | degraded: requests wait | |
| drift_score, concept_drift | | degraded | |

*Proven* is one look's exact binomial test at 1 in 1,000: one error in five requests proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from streamb.metrics import measures
from streamb.metrics.criteria import Finding, Verdict
from streamb.metrics.limits import Limits
from streamb.metrics.measures import Metrics
from streamb.monitoring.drift.concept_alarm import ConceptReport
from streamb.monitoring.drift.report import DriftReport
from streamb.stats.binomial import binomial_tail

CALM: Final = 0.8
"""A value is calm at so much of its limit: so near the limit and back does not count as recovered."""
_ALPHA: Final = 0.001
_FAR: Final = 2.0


class Thresholds(Limits):
    """The limits of a healthy model; what is None is not judged, except drift: then its report's own word counts.

    >>> Thresholds.read({"max_latency_ms": 200, "max_error_rate": 0.05}).max_latency_ms
    200.0
    """

    called: ClassVar[str] = "performance_thresholds"


class Status(StrEnum):
    """How well a model is; "unknown" when nobody reports on it."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found of one criterion.

    Attributes:
        level: what a failure means.
        calm: the value is far enough within its limit, or there is none.
        wears: being beyond the limit without proof counts as well, once it has lasted.
    """

    finding: Finding
    level: Status
    calm: bool
    wears: bool = True


def looks(
    thresholds: Thresholds, metrics: Metrics, drift: DriftReport | None, concept: ConceptReport | None
) -> list[Look]:
    """One look for each threshold that is set, and one at each kind of drift that is watched."""
    found: list[Look] = []
    if thresholds.max_error_rate is not None:
        found.append(_look(measures.error_rate(metrics, thresholds.max_error_rate, _proven), Status.UNHEALTHY))
    if (limit := thresholds.max_latency_ms) is not None:
        far = measures.slower(metrics, _FAR * limit, _proven)
        found.append(_look(measures.latency(metrics, limit, _proven), Status.UNHEALTHY if far else Status.DEGRADED))
    if thresholds.min_accuracy is not None:
        found.append(_look(measures.accuracy(metrics, thresholds.min_accuracy, _proven), Status.UNHEALTHY))
    if thresholds.min_throughput is not None:
        found.append(_look(measures.throughput(metrics, thresholds.min_throughput), Status.DEGRADED))
    if drift is not None:
        found.append(_drift(thresholds.max_drift_score, drift))
    if concept is not None:
        found.append(_concept(concept))
    return found


def calm(finding: Finding) -> bool:
    """Whether a value is far enough within its limit to count as recovered; true where there is no value."""
    return measures.times_limit(finding) <= CALM


def _look(finding: Finding, level: Status, *, wears: bool = True) -> Look:
    return Look(finding, level, calm(finding), wears)


def _drift(limit: float | None, drift: DriftReport) -> Look:
    finding = measures.drift(
        drift.score,
        drift.threshold if limit is None else limit,
        proven=drift.beyond_chance,
        samples=drift.rows,
        words=drift.summary,
    )
    # Without significance a score says nothing, however long it lasts.
    return _look(finding, Status.DEGRADED, wears=False)


def _concept(concept: ConceptReport) -> Look:
    verdict = Verdict.FAIL if concept.drifted else Verdict.PASS if concept.labels else Verdict.INCONCLUSIVE
    finding = Finding("concept_drift", verdict, concept.summary, concept.evidence, 1.0, concept.labels)
    return Look(finding, Status.DEGRADED, not concept.drifted, wears=False)  # the detector has a hysteresis of its own


def _proven(k: int, n: int, share: float) -> bool:
    return k > share * n and binomial_tail(k, n, share) < _ALPHA
