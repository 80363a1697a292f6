"""The Monitor's numbers in a scrape, read back by Prometheus's own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from streamb.monitoring.exposition import MOST_FEATURES, MonitorFacts, VersionFacts, absent_text, monitor_text

IRIS = VersionFacts(
    "iris", "1.0.0", "degraded", scores={"overall": 0.5, "output": 0.1},
    features={f"f{index}": index / 100 for index in range(50)}, drifted=True, concept_drifted=False, accuracy=0.9,
    estimated_accuracy=0.8, baseline_number=2, window_rows=1000, push_age_s=3.0, dropped=7,
)  # fmt: skip
FACTS = MonitorFacts([IRIS, VersionFacts("m", "2.0.0", "unknown")], {"high": 2}, {("slack", "delivered"): 5}, 3, 0.01)


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
