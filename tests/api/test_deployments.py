"""Deployments over HTTP."""

from __future__ import annotations

import asyncio

import pytest

from streamb.monitoring.channels import settings_warnings
from streamb.registry import Artifact, Trial, TrialState
from tests.api.conftest import client_of
from tests.api.fakes import InProcess
from tests.api.test_models import form


async def register(client, archive, headers=None):
    await client.post("/api/models", json={"model_id": "churn"}, headers=headers)
    answer = await client.post("/api/models/churn/versions", files=form(archive), headers=headers)
    assert answer.status_code == 201, answer.text


ORDER = {"model_id": "churn", "target_version": "1.0.0"}


async def test_a_version_is_deployed_and_has_a_history(client, archive):
    await register(client, archive)
    answer = await client.post("/api/deployments", json=ORDER)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["state"], made["strategy"], made["created_by"]) == ("pending", "immediate", "anonymous")
    await asyncio.sleep(0)
    now = (await client.get(answer.headers["location"])).json()
    assert (now["state"], now["weight"]) == ("completed", 100.0)
    history = (await client.get("/api/deployments/history", params={"model_id": "churn"})).json()["items"]
    assert [event["kind"] for event in history][0::10] == ["completed"]
    assert history[-1]["kind"] == "created"
    assert [d["id"] for d in (await client.get("/api/deployments")).json()["items"]] == [made["id"]]
    status = (await client.get("/api/models/churn/status")).json()
    assert status["serving_version"] == "1.0.0"
    assert status["versions"][0]["state"] == "running"
    assert status["deployment"]["id"] == made["id"]


async def test_who_deployed_is_written_down(client, backend, archive):
    await register(client, archive)
    answer = await client.post("/api/deployments", json=ORDER, headers={"X-API-Key": backend.guest_key})
    assert answer.json()["created_by"] == "guest"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({**ORDER, "model_id": "nobody"}, 404),
        ({**ORDER, "target_version": "9.9.9"}, 404),
        ({**ORDER, "strategy": "magic"}, 422),
        ({**ORDER, "surprise": 1}, 422),
        ({**ORDER, "options": {"traffic_split_percentage": 101}}, 422),
        ({**ORDER, "force": True}, 401),
    ],
)
async def test_wrong_orders(client, archive, body, status):
    await register(client, archive)
    answer = await client.post("/api/deployments", json=body)
    assert answer.status_code == status, answer.text


async def test_outside_development_immediate_needs_an_admin_and_force(tmp_path, archive):
    staging = InProcess(tmp_path, environment="staging")
    admin, guest = ({"X-API-Key": key} for key in (staging.api_key, staging.guest_key))
    async with client_of(staging) as client:
        await register(client, archive, headers=admin)
        assert (await client.post("/api/deployments", json=ORDER)).status_code == 401
        assert (await client.post("/api/deployments", json=ORDER, headers=admin)).status_code == 403
        forced = {**ORDER, "force": True}
        assert (await client.post("/api/deployments", json=forced, headers=guest)).status_code == 403
        assert (await client.post("/api/deployments", json=forced, headers=admin)).status_code == 201


async def test_there_is_no_such_deployment(client):
    answer = await client.get("/api/deployments/dep-000000000000")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


class TestTheRealVerbs:
    """The rest of the way, through the Controller's own verbs; their rules have tests of their own."""

    @pytest.fixture
    async def gated(self, client, backend, archive):
        """1.0.0 answers; 1.1.0 waits for an approval."""
        await register(client, archive)
        await client.post("/api/deployments", json=ORDER)
        await client.post("/api/models/churn/versions", files=form(archive, version="1.1.0"))
        order = {**ORDER, "target_version": "1.1.0", "strategy": "blue_green", "options": {"approval_required": True}}
        answer = await client.post("/api/deployments", json=order)
        assert answer.status_code == 201, answer.text
        return answer.headers["location"]

    @pytest.fixture
    def after(self, client, backend, gated):
        async def after(seconds=0.0):
            for _ in range(10):
                backend.clock.advance(seconds / 10)
                backend.report()
                while backend.rollouts.tick():
                    pass
            return (await client.get(gated)).json()

        return after

    async def test_approved_switched_and_rolled_back(self, client, backend, gated, after):
        found = await after(10)  # after the preview
        assert (found["state"], found["weight"]) == ("awaiting_approval", 0.0)
        assert found["needs"] == "approve (100 %) or abort"
        assert found["approval_expires_at"] > found["updated_at"]
        assert found["waiting_for"]
        headers = {"X-API-Key": backend.api_key}
        approved = await client.post(f"{gated}/approve", json={"by": "ada", "reason": "checked"}, headers=headers)
        assert approved.status_code == 200, approved.text
        found = await after(60)
        assert (found["state"], found["weight"], found["steps"][-1]["weight"]) == ("completed", 100.0, 100.0)
        assert [(one["by"], one["reason"]) for one in found["approvals"]] == [("operator", "checked (said: ada)")]
        back = (await client.post(f"{gated}/rollback", json={"by": "eve"})).json()
        assert back["state"] != "completed"
        assert (await after(1))["state"] == "rolled_back"
        assert (await client.get("/api/models/churn/status")).json()["serving_version"] == "1.0.0"
        history = (await client.get("/api/deployments/history")).json()["items"]
        assert {"anonymous", "operator"} < {event["actor"] for event in history}

    async def test_aborted(self, client, gated, after):
        await after(1)
        for _ in range(2):
            assert (await client.post(f"{gated}/abort", json={"reason": "later"})).status_code == 200
        assert (await after(1))["state"] == "aborted"
        answer = await client.post(f"{gated}/resume")
        assert (answer.status_code, answer.json()["code"]) == (409, "invalid_transition")

    @pytest.mark.parametrize("verb", ["approve", "pause", "resume", "promote", "abort", "rollback"])
    async def test_there_is_no_such_deployment(self, client, verb):
        answer = await client.post(f"/api/deployments/dep-000000000000/{verb}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    async def test_a_gate_before_a_step_that_is_none(self, client, archive):
        await register(client, archive)
        order = {**ORDER, "strategy": "canary", "options": {"approval_before": 42}}
        answer = await client.post("/api/deployments", json=order)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
        assert "42" in answer.json()["error"]


async def test_a_version_with_another_signature_is_refused_with_the_list_until_it_is_accepted(client, backend, archive):
    registry = backend.platform.registry
    registry.create_model("churn")
    blob = backend.blobs.put_file(archive).digest
    for version, names in (("1.0.0", ("age",)), ("2.0.0", ("age", "income"))):
        schema = {"container": "frame", "features": [{"name": name, "kind": "number"} for name in names]}
        artifact = Artifact(version, blob, 1, "f", "other", schema, carries_code=False, trial=Trial(TrialState.PASSED))
        registry.register_version("churn", version, artifact)
    assert (await client.post("/api/deployments", json=ORDER)).status_code == 201
    await asyncio.sleep(0)
    order = {**ORDER, "target_version": "2.0.0"}
    refused = await client.post("/api/deployments", json=order)
    assert (refused.status_code, refused.json()["code"]) == (409, "incompatible_signature")
    assert refused.json()["changes"] == [{"name": "added:income", "detail": "the column income (number) must be sent"}]
    wrong = await client.post("/api/deployments", json={**order, "options": {"accept_changes": ["added:incom"]}})
    assert (wrong.status_code, "added:income" in wrong.json()["error"]) == (422, True)
    made = await client.post("/api/deployments", json={**order, "options": {"accept_changes": ["added:income"]}})
    assert made.status_code == 201, made.text


@pytest.mark.parametrize(
    ("settings", "notice"),
    [({}, ""), ({"monitoring_enabled": False}, "is disabled"), ({"alert_channels": "none"}, "no alert channel")],
)
async def test_an_order_says_if_nobody_will_be_told_of_its_end(tmp_path, archive, settings, notice):
    backend = InProcess(tmp_path / "state", **settings)
    async with client_of(backend) as client:
        await register(client, archive)
        said = (await client.post("/api/deployments", json=ORDER)).json()["notice"]
    assert notice in said
    assert ("nobody is told" in said) == bool(notice)
    assert said in [*settings_warnings(backend.settings), ""]


async def test_the_metrics_of_deployments_are_in_the_scrape(client, archive):
    await register(client, archive)
    await client.post("/api/deployments", json=ORDER)
    await asyncio.sleep(0)
    text = (await client.get("/metrics")).text
    assert 'streamb_deployments_total{result="completed",strategy="immediate"} 1.0' in text
    assert 'streamb_deployment_state{model="churn",state="completed",version="1.0.0"} 1.0' in text
