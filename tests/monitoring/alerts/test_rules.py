"""What the rules say of real health: activity, severity, hysteresis, likely cause, runbook."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from streamb.metrics import Snapshot
from streamb.metrics.histogram import LatencyHistogram
from streamb.monitoring.alerts.alert import Alert
from streamb.monitoring.alerts.catalog import CATALOG
from streamb.monitoring.alerts.causes import Facts, Happening
from streamb.monitoring.alerts.outbox import Past, Queued
from streamb.monitoring.alerts.rules import alerts_of, delivery_alerts
from streamb.monitoring.drift.concept import ErrorDetector
from streamb.monitoring.drift.drift import compare
from streamb.monitoring.health.health import HealthJudge, ModelHealth, Thresholds, metrics_of
from streamb.monitoring.profiles.baseline import Baseline
from tests.documented import ROOT, commands
from tests.monitoring.alerts.test_outbox import notification
from tests.test_docs import streamb_lines

NOW = 1_700_000_000.0  # 22:13:20 UTC
LIMITS = Thresholds(max_latency_ms=200, min_accuracy=0.8, max_error_rate=0.05, min_throughput=1.0, max_drift_score=0.3)


def health(
    *,
    ok: int = 1_000,
    failed: int = 0,
    latency_ms: float = 100,
    labels: int = 0,
    correct: int = 0,
    stale: bool = False,
    drift=None,
    concept=None,
    waiting: int = 0,
) -> ModelHealth:
    counted = Snapshot(
        "iris", "1.0.0",
        counts={"ok": ok, "model_error": failed}, queued=waiting,
        latency=LatencyHistogram.of([latency_ms / 1e3] * (ok + failed)),
        feedback={"labels": labels, "correct": correct} if labels else {},
    )  # fmt: skip
    return HealthJudge(LIMITS).judge(metrics_of(counted, 300), drift, concept, stale=stale, now=NOW)


def said(of: ModelHealth, **facts) -> dict[str, Alert]:
    return {one.name: one for one in alerts_of(Facts("iris", "1.0.0", of, **facts))}


class TestThresholds:
    def test_a_well_model_raises_nothing_and_clears_everything(self):
        found = said(health(labels=100, correct=99))
        assert found.keys() == {"HighErrorRate", "HighLatency", "LowAccuracy", "LowThroughput", "MonitoringStale"}
        assert all(one.clears and not one.active for one in found.values())

    @pytest.mark.parametrize(
        ("failed", "state", "severity"),
        [
            (35, "clear", None), (48, "band", None), (80, "active", "medium"), (150, "active", "high"),
            (400, "active", "critical"), (1_000, "active", "critical"),
        ],
    )  # fmt: skip
    def test_errors_by_how_far_beyond(self, failed, state, severity):
        one = said(health(ok=1_000 - failed, failed=failed))["HighErrorRate"]
        assert (one.active, one.clears) == (state == "active", state == "clear")
        assert severity is None or one.severity == severity

    def test_what_is_not_proven_is_low_and_a_handful_is_nothing(self):
        assert said(health(ok=47, failed=3))["HighErrorRate"].severity == "low"
        assert said(health(ok=47, failed=3))["HighErrorRate"].active
        few = said(health(ok=4, failed=1))["HighErrorRate"]
        assert not few.active
        assert not few.clears

    def test_latency(self):
        assert said(health(latency_ms=250))["HighLatency"].severity == "medium"
        assert said(health(latency_ms=900))["HighLatency"].severity == "critical"
        assert not said(health(latency_ms=180))["HighLatency"].clears

    def test_accuracy_counts_wrong_labels(self):
        assert said(health(labels=1_000, correct=650))["LowAccuracy"].severity == "high"
        assert said(health(labels=1_000, correct=500))["LowAccuracy"].severity == "critical"

    def test_throughput_is_worse_while_requests_wait(self):
        assert said(health(ok=100))["LowThroughput"].severity == "low"
        assert said(health(ok=100, waiting=5))["LowThroughput"].severity == "high"

    def test_nothing_to_judge_by_is_calm_when_nobody_asks(self):
        assert said(health(ok=0))["HighErrorRate"].clears

    def test_silence_is_its_own_alert_and_freezes_the_others(self):
        found = said(health(ok=0, failed=1_000, stale=True), silent_s=700)
        assert found["MonitoringStale"].active
        assert found["MonitoringStale"].severity == "high"
        assert not any(one.active or one.clears for one in found.values() if one.name != "MonitoringStale")


@pytest.fixture(scope="module")
def reports():
    """Drift reports: nothing, far in one feature, a little, in the predictions."""
    rng = np.random.default_rng(0)
    base = {name: rng.normal(100, 20, 5_000) for name in ("temperature", "emissions")}
    baseline = Baseline.learn(base, predictions=rng.normal(0.5, 0.1, 5_000))

    def report(shift: float, predictions: float = 0.0):
        rows = {"temperature": rng.normal(100, 20, 4_000), "emissions": rng.normal(100 + 20 * shift, 20, 4_000)}
        return compare(baseline, baseline.fold(rows, rng.normal(0.5 + 0.1 * predictions, 0.1, 4_000)))

    return {"calm": report(0), "far": report(2), "little": report(0.35), "outputs": report(0, 2)}


class TestDrift:
    def test_severity_and_columns(self, reports):
        calm, far = said(health(drift=reports["calm"])), said(health(drift=reports["far"]))
        assert calm["DataDrift"].clears
        assert far["DataDrift"].active
        assert far["DataDrift"].severity == "high"
        assert not far["PredictionDrift"].active
        assert said(health(drift=reports["little"]))["DataDrift"].severity == "low"
        assert said(health(drift=reports["outputs"]))["PredictionDrift"].active

    def test_the_likely_cause_names_column_time_and_what_was_done_before(self, reports):
        began = NOW - 600
        happenings = [
            Happening(began - 20_000, "version 1.0.0 took 100 % of the traffic"),
            Happening(began - 120, "version 1.2.0 took 50 % of the traffic"),
            Happening(began + 60, "version 1.2.0 was rolled back"),
        ]
        facts = {"happenings": happenings, "since": {"DataDrift": began}}
        cause = said(health(drift=reports["far"]), **facts)["DataDrift"].annotations["likely_cause"]
        assert re.match(r"the drift is in emissions \(score 0\.\d\d: ", cause)
        assert cause.endswith("it began at 22:03 UTC; version 1.2.0 took 50 % of the traffic at 22:01 UTC")

    def test_errors_name_the_failures_and_the_drift(self, reports):
        found = said(health(ok=500, failed=500, drift=reports["far"]), outcomes={"model_error": 480, "timeout": 20})
        cause = found["HighErrorRate"].annotations["likely_cause"]
        assert "480 of 500 failures: the model failed on its input" in cause
        assert "at the same time the drift is in emissions" in cause

    def test_concept_drift(self):
        detector = ErrorDetector(1_000, 5_000)
        detector.update(1_000, 600, at=NOW - 60)
        one = said(health(concept=detector.report()))["ConceptDrift"]
        assert one.active
        assert one.severity == "high"
        assert "their relation to the labels may have changed" in one.annotations["likely_cause"]
        calm = ErrorDetector(1_000, 5_000)
        assert said(health(concept=calm.report()))["ConceptDrift"].clears


class TestDelivery:
    def test_by_how_long_it_waits(self):
        def of(age: float) -> Alert:
            waiting = Queued(notification("n", created_at=NOW - age), 1, 3, NOW + 30, "status 500")
            return delivery_alerts(["log"], [waiting], {}, NOW)[0]

        assert not of(60).active
        assert [str(of(age).severity) for age in (130, 1_000, 4_000)] == ["medium", "high", "critical"]
        assert of(130).annotations["likely_cause"] == "status 500"
        assert of(130).labels["channel"] == "log"

    def test_one_that_was_given_up(self):
        lost = Past(notification("n"), "failed", NOW - 60, 1, "status 400")
        assert delivery_alerts(["log"], [], {"log": lost}, NOW)[0].active
        assert delivery_alerts(["log"], [], {"slack": lost}, NOW)[0].clears
        assert delivery_alerts(["log"], [], {"log": lost}, NOW + 3_600)[0].clears, "that is long ago"
        well = Past(notification("m"), "delivered", NOW - 30, 1)
        assert delivery_alerts(["log"], [], {"log": well}, NOW)[0].clears


class TestRunbooks:
    @pytest.mark.parametrize("name", CATALOG)
    def test_every_alert_has_one_that_says_what_to_do(self, name):
        text = (ROOT / CATALOG[name].runbook).read_text()
        assert text.startswith(f"# {name}\n")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["What it means", "Look here", "Do this"]

    def test_commands_and_links_exist(self):
        known = commands()
        for path in sorted((ROOT / "docs/runbooks").glob("*.md")):
            for words in streamb_lines(path):
                command = max((c for c in known if tuple(words[: len(c)]) == c), key=len, default=None)
                assert command is not None, words
                assert {word for word in words[len(command) :] if word.startswith("--")} <= known[command], words
            for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
                assert (path.parent / target).exists(), f"{path.name}: {target}"

    def test_there_is_none_without_an_alert(self):
        files = {path.stem for path in (ROOT / "docs/runbooks").glob("*.md")} - {"README"}
        assert files == set(CATALOG)

    def test_alerts_name_theirs(self):
        for one in said(health()).values():
            assert Path(one.annotations["runbook"]) == Path(CATALOG[one.name].runbook)
