"""`streamb deploy` with a strategy, and the verbs of `streamb deployments`."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from streamb.clock import SystemClock
from tests.api.steered_deployments import APPROVAL, FINDING, Seen, SteeredPlatform

GATED = Seen(
    state="awaiting_approval", weight=25.0, step=2, reason="step 3 needs approval", waiting_for="approval before 100 %"
)
DONE = Seen(state="completed", weight=100.0, step=2, reason="1.1.0 answers all traffic")


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
def deploy(cli, control):
    def deploy(*options, strategy="canary", code=0):
        here = ("--state-dir", str(cli.state_dir))
        return cli.run("deploy", "churn", "1.1.0", "--strategy", strategy, *options, *here, code=code)

    return deploy


def test_every_flag_becomes_its_option(deploy, control):
    control.story = [DONE]
    deploy(
        *("--steps", "5, 50%,100", "--step-seconds", "30", "--min-samples", "500"),
        *("--max-error-rate", "0.02", "--max-latency-ms", "200", "--min-accuracy", "0.9"),
        *("--criterion", "latency_percentile=99", "--criterion", "compare_with_stable=false"),
        *("--approval", "--approval-before", "start", "--approval-before", "50", "--no-fallback", "--no-rollback"),
        *("--shadow-percent", "5", "--hold-seconds", "60"),
        *("--option", "step_max_seconds=900", "--option", 'overrides={"users": ["ada"]}'),
    )
    (order,) = control.orders
    assert (order["strategy"], order["actor"]) == ("canary", "operator")
    assert order["options"] == {
        "steps": [5.0, 50.0, 100.0],
        "step_seconds": 30.0,
        "min_samples": 500,
        "health_check_criteria": {
            "max_error_rate": 0.02,
            "max_latency_ms": 200.0,
            "min_accuracy": 0.9,
            "latency_percentile": 99,
            "compare_with_stable": False,
        },
        "approval_required": True,
        "approval_before": ["start", 50.0],
        "fallback_to_stable": False,
        "rollback_on_failure": False,
        "shadow_percent": 5.0,
        "hold_seconds": 60.0,
        "step_max_seconds": 900,
        "overrides": {"users": ["ada"]},
    }


def test_without_flags_the_platform_decides(cli, deploy, control):
    control.story = [DONE]
    deploy()
    deploy("--percent", "1")
    cli("deploy", "churn", "1.1.0")
    assert [(order["strategy"], order["options"]) for order in control.orders] == [
        ("canary", {}),
        ("canary", {"traffic_split_percentage": 1.0}),
        ("immediate", {}),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--steps", "5,many"), "--steps takes percents"),
        (("--approval-before", "noon"), "--approval-before takes start"),
        (("--option", "min_samples"), "--option takes NAME=VALUE"),
        (("--min-samples", "5", "--option", "min_samples=6"), "min_samples is given by its own option and by --option"),
    ],
)
def test_wrong_usage_is_exit_code_2(deploy, control, options, message):
    assert message in deploy(*options, code=2).stderr
    assert control.orders == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--steps", "50,5"), "percents must rise"),
        (("--option", "min_sample=5"), "body.options.min_sample"),
        (("--criterion", "max_error_rate=much"), "body.options.health_check_criteria.max_error_rate"),
    ],
)
def test_what_is_refused_is_one_line(deploy, control, options, message):
    done = deploy(*options, code=1)
    assert message in done.stderr
    assert done.stderr.endswith("[invalid_input]\n")
    assert len(done.stderr.splitlines()) == 1
    assert control.orders == []


@pytest.mark.parametrize("options", [("--percent", "0"), ("--percent", "101"), ("--min-samples", "x")])
def test_wrong_usage(deploy, options):
    deploy(*options, code=2)


@pytest.mark.parametrize(
    ("strategy", "flags", "named"),
    [
        ("immediate", ("--approval",), "immediate does not use approval_required"),
        ("immediate", ("--option", "rollback_on_failure=true"), "immediate does not use rollback_on_failure"),
        ("rolling", ("--percent", "10"), "rolling does not use traffic_split_percentage"),
        ("blue_green", ("--steps", "5,100"), "blue_green does not use steps"),
        ("canary", ("--percent", "5", "--steps", "5,100"), "either steps or traffic_split_percentage"),
    ],
)
def test_what_the_strategy_would_not_use_is_refused(deploy, control, strategy, flags, named):
    assert named in deploy(*flags, strategy=strategy, code=1).stderr
    assert control.orders == []


def test_waiting_prints_one_line_per_change(deploy, control):
    here = Seen(state="progressing", weight=10.0, step=0, reason="observing")
    control.story = [
        Seen(),
        here,
        replace(here, reason="observing, 5 s left"),
        replace(here, weight=25.0, step=1),
        DONE,
    ]
    done = deploy()
    assert [line.split(" s  ")[-1] for line in done.stderr.splitlines()[1:]] == [
        "pending, step 1 of 3, 0 % of the traffic: waiting for the controller",
        "progressing, step 1 of 3, 10 % of the traffic: observing",
        "progressing, step 2 of 3, 25 % of the traffic: observing",
        "completed, step 3 of 3, 100 % of the traffic: 1.1.0 answers all traffic",
    ]
    assert done.stdout == "dep-1: churn 1.1.0 completed: 1.1.0 answers all traffic\n"


def test_a_gate_says_how_to_approve(deploy, control):
    control.story = [GATED, GATED, GATED, DONE]
    lines = deploy().stderr
    assert "awaiting_approval, step 3 of 3, 25 % of the traffic: step 3 needs approval (approval before 100 %)" in lines
    assert lines.count("streamb deployments approve dep-1 --by WHO") == 1


@pytest.mark.parametrize("end", ["rolled_back", "aborted", "failed"])
def test_any_other_end_is_exit_code_1(deploy, control, end):
    control.story = [Seen(state=end, reason="error_rate: 5 % of 812 requests failed")]
    assert "5 % of 812 requests failed" in deploy(code=1).stdout


def test_too_late_is_exit_code_1_and_not_waiting_is_0(deploy, control):
    control.story = [GATED]
    late = deploy("--timeout", "1", code=1)
    assert "has not ended after 1 s; it is awaiting_approval" in late.stderr
    assert "awaiting_approval" in deploy("--no-wait").stdout


def test_json_is_all_of_stdout(cli, control):
    control.story = [GATED, DONE]
    assert cli.json("deploy", "churn", "1.1.0")["state"] == "completed"


def test_showing_one(cli, control):
    control.story = [replace(GATED, findings=(FINDING,), approvals=(APPROVAL,), options=OPTIONS)]
    shown = cli("deployments", "show", "dep-1")
    assert "10 % → 25 % → 100 % after approval" in shown
    assert "error_rate: fail, 5 % of 812 requests failed" in shown
    assert "before 100 %: ada, 1970-01-01" in shown
    assert "steps=10 25 100, health_check_criteria=max_error_rate=0.02" in shown
    assert cli.json("deployments", "show", "dep-1")["findings"] == [vars(FINDING)]


def test_showing_one_that_is_watched_after_completion_says_for_how_long(cli, control):
    control.story = [replace(DONE, phase="bake", watched_until=SystemClock().now() + 42)]
    assert re.search(r"completed, watched for 4[012] s more", cli("deployments", "show", "dep-1"))


def test_showing_one_that_waits_says_what_is_unknown_who_decides_and_when_it_ends(cli, control):
    few = SimpleNamespace(**{**vars(FINDING), "verdict": "inconclusive", "detail": "only 7 of the 200 requests needed"})
    other = SimpleNamespace(**{**vars(FINDING), "criterion": "output_disagreement", "asks": True})
    ends = SystemClock().now() + 36_000
    control.story = [replace(GATED, findings=(few, other), needs="approve (50 %) or abort", approval_expires_at=ends)]
    shown = cli("deployments", "show", "dep-1")
    assert re.search(r"unknown +error_rate: only 7 of the 200 requests needed", shown)
    assert "output_disagreement: fail (somebody decides)" in shown
    assert "(aborted in 10.0 h)" in shown
    assert "approve (50 %) or abort" in shown


def test_accepted_changes_are_sent_by_name(deploy, control):
    deploy("--accept-change", "added:income", "--accept-change", "classes", "--no-wait")
    assert control.orders[-1]["options"]["accept_changes"] == ["added:income", "classes"]


OPTIONS = {"steps": [10, 25, 100], "health_check_criteria": {"max_error_rate": 0.02}}


class TestVerbs:
    @pytest.mark.parametrize("verb", ["approve", "pause", "resume", "promote", "abort", "rollback"])
    def test_who_and_why(self, cli, control, verb):
        said = ("--by", "ada", "--reason", "looks good")
        assert (
            cli("deployments", verb, "dep-1", *said)
            == f"dep-1: churn 1.1.0 pending: {verb} by operator: looks good (said: ada)\n"
        )
        assert cli.json("deployments", verb, "dep-1", *said)["reason"] == f"{verb} by operator: looks good (said: ada)"
        cli("deployments", verb, "dep-2", code=1)

    def test_back_to_a_version(self, cli, control):
        cli("deployments", "rollback", "dep-1", "--to-version", "0.9.0")
        assert control.steered[-1][1] == {
            "deployment_id": "dep-1", "by": "operator", "reason": "", "to_version": "0.9.0",
        }  # fmt: skip

    def test_the_author_may_not_approve(self, cli, control):
        control.story = [Seen(created_by="operator")]
        here = ("--state-dir", str(cli.state_dir))
        done = cli.run("deployments", "approve", "dep-1", "--by", "ada", *here, code=1)
        assert done.stderr == "error: whoever began a deployment may not approve it [self_approval]\n"
