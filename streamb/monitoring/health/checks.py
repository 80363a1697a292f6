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
from typing import Final

from streamb.metrics.criteria import Finding, Verdict, at_least, at_most
from streamb.metrics.measures import Metrics
from streamb.monitoring.drift.concept_alarm import ConceptReport
from streamb.monitoring.drift.report import DriftReport
from streamb.monitoring.health.thresholds import Thresholds
from streamb.stats import binomial_tail

CALM: Final = 0.8
"""A value is calm at so much of its limit: so near the limit and back does not count as recovered."""
_ALPHA: Final = 0.001
_PERCENTILE: Final = 0.95
_FAR: Final = 2.0


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
    found = [
        _error_rate(thresholds.max_error_rate, metrics),
        _latency(thresholds.max_latency_ms, metrics),
        _accuracy(thresholds.min_accuracy, metrics),
        _throughput(thresholds.min_throughput, metrics),
        _drift(thresholds.max_drift_score, drift),
        _concept(concept),
    ]
    return [look for look in found if look is not None]


def _error_rate(limit: float | None, metrics: Metrics) -> Look | None:
    if limit is None:
        return None
    value, count = metrics.error_rate, metrics.requests
    verdict = at_most(value, limit, proven=_proven(metrics.errors, count, limit))
    detail = (
        "no requests"
        if value is None
        else f"error rate {_percent(value)} of {count:,} requests, at most {_percent(limit)} allowed"
    )
    finding = Finding("error_rate", verdict, detail, value, limit, count)
    return Look(finding, Status.UNHEALTHY, value is None or value <= CALM * limit)


def _latency(limit: float | None, metrics: Metrics) -> Look | None:
    if limit is None:
        return None
    value, count = metrics.p95_latency_ms, metrics.latency.count
    verdict = at_most(value, limit, proven=_slow(metrics, limit))
    detail = "no requests" if value is None else f"p95 latency {value:,.0f} ms, at most {limit:g} ms allowed"
    level = Status.UNHEALTHY if _slow(metrics, _FAR * limit) else Status.DEGRADED
    finding = Finding("p95_latency", verdict, detail, value, limit, count)
    return Look(finding, level, value is None or value <= CALM * limit)


def _slow(metrics: Metrics, limit_ms: float) -> bool:
    """Whether the percentile is surely above: more requests are than may be."""
    count = metrics.latency.count
    return _proven(count - metrics.latency.at_most(limit_ms / 1e3), count, 1.0 - _PERCENTILE)


def _accuracy(limit: float | None, metrics: Metrics) -> Look | None:
    if limit is None:
        return None
    value, count = metrics.accuracy, metrics.labels
    verdict = at_least(value, limit, proven=_proven(metrics.wrong, count, 1.0 - limit))
    if value is None:
        detail = "a regression has no accuracy" if metrics.mean_absolute_error is not None else "no labels"
    else:
        detail = f"accuracy {_percent(value)} of {count:,} labels, at least {_percent(limit)} wanted"
    finding = Finding("accuracy", verdict, detail, value, limit, count)
    return Look(finding, Status.UNHEALTHY, value is None or 1.0 - value <= CALM * (1.0 - limit))


def _throughput(limit: float | None, metrics: Metrics) -> Look | None:
    if limit is None:
        return None
    value = metrics.throughput
    detail = "nothing was counted yet"
    if value is not None:
        detail = f"{value:.3g} requests/s answered, {limit:g} wanted"
        if value < limit:
            detail += ", while others waited" if metrics.waiting else "; no more came"
    finding = Finding(
        "throughput", at_least(value, limit, proven=metrics.waiting), detail, value, limit, metrics.requests
    )
    return Look(finding, Status.DEGRADED, value is None or CALM * value >= limit)


def _drift(limit: float | None, drift: DriftReport | None) -> Look | None:
    if drift is None:
        return None
    limit = drift.threshold if limit is None else limit
    value = None if drift.status == "insufficient_data" else drift.overall_drift_score
    verdict = at_most(value, limit, proven=drift.drifted)
    if drift.drifted and value == limit:
        verdict = Verdict.FAIL  # a score counts as drift from the limit on
    finding = Finding("drift_score", verdict, drift.summary, value, limit, drift.rows)
    # Without significance a score says nothing, however long it lasts.
    return Look(finding, Status.DEGRADED, value is None or value <= CALM * limit, wears=False)


def _concept(concept: ConceptReport | None) -> Look | None:
    if concept is None:
        return None
    verdict = Verdict.FAIL if concept.drifted else Verdict.PASS if concept.labels else Verdict.INCONCLUSIVE
    finding = Finding("concept_drift", verdict, concept.summary, concept.evidence, 1.0, concept.labels)
    return Look(finding, Status.DEGRADED, not concept.drifted, wears=False)  # the detector has a hysteresis of its own


def _proven(k: int, n: int, limit: float) -> bool:
    return k > limit * n and binomial_tail(k, n, limit) < _ALPHA


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"
