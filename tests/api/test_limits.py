"""The limits on callers at the Console."""

from __future__ import annotations

import httpx
import pytest

from streamb.api import create_app
from tests.api.fakes import InProcess

SECRET = "s" * 64
TIGHT = {
    "rate_limit_enabled": True,
    "rate_limit_requests_per_minute": 60,
    "rate_limit_burst": 3,
    "rate_limit_address_requests_per_minute": 600,
    "rate_limit_address_burst": 8,
}


def house(folder, environment="staging", **changes):
    return InProcess(folder, environment=environment, **{**TIGHT, **changes})


def client_of(backend, **headers):
    app = create_app(backend.control, backend.artifacts, backend.settings, backend.clock, backend.monitor, SECRET)
    transport = httpx.ASGITransport(app=app, client=("198.51.100.7", 1))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=headers)


async def test_a_key_that_asks_too_often(tmp_path):
    backend = house(tmp_path)
    async with client_of(backend, **{"X-API-Key": backend.guest_key}) as client:
        for left in ("2", "1", "0"):
            reply = await client.get("/api/models")
            assert (reply.status_code, reply.headers["ratelimit-remaining"]) == (200, left)
            assert reply.headers["ratelimit-limit"] == "60"
        refused = await client.get("/api/models")
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["request_id"] == refused.headers["x-request-id"]
        assert refused.headers["ratelimit-remaining"] == "0"
        assert refused.headers["ratelimit-policy"] == '"default";q=60;w=60;burst=3'
        backend.clock.advance(1.0)
        assert (await client.get("/api/models")).status_code == 200


async def test_guesses_of_keys_are_limited_by_address_before_they_are_looked_at(tmp_path):
    backend = house(tmp_path)
    async with client_of(backend) as client:
        statuses = [
            (await client.get("/api/models", headers={"X-API-Key": f"guess {number}"})).status_code
            for number in range(12)
        ]
        assert statuses == [401] * 8 + [429] * 4
        good = {"X-API-Key": backend.guest_key}
        assert (await client.get("/api/models", headers=good)).status_code == 429
        elsewhere = {**good, "X-Streamb-Client": f"{SECRET} 192.0.2.1"}
        assert (await client.get("/api/models", headers=elsewhere)).status_code == 200
        forged = {**good, "X-Streamb-Client": "192.0.2.2"}
        assert (await client.get("/api/models", headers=forged)).status_code == 429


async def test_callers_without_a_key_are_told_apart_by_address(tmp_path):
    backend = house(tmp_path, "development")
    async with client_of(backend) as client:
        for address in ("192.0.2.1", "192.0.2.2"):
            said = {"X-Streamb-Client": f"{SECRET} {address}"}
            statuses = [(await client.get("/api/models", headers=said)).status_code for _ in range(5)]
            assert statuses == [200] * 3 + [429] * 2


async def test_health_of_this_process_is_never_limited(tmp_path):
    async with client_of(house(tmp_path)) as client:
        for _ in range(30):
            assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("path", ["/api/nothing", "/nothing"])
async def test_what_does_not_exist_is_limited_as_well(tmp_path, path):
    async with client_of(house(tmp_path)) as client:
        assert [(await client.get(path)).status_code for _ in range(9)] == [404] * 8 + [429]


async def test_observe_only_and_no_limits_refuse_nobody(tmp_path):
    for number, changes in enumerate(({"rate_limit_observe_only": True}, {"rate_limit_enabled": False})):
        backend = house(tmp_path / str(number), **changes)
        async with client_of(backend, **{"X-API-Key": backend.guest_key}) as client:
            replies = [await client.get("/api/models") for _ in range(12)]
            assert {reply.status_code for reply in replies} == {200}
            assert ("ratelimit-limit" in replies[-1].headers) is (number == 0)


async def test_two_consoles_share_the_limits(tmp_path):
    backend = house(tmp_path, console_replicas=2, rate_limit_burst=4)
    passed = 0
    for _ in range(2):
        async with client_of(backend, **{"X-API-Key": backend.guest_key}) as client:
            passed += [(await client.get("/api/models")).status_code for _ in range(5)].count(200)
    assert passed == 4


async def test_metrics_tell_what_was_above_a_limit(tmp_path):
    backend = house(tmp_path)
    backend.observations.receive(_report("gateway", "g1", {("key", "refused"): 7}))
    backend.observations.receive(_report("console", "c1", {("address", "observed"): 3}))
    async with client_of(backend, **{"X-API-Key": backend.guest_key}) as client:
        text = (await client.get("/metrics")).text
    assert 'streamb_rate_limited_total{limit="key",result="refused",role="gateway"} 7.0' in text
    assert 'streamb_rate_limited_total{limit="address",result="observed",role="console"} 3.0' in text


def _report(role, source, limited):
    from streamb.control.observations import NodeReport

    return NodeReport(role, source, "node", 1, limited=limited)
