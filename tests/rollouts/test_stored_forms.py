"""What is stored can be read: by the code that wrote it, and what was stored before there were steps."""

import dataclasses
import json

import pytest

from streamb.metrics.criteria import Finding, Verdict
from streamb.rollouts.deployment import Approval, Deployment, DeploymentState, Phase
from streamb.rollouts.options import HealthCriteria, RolloutOptions
from streamb.rollouts.route import ServingRoute, Standby
from streamb.rollouts.strategies import Strategy, plan
from streamb.store.plain import from_plain, to_plain
from tests.rollouts.fakes import House

OLD = {
    "id": "dep-1", "model_id": "m", "target_version": "2.0.0", "app": "m--2.0.0--x", "strategy": "immediate",
    "state": "progressing", "created_by": "me", "created_at": 900.0, "updated_at": 950.0, "step_started_at": 950.0,
    "previous_version": "1.0.0", "weight": 0.0, "step": 0, "reason": "starting the version", "options": {},
}  # fmt: skip


def test_a_deployment_comes_back_as_it_was():
    written = Deployment(
        "dep-1", "m", "2.0.0", "m--2.0.0--x", Strategy.CANARY, DeploymentState.AWAITING_APPROVAL, "me", 1.0, 2.0, 3.0,
        previous_version="1.0.0", share=2500, step=1, reason="why", options={"steps": [25, 50]}, phase=Phase.OBSERVE,
        steps=plan(Strategy.CANARY, RolloutOptions(approval_required=True)),
        approvals=(Approval("ada", 4.0, "start", "ok"),),
        criteria=HealthCriteria(max_error_rate=0.1, custom=("a.b:c",)), users=("ada",), back_to="1.0.0",
        findings=(Finding("error_rate", Verdict.PASS, "fine", 0.0, 0.1, 500),), ending=DeploymentState.ABORTED,
    )  # fmt: skip
    assert Deployment.from_body(json.loads(json.dumps(to_plain(written)))) == written


def test_no_ending_was_stored_as_an_empty_text():
    now = Deployment("d", "m", "1.0.0", "a", Strategy.IMMEDIATE, DeploymentState.PENDING, "me", 1.0, 2.0, 3.0)
    assert to_plain(now)["ending"] is None
    assert Deployment.from_body({**to_plain(now), "ending": ""}) == now


def test_steps_that_were_stored_by_weight_in_ten_thousandths_are_read_as_shares():
    steps = plan(Strategy.CANARY, RolloutOptions(steps=(12.5, 50)))
    assert [(step.share, step.weight) for step in steps] == [(0, 0.0), (1250, 12.5), (5000, 50.0), (10_000, 100.0)]
    now = Deployment(
        "dep-1", "m", "2.0.0", "m--2.0.0--x", Strategy.CANARY, DeploymentState.PROGRESSING, "me", 1.0, 2.0, 3.0,
        steps=steps,
    )  # fmt: skip
    body = json.loads(json.dumps(to_plain(now)))
    assert {step["share"] for step in body["steps"]} == {0, 1250, 5000, 10_000}
    before = {**body, "steps": [{"weight": step.pop("share"), **step} for step in body["steps"]]}
    assert Deployment.from_body(before) == now


def test_a_route_comes_back_as_it_was():
    written = ServingRoute("m", "2.0.0", "app", "salt", (Standby("1.0.0", "old", 5.0),), "new", 2, 7.0)
    assert from_plain(ServingRoute, json.loads(json.dumps(to_plain(written)))) == written
    assert from_plain(ServingRoute, {"model_id": "m", "version": "1.0.0", "app": "a", "salt": "s"}).standby == ()


@pytest.mark.parametrize(
    ("state", "step", "weight", "phase"),
    [
        ("pending", 0, 0.0, "gate"),
        ("progressing", 0, 0.0, "capacity"),
        ("progressing", 1, 100.0, "shift"),
        ("completed", 1, 100.0, "done"),
        ("failed", 0, 0.0, "done"),
    ],
)
def test_what_was_stored_before_there_were_steps_goes_on(state, step, weight, phase):
    house = House()
    old = {**OLD, "state": state, "step": step, "weight": weight}
    house.database.records.put("routes", "m", {"model_id": "m", "version": "1.0.0", "app": "m--1.0.0--x", "salt": "s"})
    if weight:
        route = {"model_id": "m", "version": "2.0.0", "app": old["app"], "salt": "s"}
        house.database.records.put("routes", "m", route)
    house.database.records.put("deployments", "dep-1", old)
    house.restart()
    found = house.rollouts.get("dep-1")
    assert (found.state, found.phase, found.weight, found.step) == (state, phase, weight, 0)
    house.settle(8)
    ended = "failed" if state == "failed" else "completed"
    assert house.rollouts.get("dep-1").state == ended
    assert house.serving() == ("1.0.0" if ended == "failed" else "2.0.0")
    body = to_plain(house.rollouts.get("dep-1"))
    assert dataclasses.asdict(Deployment.from_body(body)) == dataclasses.asdict(house.rollouts.get("dep-1"))


def test_a_first_deployment_from_before_goes_on():
    house = House()
    house.database.records.put("deployments", "dep-1", {**OLD, "previous_version": None})
    house.restart()
    house.settle(8)
    assert (house.rollouts.get("dep-1").state, house.serving()) == ("completed", "2.0.0")
