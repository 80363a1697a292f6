"""A value and its limit get the same verdict from health and from a deployment's step; alerts agree."""

from __future__ import annotations

import numpy as np
import pytest

from streamb.metrics import LatencyHistogram, Snapshot
from streamb.metrics.criteria import Finding, Verdict
from streamb.metrics.measures import metrics_of
from streamb.monitoring.alerts.causes import Facts
from streamb.monitoring.alerts.rules import alerts_of
from streamb.monitoring.answers import score_answer
from streamb.monitoring.collection.aggregator_state import Totals
from streamb.monitoring.drift.drift import compare
from streamb.monitoring.drift.report import DriftReport
from streamb.monitoring.health.health import HealthJudge, ModelHealth, Thresholds
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.watches import Standing
from streamb.rollouts.analysis import judge
from streamb.rollouts.evidence import StepEvidence
from streamb.rollouts.options import HealthCriteria

P, F, I = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE  # noqa: E741
SECONDS = 10.0
NONE = Snapshot("m", "2")
BASELINE = Baseline.learn({"x": np.random.default_rng(1).normal(size=2_000)})


def health_of(counted: Snapshot, limits: dict[str, float], drift: DriftReport | None = None) -> ModelHealth:
    judge = HealthJudge(Thresholds.read(limits))
    return judge.judge(metrics_of(counted, SECONDS), drift, None, stale=False, now=1_000.0)


def by_both(counted: Snapshot, limits: dict[str, float], drift: DriftReport | None = None) -> list[Finding]:
    """What health and a step find of the one limit that is set."""
    health = health_of(counted, limits, drift)
    standing = Standing("m", "2", health, None, None, 0.0, Totals())
    told = score_answer(standing) or {"score": None, "proven": False}
    evidence = StepEvidence(counted, None, NONE, SECONDS, drift_score=told["score"], drift_proven=told["proven"])
    _, step = judge(HealthCriteria.read(limits), evidence, 1)
    return [health.findings[0], step]


def counted(ok: int = 1_000, errors: int = 0, ms: float = 100.0, **more) -> Snapshot:
    latency = LatencyHistogram.of([ms / 1e3] * (ok + errors))
    return Snapshot("m", "2", counts={"ok": ok, "model_error": errors}, latency=latency, **more)


P95_MS = counted().latency.quantile(0.95) * 1e3


@pytest.mark.parametrize(
    ("limits", "seen", "verdict"),
    [
        ({"max_error_rate": 0.05}, counted(950, 50), P),
        ({"max_error_rate": 0.05}, counted(9, 1), I),
        ({"max_error_rate": 0.05}, counted(800, 200), F),
        ({"max_latency_ms": P95_MS}, counted(), P),
        ({"max_latency_ms": 50}, counted(), F),
        ({"min_accuracy": 0.8}, counted(feedback={"labels": 100, "correct": 80}), P),
        ({"min_accuracy": 0.8}, counted(feedback={"labels": 100, "correct": 20}), F),
        ({"min_accuracy": 0.8}, counted(), I),
        ({"min_accuracy": 0.8}, counted(feedback={"labels": 100, "error_micro": 5_000_000}), I),  # a regression
        ({"min_throughput": 100}, counted(1_000), P),
        ({"min_throughput": 200}, counted(1_000), I),
        ({"min_throughput": 200}, counted(1_000, queued=3), F),
    ],
)
def test_health_and_a_step_agree(limits, seen, verdict):
    mine, theirs = by_both(seen, limits)
    assert (mine.verdict, theirs.verdict) == (verdict, verdict), (mine.detail, theirs.detail)
    assert (mine.criterion, mine.value, mine.limit) == (theirs.criterion, theirs.value, theirs.limit)
    assert mine.detail == theirs.detail


class TestDrift:
    def report(self, shift: float, threshold: float) -> DriftReport:
        window = {"x": np.random.default_rng(2).normal(loc=shift, size=2_000)}
        return compare(BASELINE, BASELINE.fold(window), threshold=threshold)

    def test_a_score_exactly_at_its_limit_is_within_it(self):
        limit = self.report(0.5, 0.3).overall_drift_score
        assert limit > 0.3
        at_it = self.report(0.5, limit)
        assert (at_it.overall_drift_score, at_it.drifted) == (limit, False)
        assert {one.verdict for one in by_both(counted(), {"max_drift_score": limit}, at_it)} == {P}
        health = health_of(counted(), {"max_drift_score": limit}, at_it)
        assert str(health.status) == "healthy"
        assert not any(one.active for one in alerts_of(Facts("m", "2", health)))

    def test_just_above_it_is_beyond(self):
        limit = np.nextafter(self.report(0.5, 0.3).overall_drift_score, 0.0)
        above = self.report(0.5, limit)
        assert above.drifted
        assert {one.verdict for one in by_both(counted(), {"max_drift_score": limit}, above)} == {F}
        health = health_of(counted(), {"max_drift_score": limit}, above)
        assert str(health.status) == "degraded"
        assert [one.name for one in alerts_of(Facts("m", "2", health)) if one.active] == ["DataDrift"]

    def test_too_few_rows_say_nothing(self):
        few = compare(BASELINE, BASELINE.fold({"x": np.zeros(10)}))
        assert {one.verdict for one in by_both(counted(), {"max_drift_score": 0.3}, few)} == {I}
