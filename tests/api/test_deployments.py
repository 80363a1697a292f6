"""Deployments over HTTP."""

from __future__ import annotations

import asyncio

import pytest

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
        ({**ORDER, "force": True}, 403),
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
