"""Steering a deployment over HTTP, and what an answer tells of one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.api.steered_deployments import APPROVAL, FINDING, Seen, SteeredPlatform

VERBS = ["approve", "pause", "resume", "promote", "abort", "rollback"]
PLACE = "/api/deployments/dep-1"


@pytest.fixture
def backend(tmp_path):
    return SteeredPlatform(tmp_path / "state")


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_says_who_and_why(client, backend, verb):
    answer = await client.post(f"{PLACE}/{verb}", json={"by": " ada ", "reason": "looks good"})
    assert answer.status_code == 200, answer.text
    (steered,) = backend.steering.steered
    more = {"to_version": None} if verb == "rollback" else {}
    assert steered == (verb, {"deployment_id": "dep-1", "by": "anonymous", "reason": "looks good (said: ada)", **more})
    assert answer.json()["reason"] == f"{verb} by anonymous: looks good (said: ada)"


@pytest.mark.parametrize("content", [None, b"null", b"{}", b'{"by": "  "}'])
async def test_without_a_name_it_is_the_one_of_the_key(client, backend, content):
    headers = {"Content-Type": "application/json"} if content else {}
    for key, name in ((backend.guest_key, "guest"), (None, "anonymous")):
        sent = {**headers, "X-API-Key": key} if key else headers
        assert (await client.post(f"{PLACE}/pause", content=content, headers=sent)).status_code == 200
        assert backend.steering.steered[-1][1]["by"] == name


async def test_back_to_a_version(client, backend):
    assert (await client.post(f"{PLACE}/rollback", json={"to_version": "0.9.0"})).status_code == 200
    assert backend.steering.steered[-1][1]["to_version"] == "0.9.0"


@pytest.mark.parametrize("verb", VERBS)
async def test_null_counts_as_not_given(client, backend, verb):
    answer = await client.post(f"{PLACE}/{verb}", json={"by": None, "reason": None})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("content", "status", "named"),
    [
        (b"{", 400, "not JSON"),
        (b"\xff", 400, "body"),
        (b"[]", 422, "body"),
        (b'"ada"', 422, "body"),
        (b'{"who": "ada"}', 422, "body.who"),
        (b'{"by": 3}', 422, "body.by"),
        (b'{"by": "a\\u0000"}', 422, "body.by"),
        (b'{"by": "\\ud800"}', 422, "body.by"),
        (b'{"reason": "' + b"x" * 5_001 + b'"}', 422, "body.reason"),
        (b'{"to_version": "a b"}', 422, "body.to_version"),
    ],
)
async def test_wrong_bodies(client, backend, verb, content, status, named):
    answer = await client.post(f"{PLACE}/{verb}", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert named in answer.json()["error"]
    assert backend.steering.steered == []


async def test_only_a_rollback_goes_to_a_version(client, backend):
    answer = await client.post(f"{PLACE}/abort", json={"to_version": "1.0.0"})
    assert (answer.status_code, answer.json()["problems"][0]["where"]) == (422, "body.to_version")


@pytest.mark.parametrize("verb", VERBS)
async def test_errors_of_the_control_side_come_through(client, verb):
    answer = await client.post(f"/api/deployments/dep-2/{verb}", json={})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await client.get(f"{PLACE}/{verb}")).status_code == 405


async def test_the_author_may_not_approve(client, backend):
    backend.steering.story = [Seen(created_by="operator")]
    for body in ({}, {"by": "ada"}):
        answer = await client.post(f"{PLACE}/approve", json=body, headers={"X-API-Key": backend.api_key})
        assert (answer.status_code, answer.json()["code"]) == (403, "self_approval")


async def test_the_same_change_twice_is_one(client, backend):
    headers = {"Idempotency-Key": "k1"}
    first = await client.post(f"{PLACE}/promote", json={"by": "ada"}, headers=headers)
    again = await client.post(f"{PLACE}/promote", json={"by": "ada"}, headers=headers)
    assert (first.json(), again.headers["idempotency-replayed"]) == (again.json(), "true")
    assert len(backend.steering.steered) == 1
    for path, body in ((f"{PLACE}/promote", {"by": "eve"}), (f"{PLACE}/abort", {"by": "ada"})):
        assert (await client.post(path, json=body, headers=headers)).status_code == 409


async def test_an_answer_tells_plan_findings_and_gate(client, backend):
    told = Seen(state="awaiting_approval", weight=25.0, step=2, phase="gate", waiting_for="approval before 100 %")
    backend.steering.story = [replace(told, findings=(FINDING,), approvals=(APPROVAL,))]
    found = (await client.get(PLACE)).json()
    assert [step["weight"] for step in found["steps"]] == [10.0, 25.0, 100.0]
    assert found["steps"][2] == {
        "weight": 100.0, "min_time_s": 10.0, "max_time_s": 600.0, "min_samples": 100, "gate": True,
    }  # fmt: skip
    assert found["findings"] == [vars(FINDING)]
    assert found["approvals"] == [vars(APPROVAL)]
    assert (found["phase"], found["waiting_for"]) == ("gate", "approval before 100 %")


async def test_numbers_that_json_has_no_word_for_are_null(client, backend):
    odd = type(FINDING)(**{**vars(FINDING), "value": math.inf, "limit": math.nan})
    backend.steering.story = [Seen(findings=(odd,))]
    found = (await client.post(f"{PLACE}/pause")).json()["findings"][0]
    assert (found["value"], found["limit"]) == (None, None)
