"""Large requests are bounded together, in bytes: a queue of a thousand of the largest would fill any memory."""

import asyncio

import orjson
import pytest

from streamb.serving.http.receive import SMALL_BODY
from tests.serving.asgi_client import Connection
from tests.serving.gateways import ONE_ROW, PREDICT, counts, error_of

LARGE = orjson.dumps({"instances": [[1, 2]] * 20_000})  # 120 kB
assert len(LARGE) > SMALL_BODY


@pytest.fixture
def client(make):
    return make(max_body_bytes=len(LARGE), max_held_bytes=2 * len(LARGE))


async def test_large_requests_that_wait_leave_no_room_for_another(client, predictor):
    predictor.hold()
    waiting = [asyncio.create_task(client.post(PREDICT, LARGE)) for _ in range(2)]
    await asyncio.sleep(0.01)
    refused = await client.post(PREDICT, LARGE)
    error_of(refused, 503, "overloaded")
    assert refused.headers["retry-after"] == "1"
    small = asyncio.create_task(client.post(PREDICT, ONE_ROW))
    await asyncio.sleep(0.01)
    predictor.let_go()
    assert [reply.status for reply in await asyncio.gather(*waiting, small)] == [200, 200, 200]
    assert (await client.post(PREDICT, LARGE)).status == 200
    assert counts(client.app, "").counts == {"overload": 1}


@pytest.mark.parametrize("end", ["disconnect", "timeout", "malformed", "too large"])
async def test_room_comes_back_however_a_request_ends(make, end):
    client = make(max_body_bytes=len(LARGE), max_held_bytes=len(LARGE), body_timeout_s=0.05 if end == "timeout" else 30)
    for _ in range(3):
        connection = Connection(LARGE[:-10], more_to_come=True)
        asked = asyncio.create_task(client.open(connection, "POST", PREDICT, {"content-type": "application/json"}))
        await asyncio.sleep(0.005)
        if end == "disconnect":
            connection.disconnect()
        elif end != "timeout":
            connection.feed(b"x" * (10 if end == "malformed" else 11))
        await asked
        if end != "disconnect":
            assert connection.response.status == {"timeout": 408, "malformed": 400, "too large": 413}[end]
    assert (await client.post(PREDICT, LARGE)).status == 200
