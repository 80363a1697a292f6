"""Following and steering a deployment from Python."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from streamb import DeploymentStatus
from streamb.errors import DeadlineExceeded, InvalidInput, NotFound, SelfApproval, StreambError, Unavailable
from streamb.metrics.criteria import Finding, Verdict
from tests.api.steered_deployments import FINDING, Seen, SteeredPlatform

GATED = Seen(state="awaiting_approval", weight=25.0, step=2, waiting_for="approval before 100 %")


@pytest.fixture
def live(tmp_path, monkeypatch):
    from tests.sdk import live

    monkeypatch.setattr(live, "InProcess", SteeredPlatform)
    with live.LivePlatform(tmp_path / "state").running() as platform:
        yield platform


@pytest.fixture
def control(live):
    return live.backend.steering


@pytest.fixture
def deployment(manager):
    return manager.deployment("dep-1")


class TestOrders:
    @pytest.fixture
    def options(self, manager, control):
        def options(strategy, **given):
            manager.deploy_model(model_id="churn", target_version="1.1.0", rollout_strategy=strategy, **given)
            return control.orders[-1]["options"]

        return options

    def test_a_canary_begins_at_ten_percent(self, options):
        assert options("canary") == {"traffic_split_percentage": 10}
        assert options("canary", traffic_split_percentage=1) == {"traffic_split_percentage": 1}
        assert options("canary", steps=[5, 100]) == {"steps": [5, 100]}

    def test_only_what_is_wished_for_is_sent(self, options):
        assert options("immediate") == {}
        assert options("immediate", rollback_on_failure=None, min_samples=None) == {}
        assert options("canary", rollback_on_failure=True, steps=[5]) == {"rollback_on_failure": True, "steps": [5]}
        assert options("blue_green", approval_required=True, hold_seconds=5) == {
            "approval_required": True,
            "hold_seconds": 5,
        }
        assert options("rolling", rollback_on_failure=False, health_check_criteria={"max_error_rate": 0.1}) == {
            "rollback_on_failure": False,
            "health_check_criteria": {"max_error_rate": 0.1},
        }

    @pytest.mark.parametrize("strategy", ["immediate", "rolling"])
    def test_how_the_version_runs_is_sent_with_any_strategy(self, options, strategy):
        run = {"batching": {"max_rows": 8, "join": False}, "resources": {"cpus": 2, "gpus": 0.5}, "timeout_s": 3}
        assert options(strategy, **run) == run

    @pytest.mark.parametrize(
        ("strategy", "given"),
        [
            ("immediate", {"approval_required": True}),
            ("immediate", {"approval_required": False}),
            ("immediate", {"rollback_on_failure": True}),
            ("immediate", {"health_check_criteria": {}}),
            ("rolling", {"traffic_split_percentage": 10}),
            ("blue_green", {"traffic_split_percentage": 10}),
            ("rolling", {"steps": [5, 100]}),
        ],
    )
    def test_what_was_given_is_never_dropped_in_silence_also_where_it_is_the_default(self, options, strategy, given):
        with pytest.raises(InvalidInput, match=f"the strategy {strategy} does not use {next(iter(given))}"):
            options(strategy, **given)
        with pytest.raises(InvalidInput, match="either steps or traffic_split_percentage"):
            options("canary", steps=[5, 100], traffic_split_percentage=10)

    def test_unknown_options_are_named(self, options):
        with pytest.raises(InvalidInput, match=r"options\.min_sample: "):
            options("canary", min_sample=5)
        with pytest.raises(InvalidInput, match=r"health_check_criteria\.max_errors"):
            options("canary", health_check_criteria={"max_errors": 1})


class TestStatus:
    def test_the_fields_of_the_interface_stay_first(self):
        first = [
            "id",
            "model_id",
            "target_version",
            "previous_version",
            "strategy",
            "state",
            "weight",
            "step",
            "reason",
        ]
        assert [field.name for field in fields(DeploymentStatus)][: len(first)] == first

    def test_it_tells_phase_findings_gate_and_plan(self, deployment, control):
        control.story = [replace(GATED, phase="gate", findings=(FINDING,))]
        status = deployment.status()
        assert (status.phase, status.waiting_for, status.steps) == (
            "gate",
            "approval before 100 %",
            (10.0, 25.0, 100.0),
        )
        assert status.findings == (Finding(**{**vars(FINDING), "verdict": Verdict.FAIL}),)
        assert not status.ended

    def test_an_older_platform_tells_less_and_a_newer_one_more(self):
        body = dict.fromkeys(
            ("id", "model_id", "target_version", "previous_version", "strategy", "reason"), "some text"
        )
        status = DeploymentStatus.from_answer({**body, "state": "completed", "weight": 100.0, "step": 0, "moon": 1})
        assert (status.phase, status.findings, status.waiting_for, status.steps) == ("", (), "", ())
        assert status.ended


class TestWaiting:
    @pytest.mark.parametrize("end", ["completed", "rolled_back", "aborted", "failed"])
    def test_it_goes_on_through_gates_and_pauses(self, deployment, control, end):
        states = ["pending", "progressing", "awaiting_approval", "paused", "progressing", end]
        control.story = [Seen(state=state) for state in states]
        told = []
        assert deployment.wait(timeout=30, on_change=told.append).state == end
        assert [status.state for status in told] == states

    def test_only_changes_are_told(self, deployment, control):
        walk = [(0, 0.0), (0, 10.0), (0, 10.0), (1, 25.0), (1, 25.0)]
        control.story = [Seen(state="progressing", step=step, weight=weight) for step, weight in walk]
        control.story += [GATED, replace(GATED, reason="5 s more"), Seen(state="completed")]
        told = []
        deployment.wait(timeout=30, on_change=told.append)
        assert [(status.step, status.weight) for status in told[:3]] == [(0, 0.0), (0, 10.0), (1, 25.0)]
        assert [status.state for status in told[3:]] == ["awaiting_approval", "completed"]

    @pytest.mark.parametrize("trouble", [Unavailable("restarting"), DeadlineExceeded("the Controller is slow")])
    def test_a_controller_that_restarts_is_waited_for(self, deployment, control, trouble):
        control.story = [Seen(), *[trouble] * 5, Seen(state="completed")]
        assert deployment.wait(timeout=60).state == "completed"

    def test_too_late_says_what_it_waits_for(self, deployment, control):
        control.story = [GATED]
        with pytest.raises(DeadlineExceeded, match=r"awaiting_approval, waiting for approval before 100 %") as late:
            deployment.wait(timeout=0.3)
        assert late.value.details["state"] == "awaiting_approval"
        control.story = [DeadlineExceeded("the Controller is slow")]
        with pytest.raises(DeadlineExceeded, match="the platform does not answer"):
            deployment.wait(timeout=0.3)

    def test_what_is_not_there_is_not_waited_for(self, manager):
        with pytest.raises(NotFound):
            manager.deployment("dep-2").wait(timeout=30)


class TestSteering:
    def test_every_verb_says_who_and_why(self, deployment, control):
        for verb in ("approve", "pause", "resume", "promote", "abort"):
            assert getattr(deployment, verb)(by="ada", reason="so").reason == f"{verb} by operator: so (said: ada)"
        assert control.steered[-1] == (
            "abort",
            {"deployment_id": "dep-1", "by": "operator", "reason": "so (said: ada)"},
        )

    def test_by_default_it_is_the_owner_of_the_key(self, deployment, control):
        deployment.pause()
        deployment.rollback()
        assert [arguments["by"] for _, arguments in control.steered] == ["operator", "operator"]
        assert control.steered[-1][1]["to_version"] is None
        deployment.rollback("0.9.0", reason="as before", by="eve")
        assert control.steered[-1][1] == {
            "deployment_id": "dep-1", "by": "operator", "reason": "as before (said: eve)", "to_version": "0.9.0",
        }  # fmt: skip

    def test_the_author_may_not_approve(self, deployment, control):
        control.story = [Seen(created_by="operator")]
        with pytest.raises(SelfApproval):
            deployment.approve(by="ada")
        control.story = [Seen(created_by="ada")]
        assert deployment.approve(by="ada").id == "dep-1"

    def test_a_platform_that_is_too_old_says_so(self, deployment):
        deployment.id = "a/b"
        with pytest.raises(StreambError, match="upgrade its streamb"):
            deployment.pause()
