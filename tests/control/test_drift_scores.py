"""What monitoring says of a version reaches the judgement of its deployment, and stops counting when it is old."""

from __future__ import annotations

from streamb.clock import ManualClock
from streamb.control.drift_scores import FRESH_S, DriftScores
from streamb.control.observations import NodeReport, Observations
from streamb.metrics import VersionRecorder
from streamb.metrics.criteria import Verdict
from streamb.rollouts.deployment import Deployment, DeploymentState, Phase
from streamb.rollouts.observation import Observation, Stable
from streamb.rollouts.options import HealthCriteria, RolloutOptions
from streamb.rollouts.strategies import Strategy, plan


def said(score: float, version: str = "2.0.0", *, proven: bool = True) -> dict[str, object]:
    return {"model_id": "m", "version": version, "score": score, "proven": proven, "rows": 5000}


def test_the_newest_report_replaces_the_one_before():
    clock = ManualClock()
    scores = DriftScores(clock)
    assert scores.of("m", "2.0.0") is None
    scores.take([said(0.1), said(0.7, "1.0.0")])
    assert (scores.of("m", "2.0.0"), scores.of("m", "1.0.0")) == ((0.1, True), (0.7, True))
    assert scores.of("other", "2.0.0") is None
    scores.take([said(0.2, proven=False)])
    assert (scores.of("m", "2.0.0"), scores.of("m", "1.0.0")) == ((0.2, False), None)


def test_an_old_report_says_nothing():
    clock = ManualClock()
    scores = DriftScores(clock)
    scores.take([said(0.1)])
    clock.advance(FRESH_S)
    assert scores.of("m", "2.0.0") == (0.1, True)
    clock.advance(0.1)
    assert scores.of("m", "2.0.0") is None


def canary() -> Deployment:
    return Deployment(
        id="dep-1", model_id="m", target_version="2.0.0", app="m--2.0.0--x", strategy=Strategy.CANARY,
        state=DeploymentState.PROGRESSING, created_by="me", created_at=0, updated_at=0, step_started_at=0,
        phase=Phase.OBSERVE, share=1000, observed_since=1000.0,
        steps=plan(Strategy.CANARY, RolloutOptions(min_samples=10)),
        criteria=HealthCriteria(max_drift_score=0.3, compare_with_stable=False),
    )  # fmt: skip


def test_a_canary_is_judged_by_the_drift_that_the_controller_was_told():
    """The parts that the Controller connects: a gateway's report, the Monitor's report, the judgement."""
    clock = ManualClock(1000.0)
    heard = Observations(clock)
    observation = Observation(heard.windows, clock, heard.drift.of)
    recorder = VersionRecorder("m", "2.0.0")

    def verdict(score: float | None, seconds: float, *, proven: bool = True) -> Verdict:
        for _ in range(50):
            recorder.answered(0.001, 1)
        heard.receive(NodeReport("gateway", "g1", "node", 1, snapshots=(recorder.snapshot(),), uptime_s=clock.now()))
        if score is not None:
            heard.drift.take([said(score, proven=proven)])
        clock.advance(seconds)
        found = {one.criterion: one.verdict for one in observation.look(canary(), Stable(), 1.0).findings}
        return found["drift_score"]

    observation.look(canary(), Stable(), 1.0)
    assert verdict(None, 1) is Verdict.INCONCLUSIVE
    assert verdict(0.1, 1) is Verdict.PASS
    assert verdict(0.6, 1) is Verdict.FAIL
    assert verdict(0.6, 1, proven=False) is Verdict.INCONCLUSIVE
    assert verdict(None, FRESH_S) is Verdict.INCONCLUSIVE
