import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.metrics.criteria import Finding, Verdict
from streamb.rollouts import verbs
from streamb.rollouts.decide import Evidence, Limits, RouteTo, Scale, StartApp, decide
from streamb.rollouts.deployment import Deployment, DeploymentState, Phase
from streamb.rollouts.options import RolloutOptions
from streamb.rollouts.phases import replicas_for
from streamb.rollouts.runtime import AppPhase, AppStatus
from streamb.rollouts.strategies import Strategy, plan

LIMITS = Limits(start_s=60, acknowledge_s=10)
START = StartApp("m--1.0.0--x", "1.0.0")
CANARY = plan(Strategy.CANARY, RolloutOptions(traffic_split_percentage=10, step_seconds=15, step_max_seconds=60))
P, F, I = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE  # noqa: E741


def deployment(**changes) -> Deployment:
    base = Deployment(
        id="dep-1", model_id="m", target_version="1.0.0", app="m--1.0.0--x", strategy=Strategy.IMMEDIATE,
        state=DeploymentState.PENDING, created_by="me", created_at=0, updated_at=0, step_started_at=0,
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def canary(phase: Phase = Phase.OBSERVE, **changes) -> Deployment:
    base = {
        "strategy": Strategy.CANARY, "state": DeploymentState.PROGRESSING, "steps": CANARY, "step": 1, "phase": phase,
        "share": 1000, "observed_since": 1.0, "stable_app": "m--0.9.0--x", "previous_version": "0.9.0",
    }  # fmt: skip
    return deployment(**{**base, **changes})


def evidence(phase: AppPhase | None = None, *, acknowledged: bool = False, reason: str = "", **more) -> Evidence:
    stable = AppStatus(AppPhase.RUNNING, 1)
    return Evidence(AppStatus(phase, 1, reason) if phase else None, acknowledged, **{"stable": stable, **more})


def judged(*verdicts: Verdict, seconds: float = 20.0, acknowledged: bool = True) -> Evidence:
    findings = tuple(Finding(f"c{index}", verdict, f"says {verdict}") for index, verdict in enumerate(verdicts))
    return evidence(AppPhase.RUNNING, acknowledged=acknowledged, findings=findings, observed_s=seconds)


class TestImmediate:
    def test_pending_asks_for_the_app(self):
        after, actions = decide(deployment(), evidence(), 1, LIMITS)
        assert after.state == "progressing"
        assert actions == (START,)

    def test_no_weight_before_the_version_runs(self):
        progressing = deployment(state=DeploymentState.PROGRESSING, phase=Phase.CAPACITY)
        for phase in (AppPhase.STARTING, AppPhase.STOPPING):
            after, actions = decide(progressing, evidence(phase), 1, LIMITS)
            assert (after.weight, actions) == (0, ())

    def test_all_weight_once_it_runs_and_completed_once_every_gateway_knows(self):
        progressing = deployment(state=DeploymentState.PROGRESSING, phase=Phase.CAPACITY)
        after, _ = decide(progressing, evidence(AppPhase.RUNNING), 1, LIMITS)
        assert (after.weight, after.state) == (100, "progressing")
        waiting, _ = decide(after, evidence(AppPhase.RUNNING), 2, LIMITS)
        assert waiting == after
        done, actions = decide(after, evidence(AppPhase.RUNNING, acknowledged=True), 2, LIMITS)
        assert (done.state, actions) == ("completed", (RouteTo("1.0.0", "m--1.0.0--x"),))

    def test_a_silent_gateway_does_not_hold_up_the_rest(self):
        shifting = deployment(state=DeploymentState.PROGRESSING, phase=Phase.SHIFT, share=10_000)
        done, _ = decide(shifting, evidence(AppPhase.RUNNING), 11, LIMITS)
        assert (done.state, "not answered" in done.reason) == ("completed", True)

    def test_a_version_that_cannot_start_fails_with_its_reason_and_takes_no_weight(self):
        progressing = deployment(state=DeploymentState.PROGRESSING, phase=Phase.CAPACITY)
        after, actions = decide(progressing, evidence(AppPhase.FAILED, reason="no such file"), 1, LIMITS)
        assert (after.state, after.weight, actions) == ("failed", 0, ())
        assert "no such file" in after.reason

    def test_a_version_that_takes_too_long_fails(self):
        progressing = deployment(state=DeploymentState.PROGRESSING, phase=Phase.CAPACITY)
        after, _ = decide(progressing, evidence(AppPhase.STARTING), 61, LIMITS)
        assert after.state == "failed"
        assert "60 s" in after.reason

    def test_an_app_that_vanished_is_asked_for_again(self):
        progressing = deployment(state=DeploymentState.PROGRESSING, phase=Phase.CAPACITY)
        assert decide(progressing, evidence(), 1, LIMITS)[1] == (START,)
        assert decide(canary(), evidence(), 1, LIMITS)[1] == (START,)


class TestStep:
    def test_passed_and_watched_long_enough_goes_to_the_next_step(self):
        after, _ = decide(canary(), judged(P, P), 20, LIMITS)
        assert (after.step, after.phase, after.share) == (2, "gate", 1000)

    def test_passed_too_early_waits(self):
        assert decide(canary(), judged(P, seconds=14), 20, LIMITS) == (canary(), ())

    @pytest.mark.parametrize("found", [(), (I,), (P, I)])
    def test_inconclusive_never_promotes_and_asks_in_the_end(self, found):
        assert decide(canary(), judged(*found, seconds=60), 20, LIMITS)[0] == canary()
        after, _ = decide(canary(), judged(*found, seconds=61), 99, LIMITS)
        assert (after.state, after.waiting_for) == ("awaiting_approval", "evidence at 10 %")
        assert "not enough evidence" in after.reason

    @pytest.mark.parametrize("phase", [Phase.SHIFT, Phase.OBSERVE, Phase.GATE, Phase.CAPACITY])
    @pytest.mark.parametrize("state", ["progressing", "awaiting_approval", "paused"])
    def test_failed_loses_its_weight_now_whatever_it_does(self, phase, state):
        after, _ = decide(canary(phase, state=DeploymentState(state)), judged(P, F, seconds=0), 5, LIMITS)
        assert (after.state, after.phase, after.share) == ("progressing", "revert", 0)
        assert "says fail" in after.reason
        waits, _ = decide(after, judged(acknowledged=False), 1e9, LIMITS)
        assert (waits.phase, waits.share) == ("revert", 0), "it is over only when every gateway knows"
        assert waits.reason == f"{after.reason}; a gateway has not taken the table yet"
        assert decide(waits, judged(acknowledged=False), 2e9, LIMITS)[0] == waits
        for one in (after, waits):
            done, _ = decide(one, judged(), 6, LIMITS)
            assert (done.state, done.phase) == ("rolled_back", "done")
            assert done.reason == "version 1.0.0 failed at 10 %: c1: says fail"

    def test_failed_without_rollback_pauses_with_the_reason(self):
        held = canary(rollback_on_failure=False)
        after, _ = decide(held, judged(F), 5, LIMITS)
        assert (after.state, after.share) == ("paused", 1000)
        assert "says fail" in after.reason
        assert decide(after, judged(F), 6, LIMITS) == (after, ())

    def test_failed_without_rollback_at_a_step_that_asks_for_no_proof_goes_on(self):
        last = canary(step=4, share=10_000, rollback_on_failure=False)
        assert decide(last, judged(F), 20, LIMITS)[0].state == "completed"

    def test_an_app_that_fails_under_traffic_is_a_failure(self):
        after, _ = decide(canary(), evidence(AppPhase.FAILED, reason="out of memory"), 5, LIMITS)
        assert after.phase == "revert"
        assert "out of memory" in after.reason
        held, _ = decide(canary(rollback_on_failure=False), evidence(AppPhase.FAILED), 5, LIMITS)
        assert held.state == "paused"

    def test_the_last_step_is_watched_and_then_completes(self):
        last = canary(step=4, share=10_000)
        assert decide(last, judged(I, seconds=14), 20, LIMITS)[0] == last
        done, actions = decide(last, judged(I, seconds=15), 20, LIMITS)
        assert (done.state, actions) == ("completed", (RouteTo("1.0.0", "m--1.0.0--x", 0),))

    def test_nothing_left_to_compare_with_does_not_hold_up_the_last_step(self):
        """Whoever promotes has looked: no samples, no stable traffic and no verdict are needed then, only the time."""
        steps = plan(Strategy.CANARY, RolloutOptions.read({"steps": [50], "step_seconds": 600}))
        promoted = verbs.promote(canary(steps=steps, share=5000), "ada", "survived", 5)
        shifting = dataclasses.replace(promoted, phase=Phase.SHIFT, share=10_000)
        watched, _ = decide(shifting, judged(), 6, LIMITS)
        assert watched.reason == "watching it at 100 % for 600 s at least; every gateway knows"
        for found in ((), (I,)):
            assert decide(watched, judged(*found, seconds=599), 605, LIMITS)[0] == watched
            done, _ = decide(watched, judged(*found, seconds=600), 606, LIMITS)
            assert done.state == "completed"

    @pytest.mark.parametrize("last", [False, True])
    def test_a_version_that_gateways_do_not_call_goes_no_further(self, last):
        held = canary(step=4, share=10_000) if last else canary()
        refused = dataclasses.replace(judged(P), refused=True)
        assert decide(held, refused, 20, LIMITS)[0] == held
        after, _ = decide(held, dataclasses.replace(refused, observed_s=61), 99, LIMITS)
        assert after.state == "awaiting_approval"
        assert "circuit breaker" in after.reason
        assert decide(held, judged(P), 20, LIMITS)[0] != held, "it is called again"


class TestCapacity:
    def stable(self, replicas: int) -> AppStatus:
        return AppStatus(AppPhase.RUNNING, replicas)

    def test_replicas_for_the_share_come_first(self):
        waiting = canary(Phase.CAPACITY, step=2)
        app = AppStatus(AppPhase.RUNNING, 1)
        same, actions = decide(waiting, Evidence(app, acknowledged=True, stable=self.stable(8)), 1, LIMITS)
        assert (same, actions) == (waiting, (Scale("m--1.0.0--x", 2),))
        enough = Evidence(AppStatus(AppPhase.RUNNING, 2), acknowledged=True, stable=self.stable(8))
        after, _ = decide(waiting, enough, 1, LIMITS)
        assert (after.phase, after.share, after.stable_replicas) == ("shift", 2500, 8)

    def test_no_room_is_a_failure(self):
        starved = Evidence(AppStatus(AppPhase.RUNNING, 1), acknowledged=True, stable=self.stable(8))
        after, _ = decide(canary(Phase.CAPACITY, step=2), starved, 61, LIMITS)
        assert (after.phase, after.ending) == ("revert", "rolled_back")
        assert "2 replicas" in after.reason
        held, _ = decide(canary(Phase.CAPACITY, step=2, rollback_on_failure=False), starved, 61, LIMITS)
        assert held.state == "paused"

    def test_only_a_rolling_deployment_takes_from_the_old_version(self):
        seen = Evidence(AppStatus(AppPhase.RUNNING, 2), acknowledged=True, stable=self.stable(4))
        rolling = canary(strategy=Strategy.ROLLING, share=5000, stable_replicas=4)
        assert decide(rolling, seen, 1, LIMITS)[1] == (Scale("m--0.9.0--x", 2),)
        assert decide(canary(share=5000, stable_replicas=4), seen, 1, LIMITS)[1] == ()

    def test_the_way_back_gives_the_old_version_its_replicas_back(self):
        back = canary(Phase.REVERT, share=0, stable_replicas=4, ending=DeploymentState.ABORTED)
        small = Evidence(AppStatus(AppPhase.RUNNING, 2), acknowledged=True, stable=self.stable(2))
        assert decide(back, small, 1, LIMITS) == (back, (Scale("m--0.9.0--x", 4),))
        whole = dataclasses.replace(small, stable=self.stable(4))
        assert decide(back, whole, 1, LIMITS)[0].state == "aborted"
        assert decide(back, small, 61, LIMITS)[0].state == "aborted", "the traffic is back already"

    @given(st.integers(0, 10_000), st.integers(0, 200))
    def test_replicas_cover_the_share(self, share, replicas):
        needed = replicas_for(share, replicas)
        assert needed >= 1
        assert needed * 10_000 >= share * replicas
        assert needed == 1 or (needed - 1) * 10_000 < share * replicas


class TestGate:
    def test_a_gate_waits_and_opens(self):
        steps = plan(Strategy.BLUE_GREEN, RolloutOptions.read({"approval_required": True}))
        shut, _ = decide(canary(Phase.GATE, steps=steps, share=0), judged(), 5, LIMITS)
        assert (shut.state, shut.waiting_for) == ("awaiting_approval", "100 %")
        assert decide(shut, judged(), 6, LIMITS) == (shut, ())
        expired, _ = decide(shut, judged(), 5 + 86_401, LIMITS)
        assert (expired.state, "nobody approved" in expired.reason) == ("aborted", True)

    def test_an_evidence_gate_that_nobody_opens_gives_the_share_back(self):
        shut, _ = decide(canary(), judged(I, seconds=61), 99, LIMITS)
        expired, _ = decide(shut, judged(I, seconds=999), 99 + 86_401, LIMITS)
        assert (expired.phase, expired.share, expired.ending) == ("revert", 0, "aborted")


phases = st.sampled_from([None, *AppPhase])
verdicts = st.lists(st.sampled_from([P, I, F]), max_size=2)
STRATEGIES = [(Strategy.IMMEDIATE, {}), *((s, {"step_max_seconds": 30}) for s in Strategy if s != "immediate")]


@given(
    st.sampled_from(STRATEGIES),
    st.booleans(),
    st.lists(st.tuples(phases, st.booleans(), st.floats(0, 30), verdicts), max_size=60),
)
def test_any_history_ends_in_a_known_state_and_promotes_only_what_passed(chosen, rollback, history):
    strategy, options = chosen
    current = deployment(
        strategy=strategy, steps=plan(strategy, RolloutOptions.read(options)), rollback_on_failure=rollback
    )
    now = 0.0
    for phase, acknowledged, passed, found in history:
        now += passed
        findings = tuple(Finding("c", verdict, "") for verdict in found)
        seen = evidence(phase, acknowledged=acknowledged, findings=findings, observed_s=passed)
        after, actions = decide(current, seen, now, LIMITS)
        if after.share > current.share:
            assert phase is AppPhase.RUNNING
        if not current.active:
            assert (after, actions) == (current, ())
        if after.step > current.step and current.current.analyse:
            assert set(found) == {P}
        if F in found and current.shown and rollback:
            assert after.share == 0
        if after.state == "completed":
            assert after.weight == 100
        assert 0 <= after.share <= 10_000
        current = after
    # Left alone with nothing but time, it ends: what nobody approves or resumes is aborted or waits.
    for _ in range(8):
        now += 100_000
        seen = evidence(AppPhase.STARTING, acknowledged=True, observed_s=100)
        current, _ = decide(current, seen, now, LIMITS)
    assert not current.active or current.state == "paused"
