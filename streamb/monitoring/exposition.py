"""The metrics of the Monitor as Prometheus text."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamb.metrics.export import LABELS, by_part, by_version
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.drift.report import DriftReport
from streamb.monitoring.health.health import Status
from streamb.monitoring.watches import Standing

MOST_FEATURES: Final = 20
"""The most features of a version with their own series: those that drifted most. All would be too many series."""


@dataclass(frozen=True, slots=True)
class MonitorFacts:
    """The numbers that the Monitor exports.

    Attributes:
        standings: the result of the last look at each version; an unknown value has no series.
        firing: the number of firing alerts, by severity.
        notifications: the number of attempts to deliver, by channel and outcome.
        sources: the number of processes that push.
        tick_s: how long the last look at all versions took, in seconds.
    """

    standings: Sequence[Standing] = ()
    firing: Mapping[Severity, int] = field(default_factory=dict)
    notifications: Mapping[tuple[str, str], int] = field(default_factory=dict)
    sources: int = 0
    tick_s: float = 0.0


def monitor_text(facts: MonitorFacts) -> bytes:
    """Return the metrics of a running Monitor as Prometheus text."""
    return generate_latest(_MonitorCollector(facts))


def absent_text() -> bytes:
    """Return the Prometheus text for when no Monitor answers: only `streamb_monitor_up` with the value 0."""
    return generate_latest(_AbsentCollector())


class _AbsentCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        yield _up(0)


class _MonitorCollector(Collector):
    """Turns facts into metric families."""

    def __init__(self, facts: MonitorFacts) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        yield _up(1)
        yield GaugeMetricFamily("streamb_monitor_sources", "Processes that push.", value=self._facts.sources)
        yield GaugeMetricFamily(
            "streamb_monitor_tick_seconds", "How long the last look at all versions took.", value=self._facts.tick_s
        )
        yield from self._drift()
        yield self._health()
        yield from self._quality()
        yield from self._intake()
        yield from self._alerts()

    def _drift(self) -> Iterator[Metric]:
        yield self._by("streamb_drift_score", "Drift, 0 to 1.", "kind", _scores)
        yield self._by("streamb_feature_drift_score", "Drift of the features that drifted most.", "feature", _highest)
        yield self._gauge("streamb_drift_detected", "1: the data drifted.", _drifted)
        text = "1: predictions match labels less often than in the baseline."
        yield self._gauge("streamb_concept_drift_detected", text, _concept_drifted)

    def _health(self) -> Metric:
        text = "1 for the current status."
        return self._by("streamb_model_health", text, "status", lambda one: {s: s is one.health.status for s in Status})

    def _quality(self) -> Iterator[Metric]:
        yield self._gauge("streamb_accuracy", "Accuracy from labels.", lambda one: one.health.current_metrics.accuracy)
        text = "Accuracy expected from the predictions' confidence: an estimate, not a measurement."
        yield self._gauge("streamb_estimated_accuracy", text, _estimated_accuracy)
        text = "Baseline in force."
        yield self._gauge("streamb_baseline_number", text, lambda one: one.baseline.number if one.baseline else None)

    def _intake(self) -> Iterator[Metric]:
        yield self._gauge("streamb_monitor_window_rows", "Rows that drift is measured on.", lambda one: one.window_rows)
        text = "Seconds since rows of the version were last pushed."
        yield self._gauge("streamb_monitor_push_age_seconds", text, lambda one: one.silence_s)
        dropped = CounterMetricFamily("streamb_monitor_dropped", "Rows that were not counted.", labels=LABELS)
        yield by_version(dropped, self._facts.standings, lambda one: one.totals.dropped)

    def _alerts(self) -> Iterator[Metric]:
        firing = GaugeMetricFamily("streamb_alerts_firing", "Number of firing alerts.", labels=("severity",))
        for severity in Severity:
            firing.add_metric((severity,), self._facts.firing.get(severity, 0))
        yield firing
        sent = CounterMetricFamily(
            "streamb_notifications", "Attempts to deliver notifications, by outcome.", labels=("channel", "outcome")
        )
        for (channel, outcome), count in sorted(self._facts.notifications.items()):
            sent.add_metric((channel, outcome), count)
        yield sent

    def _by(self, name: str, text: str, label: str, of: Callable[[Standing], Mapping[str, float]]) -> Metric:
        return by_part(GaugeMetricFamily(name, text, labels=(*LABELS, label)), self._facts.standings, of)

    def _gauge(self, name: str, text: str, of: Callable[[Standing], float | None]) -> Metric:
        return by_version(GaugeMetricFamily(name, text, labels=LABELS), self._facts.standings, of)


def _up(value: int) -> Metric:
    return GaugeMetricFamily("streamb_monitor_up", "1: the Monitor answered this scrape.", value=value)


def _judged_drift(one: Standing) -> DriftReport | None:
    """Its drift, where there are enough rows to judge by, and fresh ones."""
    report = one.health.drift_status
    if report is None or report.status == "insufficient_data" or one.health.status is Status.UNKNOWN:
        return None
    return report


def _drifted(one: Standing) -> bool | None:
    report = _judged_drift(one)
    return None if report is None else report.drifted


def _scores(one: Standing) -> Mapping[str, float]:
    report = _judged_drift(one)
    if report is None:
        return {}
    found = {"overall": report.overall_drift_score}
    outputs = [one.score for one in report.outputs.values() if one.score is not None]
    if outputs:
        found["output"] = max(outputs)
    if report.multivariate is not None and report.multivariate.score is not None:
        found["multivariate"] = report.multivariate.score
    return found


def _highest(one: Standing) -> Mapping[str, float]:
    report = _judged_drift(one)
    features = [] if report is None else report.features.values()
    scores = [(one.score, one.name) for one in features if one.score is not None]
    return {name: score for score, name in heapq.nlargest(MOST_FEATURES, scores)}


def _concept_drifted(one: Standing) -> bool | None:
    return one.health.concept.drifted if one.health.concept is not None else None


def _estimated_accuracy(one: Standing) -> float | None:
    estimate = one.health.estimated_accuracy
    return estimate.accuracy if estimate is not None else None
