"""The Monitor's numbers in a scrape, read back by Prometheus's own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from streamb.metrics.measures import Metrics
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.baselines import BaselineRecord
from streamb.monitoring.collection.aggregator_state import Totals
from streamb.monitoring.drift.concept_alarm import ConceptReport
from streamb.monitoring.drift.report import ColumnDrift, DriftReport, Sensitivity
from streamb.monitoring.exposition import MOST_FEATURES, MonitorFacts, absent_text, monitor_text
from streamb.monitoring.health.health import ModelHealth, Status
from streamb.monitoring.profiles.estimation import Estimate
from streamb.monitoring.watches import Standing


def column(name: str, kind: str, score: float) -> ColumnDrift:
    return ColumnDrift(name, kind, "drifted", score, True, 0.0, 1.0, 1000, 0.0, 0.0, "")


DRIFT = DriftReport(
    "drifted", 0.5, {f"f{index}": column(f"f{index}", "feature", index / 100) for index in range(50)},
    {"prediction": column("prediction", "output", 0.1)}, None, 1000, Sensitivity.MEDIUM, "it drifted",
)  # fmt: skip
CONCEPT = ConceptReport("stable", False, 0.1, 50, "error rate", 0.1, None, None, None, "")
ESTIMATE = Estimate(0.8, 0.7, 0.9, 1000, "")
HEALTH = ModelHealth(Status.DEGRADED, (), Metrics(accuracy=0.9), DRIFT, CONCEPT, ESTIMATE, (), 0.0)
BASELINE = BaselineRecord("iris", "1.0.0", 2, "", "", 1000, (), "", "upload", 0.0)
IRIS = Standing("iris", "1.0.0", HEALTH, BASELINE, 1000, 3.0, Totals(dropped=7))
UNHEARD = Standing(
    "m", "2.0.0", ModelHealth(Status.UNKNOWN, (), Metrics(), DRIFT, None, None, (), 0.0), None, None, None, Totals()
)
FACTS = MonitorFacts([IRIS, UNHEARD], {Severity.HIGH: 2}, {("slack", "delivered"): 5}, 3, 0.01)


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = sorted(sample.labels, key=lambda name: (name != "model", name != "version"))
            found[(sample.name, *(sample.labels[name] for name in labels))] = sample.value
    return found


def test_everything_known_is_there_and_nothing_else():
    found = samples(monitor_text(FACTS))
    assert found["streamb_monitor_up",] == 1
    assert found["streamb_drift_score", "iris", "1.0.0", "overall"] == 0.5
    assert found["streamb_drift_score", "iris", "1.0.0", "output"] == 0.1
    assert found["streamb_drift_detected", "iris", "1.0.0"] == 1
    assert found["streamb_concept_drift_detected", "iris", "1.0.0"] == 0
    assert found["streamb_accuracy", "iris", "1.0.0"] == 0.9
    assert found["streamb_estimated_accuracy", "iris", "1.0.0"] == 0.8
    assert found["streamb_baseline_number", "iris", "1.0.0"] == 2
    assert found["streamb_monitor_window_rows", "iris", "1.0.0"] == 1000
    assert found["streamb_monitor_push_age_seconds", "iris", "1.0.0"] == 3
    assert found["streamb_model_health", "iris", "1.0.0", "degraded"] == 1
    assert found["streamb_model_health", "iris", "1.0.0", "healthy"] == 0
    assert found["streamb_model_health", "m", "2.0.0", "unknown"] == 1
    assert found["streamb_monitor_dropped_total", "iris", "1.0.0"] == 7
    assert found["streamb_alerts_firing", "high"] == 2
    assert found["streamb_alerts_firing", "low"] == 0
    assert found["streamb_notifications_total", "slack", "delivered"] == 5
    assert not [
        key for key in found if key[1:3] == ("m", "2.0.0") and key[0] in {"streamb_accuracy", "streamb_drift_score"}
    ]


def test_only_the_features_that_drifted_most_have_a_series():
    found = {
        key: value for key, value in samples(monitor_text(FACTS)).items() if key[0] == "streamb_feature_drift_score"
    }
    assert len(found) == MOST_FEATURES
    assert min(found.values()) == 0.3


def test_without_a_monitor_the_scrape_says_so():
    assert samples(absent_text()) == {("streamb_monitor_up",): 0}
