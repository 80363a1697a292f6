import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from streamb.rollouts import AppPhase, AppStatus, Deployment, DeploymentState, Strategy
from streamb.rollouts.decide import Evidence, Limits, RouteAll, StartApp, decide

LIMITS = Limits(start_s=60, acknowledge_s=10)


def deployment(**changes) -> Deployment:
    base = Deployment(
        id="dep-1", model_id="m", target_version="1.0.0", app="m--1.0.0--x", strategy=Strategy.IMMEDIATE,
        state=DeploymentState.PENDING, created_by="me", created_at=0, updated_at=0, step_started_at=0,
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def evidence(phase: AppPhase | None = None, *, acknowledged: bool = False, reason: str = "") -> Evidence:
    return Evidence(AppStatus(phase, 1, reason) if phase else None, acknowledged)


def test_pending_asks_for_the_app():
    after, actions = decide(deployment(), evidence(), 1, LIMITS)
    assert after.state == "progressing"
    assert actions == (StartApp(),)


def test_no_weight_before_the_version_runs():
    progressing = deployment(state=DeploymentState.PROGRESSING)
    for phase in (AppPhase.STARTING, AppPhase.STOPPING):
        after, actions = decide(progressing, evidence(phase), 1, LIMITS)
        assert (after.weight, actions) == (0, ())


def test_all_weight_once_it_runs_and_completed_once_every_gateway_knows():
    after, actions = decide(deployment(state=DeploymentState.PROGRESSING), evidence(AppPhase.RUNNING), 1, LIMITS)
    assert (after.weight, actions, after.state) == (100, (RouteAll(),), "progressing")
    waiting, _ = decide(after, evidence(AppPhase.RUNNING), 2, LIMITS)
    assert waiting == after
    done, _ = decide(after, evidence(AppPhase.RUNNING, acknowledged=True), 2, LIMITS)
    assert done.state == "completed"


def test_a_version_that_cannot_start_fails_with_its_reason_and_takes_no_weight():
    after, actions = decide(
        deployment(state=DeploymentState.PROGRESSING), evidence(AppPhase.FAILED, reason="no such file"), 1, LIMITS
    )
    assert (after.state, after.weight, actions) == ("failed", 0, ())
    assert "no such file" in after.reason


def test_a_version_that_takes_too_long_fails():
    after, _ = decide(deployment(state=DeploymentState.PROGRESSING), evidence(AppPhase.STARTING), 61, LIMITS)
    assert after.state == "failed"
    assert "60 s" in after.reason


def test_an_app_that_vanished_is_asked_for_again():
    _, actions = decide(deployment(state=DeploymentState.PROGRESSING), evidence(), 1, LIMITS)
    assert actions == (StartApp(),)


phases = st.sampled_from([None, *AppPhase])


@given(st.lists(st.tuples(phases, st.booleans(), st.floats(0, 30)), max_size=40))
def test_any_history_ends_in_a_known_state_and_routes_only_to_what_runs(history):
    current, now = deployment(), 0.0
    for phase, acknowledged, passed in history:
        now += passed
        after, actions = decide(current, evidence(phase, acknowledged=acknowledged), now, LIMITS)
        if RouteAll() in actions:
            assert phase is AppPhase.RUNNING
        if not current.active:
            assert (after, actions) == (current, ())
        if after.state == "completed":
            assert after.weight == 100
        current = after
    # Left alone with nothing but time, it ends.
    for _ in range(4):
        now += 100
        current, _ = decide(current, evidence(AppPhase.STARTING), now, LIMITS)
    assert not current.active
