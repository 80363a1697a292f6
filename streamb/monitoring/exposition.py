"""What the Monitor knows as Prometheus text."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

MOST_FEATURES: Final = 20
"""Features with a series of their own, per version: those that drifted most. All of them would be too many series."""

STATUSES: Final = ("healthy", "degraded", "unhealthy", "unknown")
SEVERITIES: Final = ("low", "medium", "high", "critical")
_LABELS: Final = ("model", "version")


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """One model version in numbers. What is None or absent has no series.

    Attributes:
        status: of its health.
        scores: drift scores by kind: "overall", "output", "multivariate".
        features: drift scores by feature.
        push_age_s: since anybody last pushed rows of it.
        dropped: rows that replicas could not count since they started.
    """

    model_id: str
    version: str
    status: str
    scores: Mapping[str, float] = field(default_factory=dict)
    features: Mapping[str, float] = field(default_factory=dict)
    drifted: bool | None = None
    concept_drifted: bool | None = None
    accuracy: float | None = None
    estimated_accuracy: float | None = None
    baseline_number: int | None = None
    window_rows: int | None = None
    push_age_s: float | None = None
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class MonitorFacts:
    """The Monitor in numbers.

    Attributes:
        firing: alerts that fire, by severity.
        notifications: how many, by channel and outcome.
        sources: processes that push.
        tick_s: how long the last look at everything took.
    """

    versions: Sequence[VersionFacts] = ()
    firing: Mapping[str, int] = field(default_factory=dict)
    notifications: Mapping[tuple[str, str], int] = field(default_factory=dict)
    sources: int = 0
    tick_s: float = 0.0


def monitor_text(facts: MonitorFacts) -> bytes:
    """The exposition of a Monitor that answers."""
    return generate_latest(_MonitorCollector(facts))


def absent_text() -> bytes:
    """The exposition where no Monitor answers: it says so, and nothing else."""
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
            "streamb_monitor_tick_seconds", "How long the last look at everything took.", value=self._facts.tick_s
        )
        yield from self._drift()
        yield self._health()
        yield from self._quality()
        yield from self._intake()
        yield from self._alerts()

    def _drift(self) -> Iterator[Metric]:
        yield self._by("streamb_drift_score", "Drift, 0 to 1.", "kind", lambda one: one.scores)
        yield self._by("streamb_feature_drift_score", "Drift of the features that drifted most.", "feature", _highest)
        yield self._gauge("streamb_drift_detected", "1: the data drifted.", lambda one: one.drifted)
        text = "1: predictions meet labels less often than they did."
        yield self._gauge("streamb_concept_drift_detected", text, lambda one: one.concept_drifted)

    def _health(self) -> Metric:
        family = GaugeMetricFamily("streamb_model_health", "1 for the present status.", labels=(*_LABELS, "status"))
        for one in self._facts.versions:
            for status in STATUSES:
                family.add_metric((one.model_id, one.version, status), float(one.status == status))
        return family

    def _quality(self) -> Iterator[Metric]:
        yield self._gauge("streamb_accuracy", "Share of labels met.", lambda one: one.accuracy)
        text = "Accuracy expected from the predictions' confidence: an estimate, not a measurement."
        yield self._gauge("streamb_estimated_accuracy", text, lambda one: one.estimated_accuracy)
        yield self._gauge("streamb_baseline_number", "Baseline in force.", lambda one: one.baseline_number)

    def _intake(self) -> Iterator[Metric]:
        yield self._gauge("streamb_monitor_window_rows", "Rows that drift is measured on.", lambda one: one.window_rows)
        text = "Seconds since rows of the version were last pushed."
        yield self._gauge("streamb_monitor_push_age_seconds", text, lambda one: one.push_age_s)
        family = CounterMetricFamily("streamb_monitor_dropped", "Rows that were not counted.", labels=_LABELS)
        for one in self._facts.versions:
            family.add_metric((one.model_id, one.version), one.dropped)
        yield family

    def _alerts(self) -> Iterator[Metric]:
        firing = GaugeMetricFamily("streamb_alerts_firing", "Alerts that fire.", labels=("severity",))
        for severity in SEVERITIES:
            firing.add_metric((severity,), self._facts.firing.get(severity, 0))
        yield firing
        sent = CounterMetricFamily(
            "streamb_notifications", "Notifications by what became of them.", labels=("channel", "outcome")
        )
        for (channel, outcome), count in sorted(self._facts.notifications.items()):
            sent.add_metric((channel, outcome), count)
        yield sent

    def _by(self, name: str, text: str, label: str, of: Callable[[VersionFacts], Mapping[str, float]]) -> Metric:
        family = GaugeMetricFamily(name, text, labels=(*_LABELS, label))
        for one in self._facts.versions:
            for key, value in sorted(of(one).items()):
                family.add_metric((one.model_id, one.version, key), value)
        return family

    def _gauge(self, name: str, text: str, of: Callable[[VersionFacts], float | None]) -> Metric:
        family = GaugeMetricFamily(name, text, labels=_LABELS)
        for one in self._facts.versions:
            value = of(one)
            if value is not None:
                family.add_metric((one.model_id, one.version), float(value))
        return family


def _up(value: int) -> Metric:
    return GaugeMetricFamily("streamb_monitor_up", "1: the Monitor answered this scrape.", value=value)


def _highest(one: VersionFacts) -> Mapping[str, float]:
    return dict(heapq.nlargest(MOST_FEATURES, one.features.items(), key=lambda item: (item[1], item[0])))
