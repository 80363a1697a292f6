"""Who may call: keys, and pages of other sites."""

from __future__ import annotations

import pytest

from tests.api.conftest import client_of
from tests.api.fakes import InProcess

PATHS = ["/api/models", "/api/status", "/metrics", "/", "/api/openapi.json", "/api/openapi-v2.json", "/api/docs"]


@pytest.fixture
def staging(tmp_path):
    return InProcess(tmp_path / "staging", environment="staging")


@pytest.mark.parametrize("path", PATHS)
async def test_a_key_is_required_outside_development(staging, path):
    async with client_of(staging) as client:
        refusal = await client.get(path)
        assert (refusal.status_code, refusal.json()["code"]) == (401, "unauthorized")
        assert refusal.headers["www-authenticate"] == "Bearer"
        for headers in ({"X-API-Key": staging.guest_key}, {"Authorization": f"bearer {staging.guest_key}"}):
            assert (await client.get(path, headers=headers)).status_code == 200


async def test_health_of_this_process_needs_no_key(staging):
    async with client_of(staging) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.head("/healthz")).status_code == 200
    assert staging.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "sb_000000000000_" + "0" * 64},
        {"X-API-Key": "secret"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": "Bearer \xff\xfe"},
    ],
)
async def test_a_wrong_key_is_refused_even_where_none_is_needed(client, headers):
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    assert (await client.get("/api/models", headers=raw)).status_code == 401


async def test_a_wrong_key_is_told_before_a_wrong_body(staging):
    async with client_of(staging) as client:
        assert (await client.post("/api/models", json={})).status_code == 401


async def test_keys_are_asked_for_once_in_a_few_seconds(staging):
    async with client_of(staging, **{"X-API-Key": staging.guest_key}) as client:
        for _ in range(5):
            await client.get("/api/models")
        assert staging.asked.count("KeyRing.check") == 1
        staging.clock.advance(6)
        await client.get("/api/models")
        assert staging.asked.count("KeyRing.check") == 2


async def test_a_revoked_key_ends_within_seconds(staging):
    async with client_of(staging, **{"X-API-Key": staging.guest_key}) as client:
        assert (await client.get("/api/models")).status_code == 200
        staging.platform.keys.revoke(staging.guest_key.split("_")[1])
        staging.clock.advance(6)
        assert (await client.get("/api/models")).status_code == 401


class TestOtherSites:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:9999"},
            {"Origin": "http://[broken"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            # A name of theirs that they have pointed at this machine:
            {"Origin": "http://evil.example:8000", "Host": "evil.example:8000"},
        ],
    )
    async def test_changes_from_their_pages_are_refused(self, client, backend, headers):
        answer = await client.post("/api/models", json={"model_id": "m"}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "Registry.create_model" not in backend.asked

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"},
            {"Origin": "http://localhost:8000", "Host": "localhost:8000"},
            {},
        ],
    )
    async def test_changes_from_our_pages_and_from_programs_are_not(self, client, headers):
        assert (await client.post("/api/models", json={"model_id": "m"}, headers=headers)).status_code == 201

    async def test_no_page_of_theirs_may_embed_an_answer(self, client):
        answer = await client.get("/api/models")
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert not [name for name in answer.headers if name.startswith("access-control")]

    async def test_reading_is_left_to_the_browser(self, client):
        assert (await client.get("/api/models", headers={"Origin": "https://evil.example"})).status_code == 200
