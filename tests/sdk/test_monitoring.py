"""`EnhancedModelMonitoring` without a platform: a notebook, a batch job, a service with threads of its own."""

from __future__ import annotations

import inspect
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from streamb import EnhancedModelMonitoring
from streamb.clock import ManualClock
from streamb.errors import ConfigError, InvalidFeatures, InvalidInput
from streamb.monitoring.profiles.baseline import Baseline

LIMITS = {"max_latency_ms": 200, "min_accuracy": 0.8, "max_error_rate": 0.05, "max_drift_score": 0.3}
NAMES = ["temperature", "emissions"]


def frame(rows: int = 3000, *, shift: float = 0.0, seed: int = 0) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    return pd.DataFrame(chance.normal([25, 100 + 20 * shift], [5, 20], (rows, 2)), columns=NAMES)


def monitor(clock: ManualClock | None = None, **changes: Any) -> EnhancedModelMonitoring:
    options: dict[str, Any] = {
        "model_name": "air",
        "performance_thresholds": LIMITS,
        "clock": clock or ManualClock(1e6),
    }
    return EnhancedModelMonitoring(**{**options, **changes})


def record(watched: EnhancedModelMonitoring, data: pd.DataFrame, prefix: str = "r", **more: Any) -> None:
    for index, row in enumerate(data.to_dict("records")):
        watched.record_prediction(f"{prefix}{index}", more.get("prediction", 0.5), row, more.get("latency_ms", 150.0))


@pytest.fixture
def watched() -> EnhancedModelMonitoring:
    found = monitor()
    found.set_baseline(frame(), predictions=np.random.default_rng(3).normal(0.5, 0.1, 3000))
    return found


def test_the_interface_is_the_one_that_was_promised():
    assert EnhancedModelMonitoring.__module__ == "streamb.sdk.monitoring"
    given = inspect.signature(EnhancedModelMonitoring).parameters
    assert list(given)[:7] == [
        "model_name", "monitoring_interval_s", "drift_detection_enabled", "drift_sensitivity", "performance_thresholds",
        "alerting_enabled", "alert_channels",
    ]  # fmt: skip
    assert {one.kind for one in given.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert (given["monitoring_interval_s"].default, given["drift_sensitivity"].default) == (30, "medium")
    told = list(inspect.signature(EnhancedModelMonitoring.record_prediction).parameters)
    assert told[1:7] == ["request_id", "prediction", "features", "latency_ms", "confidence", "user_id"]


class TestHealth:
    def test_before_anything_was_recorded_nothing_is_known(self, watched):
        assert watched.get_model_health().status == "unknown"

    def test_calm_traffic_is_healthy_and_shifted_traffic_is_not(self, watched):
        record(watched, frame(1000, seed=1), prediction=0.5)
        calm = watched.get_model_health()
        assert calm.current_metrics.average_latency_ms == pytest.approx(150)
        assert calm.current_metrics.requests == 1000
        assert calm.drift_status.features["emissions"].status == "stable"
        record(watched, frame(2000, shift=2.0, seed=2), "s")
        drifted = watched.get_model_health()
        assert drifted.status == "degraded"
        scores = {name: one.score for name, one in drifted.drift_status.features.items()}
        assert scores["emissions"] >= 0.3 > scores["temperature"]
        assert "emissions" in drifted.drift_status.summary

    def test_predictions_drift_too(self, watched):
        record(watched, frame(1000, seed=1), prediction=0.95)
        report = watched.get_model_health().drift_status
        assert (report.outputs["prediction"].drifted, report.features["emissions"].drifted) == (True, False)

    def test_slow_and_failed_predictions(self, watched):
        record(watched, frame(300, seed=1), latency_ms=900.0)
        assert watched.get_model_health().status == "unhealthy"
        other = monitor()
        for index in range(100):
            other.record_prediction(f"r{index}", None, {}, 10, failed=index % 2 == 0)
        assert other.get_model_health().current_metrics.error_rate == 0.5
        assert other.get_model_health().status == "unhealthy"

    def test_labels_give_accuracy_and_concept_drift(self):
        found = monitor()
        truth = np.arange(2000) % 2
        found.set_baseline(frame(2000), truth, np.where(np.arange(2000) % 10, truth, 1 - truth))
        for index in range(1000):
            found.record_prediction(f"r{index}", index % 2, {"temperature": 25, "emissions": 100}, 10)
            found.record_label(f"r{index}", index % 2 if index % 3 else 1 - index % 2)
        found.record_label("r0", 1)
        found.record_label("nobody", 1)
        health = found.get_model_health()
        assert health.current_metrics.accuracy == pytest.approx(2 / 3, abs=0.001)
        assert health.concept.drifted
        assert health.status == "unhealthy"
        recorded = found.recorded()
        assert (recorded.predictions, recorded.labels, recorded.duplicates, recorded.orphans) == (1000, 1000, 1, 1)

    def test_confidence_gives_an_estimate_that_says_it_is_one(self):
        found = monitor()
        chance = np.random.default_rng(5)
        confidence = chance.uniform(0.5, 1, 4000)
        right = chance.random(4000) < confidence
        found.set_baseline(frame(4000), np.ones(4000, int), right.astype(int), confidence=confidence)
        for index in range(500):
            found.record_prediction(f"r{index}", 1, {"temperature": 25, "emissions": 100}, 10, 0.6)
        estimate = found.get_model_health().estimated_accuracy
        assert estimate.accuracy == pytest.approx(0.6, abs=0.06)
        assert "estimate" in estimate.note

    def test_without_a_baseline_or_with_drift_off_drift_is_not_judged(self):
        for found in (monitor(), monitor(drift_detection_enabled=False)):
            record(found, frame(300))
            assert found.get_model_health().drift_status is None

    def test_old_rows_leave_the_window(self):
        clock = ManualClock(1e6)
        found = monitor(clock, window_minutes=10)
        found.set_baseline(frame())
        record(found, frame(1000, shift=2.0))
        assert found.get_model_health().drift_status.drifted
        clock.advance(700)
        record(found, frame(500, seed=8), "later")
        assert found.get_model_health().drift_status.rows == 500
        assert not found.get_model_health().drift_status.drifted

    @pytest.mark.parametrize(
        "row_of",
        [
            lambda data, at: data.iloc[at],
            lambda data, at: data.iloc[[at]],
            lambda data, at: data.to_numpy()[at],
            lambda data, at: data.to_numpy()[at : at + 1],
            lambda data, at: data.to_numpy()[at].tolist(),
            lambda data, at: [tuple(data.to_numpy()[at])],
            lambda data, at: dict(data.iloc[at]),
        ],
    )
    def test_a_row_may_come_in_any_form(self, watched, row_of):
        data = frame(300, seed=1)
        for at in range(300):
            watched.record_prediction(f"r{at}", np.array([0.5]), row_of(data, at), 10)
        assert watched.recorded().misfits == 0
        assert watched.get_model_health().drift_status.features["emissions"].status == "stable"

    def test_what_was_recorded_may_be_changed_afterwards(self, watched):
        row, named = np.zeros(2), {}
        for index, (temperature, emissions) in enumerate(frame(300, seed=1).to_numpy()):
            row[:] = temperature, emissions
            watched.record_prediction(f"r{index}", 0.5, row, 10)
            named.update(temperature=temperature, emissions=emissions)
            watched.record_prediction(f"s{index}", 0.5, named, 10)
        row[:] = 1e6
        named.clear()
        found = watched.get_model_health().drift_status
        assert found.rows == 600
        assert not found.features["emissions"].drifted

    def test_health_reads_as_a_sentence(self, watched):
        record(watched, frame(300, seed=1), latency_ms=900.0)
        assert str(watched.get_model_health()).startswith("unhealthy: p95 latency 90")

    def test_rows_that_do_not_fit_are_counted_and_spoil_no_others(self, watched):
        for index in range(300):
            features = {"pressure": 1.0} if index % 3 == 0 else {"temperature": 25.0, "emissions": 100.0}
            watched.record_prediction(f"r{index}", 0.5, features, 10)
        recorded = watched.recorded()
        assert (recorded.predictions, recorded.misfits) == (300, 100)
        assert "pressure" in recorded.misfit
        assert watched.get_model_health().drift_status.rows == 200


class TestBatch:
    def test_a_frame_is_compared_at_once(self, watched):
        report = watched.detect_drift(frame(1000, shift=1.5, seed=4))
        assert report.drifted
        assert report.table().splitlines()[3].startswith("emissions")
        assert not watched.detect_drift(frame(1000, seed=4)).drifted
        assert watched.recorded().predictions == 0

    def test_wrong_columns_and_no_baseline_are_told(self, watched):
        with pytest.raises(InvalidFeatures, match="pressure"):
            watched.detect_drift(frame().rename(columns={"emissions": "pressure"}))
        with pytest.raises(InvalidInput, match="set_baseline first"):
            monitor().detect_drift(frame())

    def test_a_baseline_travels_as_bytes(self, watched):
        other = monitor()
        other.use_baseline(Baseline.from_bytes(watched.set_baseline(frame()).to_bytes()))
        assert other.detect_drift(frame(1000, shift=1.5, seed=4)).drifted

    def test_the_window_becomes_the_baseline(self, watched):
        with pytest.raises(InvalidInput, match="no prediction was recorded"):
            watched.update_baseline()
        record(watched, frame(1000, shift=1.5, seed=4))
        watched.update_baseline()
        assert not watched.detect_drift(frame(1000, shift=1.5, seed=5)).drifted
        assert watched.get_model_health().drift_status.rows == 0

    def test_a_picture_needs_matplotlib(self, watched, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(ConfigError, match=r"pip install 'streamb\[plot\]'"):
            watched.drift_picture(frame(500), tmp_path / "drift.png")

    def test_a_picture(self, watched, tmp_path):
        odd = frame(500).rename(columns={"emissions": "$größe_{x" + "y" * 60})
        watched.set_baseline(odd)
        path = watched.drift_picture(odd + 10, tmp_path / "drift.png")
        assert path.read_bytes().startswith(b"\x89PNG")
        drawn = watched.drift_picture(odd + 10, tmp_path / "drift.svg").read_text()
        assert "drifted: " in drawn
        assert "$größe_{xyyy" in drawn


class TestThreads:
    def test_everything_that_threads_record_is_counted(self):
        found = EnhancedModelMonitoring(model_name="air", monitoring_interval_s=0.05, performance_thresholds=LIMITS)
        found.set_baseline(frame())
        with found:
            found.start_monitoring()  # idempotent
            workers = [threading.Thread(target=record, args=(found, frame(1500, seed=i), f"w{i}-")) for i in range(4)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            assert found.get_model_health().current_metrics.requests == 6000
        found.stop()
        found.close()
        assert found.recorded().predictions == 6000

    def test_recording_waits_for_nobody_who_counts(self, watched):
        with watched._recording._lock:
            recording = threading.Thread(target=record, args=(watched, frame(1000)), daemon=True)
            recording.start()
            recording.join(60)
            assert not recording.is_alive()
        assert watched.recorded().predictions == 1000


class TestAlerts:
    def test_an_incident_fires_is_delivered_and_survives_the_process(self, tmp_path: Path, caplog):
        clock = ManualClock(1e6)
        file = tmp_path / "alerts" / "alerts.db"
        found = monitor(clock, alerting_enabled=True, alert_channels=["log"], alerts_file=file)
        found.set_baseline(frame())
        record(found, frame(1000, shift=2.0))
        found._judge()
        (alert,) = found.alerts()
        assert (alert["labels"]["alertname"], alert["state"]) == ("DataDrift", "firing")
        assert "emissions" in alert["annotations"]["likely_cause"]
        clock.advance(60)
        found._judge()
        found._alerting.courier.deliver_due()
        assert "DataDrift" in caplog.text
        found.close()
        assert found.alerts() == []
        again = monitor(clock, alerting_enabled=True, alert_channels=["log"], alerts_file=file)
        assert [one["starts_at"] for one in again.alerts()] == [alert["starts_at"]]
        again.close()

    def test_without_alerting_there_are_none(self, watched):
        assert watched.alerts() == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"drift_sensitivity": "extreme"}, "low, medium, high"),
        ({"performance_thresholds": {"max_latency": 1}}, "max_latency is unknown"),
        ({"monitoring_interval_s": 0}, "above 0"),
        ({"window_minutes": 0}, "1 to 1440"),
        ({"alerting_enabled": True, "alert_channels": ["pigeon"]}, "pigeon"),
        ({"alerting_enabled": True, "alert_channels": ["log", "log"]}, "two alert channels"),
        ({"alerting_enabled": True, "alert_options": {"severities": {"low": "slack"}}}, "channels: log"),
    ],
)
def test_wrong_options_are_refused(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        monitor(**wrong)
