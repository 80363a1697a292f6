"""People at the Console: with a token of the issuer in place of a key."""

from __future__ import annotations

import pytest

from tests.api.conftest import client_of
from tests.api.fakes import InProcess
from tests.security.issuer import OTHER_KEY, LocalIssuer

ROLES = "ml-team=operator,leads=approver"


@pytest.fixture
def local():
    issuer = LocalIssuer()
    yield issuer
    issuer.close()


@pytest.fixture
def backend(tmp_path, local):
    settings = {"oidc_issuer": local.url, "oidc_audience": "streamb", "oidc_roles": ROLES}
    backend = InProcess(tmp_path / "state", environment="staging", **settings)
    yield backend
    backend.close()


async def status_of(client, token, method="GET", path="/api/models", **more):
    answer = await client.request(method, path, headers={"Authorization": f"Bearer {token}"}, **more)
    return answer.status_code


async def test_a_person_may_what_its_groups_may(backend, local):
    now = backend.clock.now()
    async with client_of(backend) as client:
        operator, approver = local.token(now, groups=["ml-team"]), local.token(now, groups=["leads"])
        nobody = local.token(now, groups=["others"])
        body = {"json": {"model_id": "m"}}
        assert await status_of(client, operator) == await status_of(client, approver) == 200
        assert await status_of(client, nobody) == 403
        assert await status_of(client, approver, "POST", **body) == 403
        assert await status_of(client, operator, "POST", **body) == 201
        assert await status_of(client, operator, "POST", "/api/principals", json={}) in (403, 404, 405)
        answer = await client.get("/api/models", headers={"X-API-Key": operator})
        assert answer.status_code == 200
    assert "KeyRing.check" not in backend.asked


async def test_what_is_no_valid_token_is_refused_and_an_issuer_that_is_away_is_told(backend, local):
    now = backend.clock.now()
    async with client_of(backend) as client:
        for token in (local.token(now, exp=now), local.token(now, OTHER_KEY), local.token(now, aud="x"), "a.b.c"):
            assert await status_of(client, token) == 401
        assert await status_of(client, backend.guest_key) == 200
        assert await status_of(client, local.token(now)) == 200
    local.close()
    async with client_of(backend) as client:
        answer = await client.get("/api/models", headers={"Authorization": f"Bearer {local.token(now)}"})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert local.url in answer.json()["error"]
        assert "retry-after" in answer.headers
        assert await status_of(client, backend.guest_key) == 200, "keys are checked without the issuer"


async def test_without_an_issuer_a_token_is_no_key(tmp_path, local):
    backend = InProcess(tmp_path / "other")
    async with client_of(backend) as client:
        assert await status_of(client, local.token(backend.clock.now())) == 401
