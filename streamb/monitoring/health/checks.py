"""One look at a version: a finding for each threshold, and the health status that a failure leads to.

| criterion | beyond its limit | and proven | and far beyond |
| --- | --- | --- | --- |
| error_rate, accuracy | degraded, once it lasts | unhealthy | |
| p95_latency | degraded, once it lasts | degraded | unhealthy: proven to be above twice the limit |
| throughput | degraded, once it lasts | degraded: requests wait | |
| drift_score, concept_drift | | degraded | |

*Proven* means that an exact binomial test of this look has p < 0.001: one error in five requests proves nothing.
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
"""A value is calm if it is at most this share of its limit; just below the limit does not count as recovered."""
_ALPHA: Final = 0.001
_FAR: Final = 2.0


class Thresholds(Limits):
    """The limits of a healthy model. A limit that is None is not judged; for drift, the report's own one is used.

    >>> Thresholds.read({"max_latency_ms": 200, "max_error_rate": 0.05}).max_latency_ms
    200.0
    """

    called: ClassVar[str] = "performance_thresholds"


class Status(StrEnum):
    """The health of a model; "unknown" if there are no recent reports on it."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Look:
    """The result of one look for one criterion.

    Attributes:
        finding: the verdict on the criterion, with value and limit.
        level: the status that a failure leads to.
        calm: whether the value is far enough within its limit to count as recovered, or there is no value.
        wears: whether a value beyond the limit without proof counts too, once it has lasted.
    """

    finding: Finding
    level: Status
    calm: bool
    wears: bool = True


def looks(
    thresholds: Thresholds, metrics: Metrics, drift: DriftReport | None, concept: ConceptReport | None
) -> list[Look]:
    """Return one look for each threshold that is set, and one for each kind of drift that is watched.

    Args:
        thresholds: the limits; one that is None is not judged.
        metrics: errors, latency, throughput and accuracy of the version.
        drift: the comparison with the baseline; None: drift is not watched.
        concept: the result of the concept detector; None: it is not watched.
    """
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


def _look(finding: Finding, level: Status, *, wears: bool = True) -> Look:
    return Look(finding, level, measures.times_limit(finding) <= CALM, wears)


def _drift(limit: float | None, drift: DriftReport) -> Look:
    finding = measures.drift(
        drift.score,
        drift.threshold if limit is None else limit,
        proven=drift.beyond_chance,
        samples=drift.rows,
        words=drift.summary,
    )
    # A score without significance means nothing, however long it lasts.
    return _look(finding, Status.DEGRADED, wears=False)


def _concept(concept: ConceptReport) -> Look:
    verdict = Verdict.FAIL if concept.drifted else Verdict.PASS if concept.labels else Verdict.INCONCLUSIVE
    finding = Finding("concept_drift", verdict, concept.summary, concept.evidence, 1.0, concept.labels)
    return Look(finding, Status.DEGRADED, not concept.drifted, wears=False)  # the detector has its own hysteresis


def _proven(k: int, n: int, share: float) -> bool:
    return k > share * n and binomial_tail(k, n, share) < _ALPHA
