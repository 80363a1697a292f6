"""The keys that a gateway knows: how long they last without the Controller, when they were used, and what they cost."""

import asyncio
import tracemalloc
from contextlib import suppress

import pytest

from streamb.clock import ManualClock
from streamb.errors import Unauthorized
from streamb.hashing import sha256_hex
from streamb.serving import GatewayApp, GatewayLimits
from streamb.serving.gateway import MOST_USED
from streamb.serving.http.access import grant_of
from streamb.traffic import GatewayPolicy, KeyGrant
from tests.serving.asgi_client import AsgiClient, Connection
from tests.serving.gateways import ONE_ROW, PREDICT, error_of
from tests.serving.predictors import table

NOW = 1_000.0


def policy(*names, required=True, last_s=60.0, permissions=("predict",), **grant):
    keys = {sha256_hex(name.encode()): KeyGrant(name, "ada", frozenset(permissions), **grant) for name in names}
    return GatewayPolicy(api_key_required=required, keys=keys, check_permissions=True, keys_last_s=last_s)


@pytest.fixture
def clock():
    return ManualClock(start=NOW)


@pytest.fixture
def client(predictor, clock):
    app = GatewayApp(predictor, GatewayLimits(), clock)
    app.apply(table(policy=policy("k1")))
    return AsgiClient(app)


async def test_without_the_controller_keys_last_for_the_stated_time(client, clock):
    clock.advance(60)
    assert (await client.post(PREDICT, ONE_ROW, x_api_key="k1")).status == 200
    clock.advance(0.1)
    for headers in ({"x_api_key": "k1"}, {"x_api_key": "unknown"}, {}):
        answer = error_of(await client.post(PREDICT, ONE_ROW, **headers), 503, "unavailable")
        assert "has not heard from the Controller for 60 s" in answer["error"]
        assert answer["retry_after_s"] == 5
    assert (await client.get("/v2/health/ready")).status == (await client.get("/v2/health/live")).status == 200
    client.app.heard()
    assert (await client.post(PREDICT, ONE_ROW, x_api_key="k1")).status == 200


async def test_where_no_key_is_needed_only_requests_with_one_are_refused(client, clock):
    client.app.apply(table(epoch=2, policy=policy("k1", required=False)))
    clock.advance(61)
    assert (await client.post(PREDICT, ONE_ROW)).status == 200
    error_of(await client.post(PREDICT, ONE_ROW, x_api_key="k1"), 503, "unavailable")


async def test_a_key_still_expires_while_the_controller_is_silent(client, clock):
    client.app.apply(table(epoch=2, policy=policy("k1", expires_at=NOW + 30)))
    clock.advance(29)
    assert (await client.post(PREDICT, ONE_ROW, x_api_key="k1")).status == 200
    clock.advance(1)
    error_of(await client.post(PREDICT, ONE_ROW, x_api_key="k1"), 401, "unauthorized")


async def test_before_the_first_table_a_key_is_not_called_wrong(predictor, clock):
    client = AsgiClient(GatewayApp(predictor, GatewayLimits(), clock))
    error_of(await client.post(PREDICT, ONE_ROW, x_api_key="k1"), 503, "unavailable")
    first = table(policy=policy("k1"))
    client.app.apply(first.held_back(client.app.table, {"another app"}))
    assert (await client.post(PREDICT, ONE_ROW, x_api_key="k1")).status == 200, "other models do not wait"


async def test_a_table_that_is_held_back_brings_its_keys_at_once(client):
    """A version that gateways are not connected to yet delays its route, and nothing else."""
    newer = table(epoch=2, policy=policy("k2"))
    apps = {target.app for target in newer.models["m"].targets.values()}
    client.app.apply(newer.held_back(client.app.table, apps))
    error_of(await client.post(PREDICT, ONE_ROW, x_api_key="k1"), 401, "unauthorized")
    assert (await client.post(PREDICT, ONE_ROW, x_api_key="k2")).status == 200


@pytest.mark.parametrize("path", [PREDICT, "/v2/models/m/feedback"])
async def test_a_slow_body_does_not_outlive_its_key(client, predictor, path):
    """Whoever begins a request with a key that is then revoked gets no answer by it."""
    client.app.apply(table(epoch=2, policy=policy("k1", permissions=("predict", "feedback"))))
    for newer, status in ((policy("k1"), 202 if "feedback" in path else 200), (policy("k2"), 401)):
        connection = Connection(b'{"instances"' if path == PREDICT else b'{"request_id"', more_to_come=True)
        task = asyncio.create_task(client.open(connection, "POST", path, {"x-api-key": "k1"}))
        await asyncio.sleep(0.01)
        if status == 202:
            newer = policy("k1", permissions=("feedback",))
        client.app.apply(table(epoch=client.app.table.epoch + 1, policy=newer))
        connection.feed(b": [[1, 2]]}" if path == PREDICT else b': "r", "success": true}')
        await task
        assert connection.response.status == status, connection.response.body
    assert len(predictor.batches) == (path == PREDICT)


async def test_uses_are_told_until_the_controller_has_heard_of_them(client, clock):
    await client.post(PREDICT, ONE_ROW, x_api_key="k1")
    await client.post(PREDICT, ONE_ROW, x_api_key="wrong")
    assert client.app.used() == {"k1": NOW} == client.app.used()
    client.app.heard({"k1": NOW, "other": 1.0})
    assert client.app.used() == {}


async def test_one_report_tells_of_so_many_keys_and_the_next_of_others(client):
    names = [f"k{number}" for number in range(MOST_USED + 5)]
    client.app.apply(table(epoch=2, policy=policy(*names)))
    for name in names:
        await client.get("/v2/models", x_api_key=name)
    first = client.app.used()
    client.app.heard(first)
    assert (len(first), set(first) | set(client.app.used())) == (MOST_USED, set(names))


async def test_100_000_unknown_keys_do_not_grow_memory(client):
    async def flood(start, count):
        for number in range(start, start + count):
            await client.get("/v2/models", x_api_key=f"sb_{number:012x}_" + "0" * 460)

    await flood(0, 500)
    known = client.app.table.policy
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        await flood(1_000, 2_000)
        for number in range(100_000):
            with suppress(Unauthorized):
                grant_of({b"x-api-key": b"sb_%012x_" % number + b"0" * 460}, known, NOW)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 500_000
    assert client.app.used() == {}
