"""Undeploying models and deleting versions over HTTP."""

from __future__ import annotations

import pytest

from streamb.rollouts.caretaker import GRACE_S
from tests.api.artifacts import sklearn_archive
from tests.api.test_models import form

UNDEPLOY, VERSION = "/api/models/churn/undeploy", "/api/models/churn/versions/1.0.0"


@pytest.fixture
async def churn(client, archive):
    await client.post("/api/models", json={"model_id": "churn"})
    assert (await client.post("/api/models/churn/versions", files=form(archive))).status_code == 201
    made = await client.post("/api/deployments", json={"model_id": "churn", "target_version": "1.0.0"})
    assert made.status_code == 201
    return made.json()


def stop(backend):
    """Time passes until the unwanted apps are gone."""
    for _ in range(3):
        backend.rollouts.tick()
        backend.clock.advance(GRACE_S)


@pytest.mark.parametrize("body", [None, {}, {"by": " ada ", "reason": "retired"}])
async def test_the_answer_says_what_stops_and_the_status_when_it_has(client, backend, churn, body):
    (app,) = backend.runtime.specs
    answer = await client.post(UNDEPLOY, json=body, headers={"X-API-Key": backend.guest_key})
    assert answer.status_code == 200, answer.text
    by, reason = "guest", "retired (said: ada)" if body else ""
    told = {"model_id": "churn", "version": "1.0.0", "apps": [app], "by": by, "reason": reason}
    assert answer.json() == {**told, "at": backend.clock.now()}
    status = (await client.get("/api/models/churn/status")).json()
    assert (status["serving_version"], [one["app"] for one in status["versions"]]) == (None, [app])
    assert status["undeployment"] == answer.json()
    assert (await client.post(UNDEPLOY)).json() == answer.json()
    stop(backend)
    status = (await client.get("/api/models/churn/status")).json()
    assert (status["versions"], status["undeployment"]) == ([], None)
    assert (await client.post(UNDEPLOY)).status_code == 409
    history = (await client.get("/api/deployments/history")).json()["items"]
    assert [one["kind"] for one in reversed(history)][-2:] == ["undeploying", "undeployed"]
    assert history[1]["actor"] == by


async def test_an_order_with_a_key_happens_once(client, backend, churn):
    key = {"Idempotency-Key": "once"}
    first = await client.post(UNDEPLOY, headers=key)
    stop(backend)
    again = await client.post(UNDEPLOY, headers=key)
    assert (again.status_code, again.json()) == (200, first.json())
    first = await client.delete(VERSION, headers=key | {"Idempotency-Key": "delete"})
    again = await client.delete(VERSION, headers=key | {"Idempotency-Key": "delete"})
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    assert (await client.delete(VERSION)).status_code == 404


async def test_what_cannot_be_undeployed(client, churn):
    await client.post("/api/models", json={"model_id": "other"})
    for model_id, status, code in (("other", 409, "conflict"), ("nobody", 404, "not_found")):
        answer = await client.post(f"/api/models/{model_id}/undeploy")
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await client.post(UNDEPLOY, json={"who": "ada"})).status_code == 422


async def test_a_version_that_serves_is_not_deleted(client, churn):
    answer = await client.delete(VERSION)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert answer.json()["references"][0] in answer.json()["error"]


class TestDeleted:
    @pytest.fixture
    async def stored(self, client, backend, archive):
        """The stored files of the only version, which is then deleted."""
        await client.post("/api/models", json={"model_id": "churn"})
        made = await client.post("/api/models/churn/versions", files=form(archive, metadata={"note": "x"}))
        deleted = await client.delete(VERSION, headers={"X-API-Key": backend.guest_key})
        assert (deleted.status_code, deleted.json()) == (200, made.json())
        return made.json()

    def files(self, backend):
        return [path.name for path in (backend.settings.state_dir / "artifacts").rglob("*") if path.is_file()]

    async def test_it_is_gone_with_its_bytes(self, client, backend, stored):
        assert (await client.get("/api/models/churn/versions")).json()["items"] == []
        assert (await client.get("/api/models/churn")).json()["latest_version"] is None
        for answer in (await client.get(VERSION), await client.delete(VERSION)):
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert self.files(backend) == []

    async def test_other_content_under_its_number_is_refused_and_not_stored(self, client, backend, stored, tmp_path):
        other = sklearn_archive(tmp_path, c=0.01)
        answer = await client.post("/api/models/churn/versions", files=form(other))
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert self.files(backend) == []

    async def test_the_same_content_is_stored_again(self, client, backend, stored, archive):
        answer = await client.post("/api/models/churn/versions", files=form(archive))
        assert (answer.status_code, answer.json()["digest"]) == (201, stored["digest"])
        assert self.files(backend) == [stored["blob"]]

    @pytest.mark.parametrize("name", ["latest", "champion"])
    async def test_only_a_number_names_it(self, client, stored, name):
        assert (await client.delete(f"/api/models/churn/versions/{name}")).status_code == 422
