"""The same change asked for twice."""

from __future__ import annotations

import asyncio

import pytest

from streamb.store import every_record
from tests.api.test_deployments import ORDER, register
from tests.api.test_models import form

KEY = {"Idempotency-Key": "order-1"}


async def test_the_second_answer_repeats_the_first(client, backend, archive):
    await register(client, archive)
    first = await client.post("/api/deployments", json=ORDER, headers=KEY)
    await asyncio.sleep(0)
    second = await client.post("/api/deployments", json=ORDER, headers=KEY)
    assert second.status_code == first.status_code == 201
    assert second.json() == first.json()
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert backend.asked.count("Control.create_deployment") == 1


async def test_the_order_of_fields_does_not_matter(client, backend):
    await client.post(
        "/api/models", content=b'{"model_id": "m", "name": "x"}', headers=KEY | {"Content-Type": "application/json"}
    )
    again = await client.post(
        "/api/models", content=b'{"name":"x","model_id":"m"}', headers=KEY | {"Content-Type": "application/json"}
    )
    assert again.headers["idempotency-replayed"] == "true"


async def test_the_same_key_for_another_change_is_a_conflict(client):
    await client.post("/api/models", json={"model_id": "a"}, headers=KEY)
    for body in ({"model_id": "b"}, {"model_id": "a", "name": "other"}):
        refusal = await client.post("/api/models", json=body, headers=KEY)
        assert (refusal.status_code, refusal.json()["code"]) == (409, "conflict")
    assert (await client.put("/api/models/a/tags", json={"tags": {}}, headers=KEY)).status_code == 409


async def test_uploads_are_told_apart_by_their_content(client, archive):
    await client.post("/api/models", json={"model_id": "churn"})
    for replayed in (None, "true"):
        answer = await client.post("/api/models/churn/versions", files=form(archive), headers=KEY)
        assert answer.status_code == 201
        assert answer.headers.get("idempotency-replayed") == replayed
    refusal = await client.post("/api/models/churn/versions", files=form(archive, owner="me"), headers=KEY)
    assert refusal.status_code == 409


async def test_after_a_failure_the_key_may_try_again(client, archive):
    assert (await client.post("/api/deployments", json=ORDER, headers=KEY)).status_code == 404
    await register(client, archive)
    assert (await client.post("/api/deployments", json=ORDER, headers=KEY)).status_code == 201


async def test_callers_do_not_share_keys(client, backend):
    await client.post("/api/models", json={"model_id": "a"}, headers=KEY)
    other = await client.post("/api/models", json={"model_id": "b"}, headers=KEY | {"X-API-Key": backend.guest_key})
    assert other.status_code == 201


async def test_while_the_first_is_worked_on_the_second_waits_its_turn(client, backend):
    backend.stuck = True
    first = asyncio.create_task(client.post("/api/models", json={"model_id": "a"}, headers=KEY))
    async with asyncio.timeout(30):
        while "Idempotency.recall" not in backend.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    second = await client.post("/api/models", json={"model_id": "a"}, headers=KEY)
    assert second.status_code == 409
    first.cancel()


@pytest.mark.parametrize("key", ["", "x" * 201, "with space", "caf\xe9"])
async def test_wrong_keys(client, key):
    headers = {"Idempotency-Key": key.encode("latin-1")}
    assert (await client.post("/api/models", json={"model_id": "a"}, headers=headers)).status_code == 422


async def test_a_job_whose_answer_was_lost_is_named_the_same_when_asked_for_again(client, backend):
    async def submit(command: str, **headers: str) -> None:
        key = {"X-API-Key": backend.api_key}
        answer = await client.post("/api/jobs", json={"entrypoint": command}, headers=key | headers)
        assert answer.status_code == 201
        backend.clock.advance(25 * 3600)  # by then the answer is not remembered any more

    for command in ("true", "true", "false"):
        await submit(command, **KEY)
    await submit("true")
    first, again, other, without = backend.jobs.requests
    assert first == again is not None
    assert other not in {first, None}
    assert without is None


async def test_a_secret_is_shown_once_and_stored_nowhere(client, backend):
    headers = KEY | {"X-API-Key": backend.api_key}
    first = await client.post("/api/keys", json={"principal": "operator"}, headers=headers)
    again = await client.post("/api/keys", json={"principal": "operator"}, headers=headers)
    secret = first.json()["key"]
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == {**first.json(), "key": ""}
    records = backend.platform.database.records
    stored = [str(one.body) for name in ("api-keys", "idempotency") for one in every_record(records, name)]
    assert first.json()["id"] in "".join(stored)
    assert not any(secret in one or secret.rsplit("_")[-1] in one for one in stored)
