import asyncio

import numpy as np
import orjson
import pytest

from streamb.errors import Unavailable
from streamb.serving import BatchReply
from tests.serving.asgi_client import Connection
from tests.serving.gateways import ONE_ROW, PREDICT, counts, error_of, one_by_one


async def test_a_full_queue(make, predictor):
    client = make(max_queued_requests=1)
    predictor.hold()
    tasks = await one_by_one(client, 4)
    predictor.let_go()
    responses = await asyncio.gather(*tasks)
    assert sorted(response.status for response in responses) == [200, 200, 200, 503]
    (refused,) = [response for response in responses if response.status == 503]
    error_of(refused, 503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert counts(client.app).counts == {"ok": 3, "overload": 1}


async def test_no_answer_in_time(make, predictor):
    client = make(request_timeout_s=0.03)
    predictor.hold()
    response = await asyncio.wait_for(client.post(PREDICT, ONE_ROW), 2)
    assert error_of(response, 504, "timeout")["limit_s"] == 0.03
    await asyncio.sleep(0)
    assert client.app.in_flight("m-1.0.0") == 0
    assert counts(client.app).counts == {"timeout": 1}


async def test_a_replica_that_died_is_survived_and_a_dead_version_is_told(make, predictor):
    client = make()
    predictor.failures = [Unavailable("died", retry_after_s=3)]
    assert (await client.post(PREDICT, ONE_ROW)).status == 200
    predictor.failures = [Unavailable("died", retry_after_s=3), Unavailable("the second died too", retry_after_s=2.5)]
    response = await client.post(PREDICT, ONE_ROW)
    error_of(response, 503, "unavailable")
    assert response.headers["retry-after"] == "3"
    assert response.headers["x-model-version"] == "1.0.0"
    assert counts(client.app).retries == 2


async def test_an_unexpected_error_has_a_reply_too(make, predictor, caplog):
    client = make()
    predictor.failures = [KeyError("bug")]
    error_of(await client.post(PREDICT, ONE_ROW), 500, "model_error")
    assert "bug" in caplog.text


async def test_a_client_that_left_gets_no_answer(make, predictor):
    client = make()
    predictor.hold()
    running = await one_by_one(client, 2)
    connection = Connection(orjson.dumps({"instances": [[9, 9]]}))
    leaving = asyncio.create_task(client.open(connection, "POST", PREDICT))
    await asyncio.sleep(0.03)
    connection.disconnect()
    predictor.let_go()
    await asyncio.gather(leaving, *running)
    assert connection.sent == []
    assert len(predictor.batches) == 2
    assert counts(client.app).codes == {200: 2, 499: 1}


async def test_a_client_that_leaves_while_it_sends(make):
    client = make()
    connection = Connection(b'{"inst', more_to_come=True)
    leaving = asyncio.create_task(client.open(connection, "POST", PREDICT))
    await asyncio.sleep(0.01)
    connection.disconnect()
    await leaving
    assert connection.sent == []


async def test_a_client_too_slow_to_send(make):
    client = make(body_timeout_s=0.02)
    connection = Connection(b'{"inst', more_to_come=True)
    await client.open(connection, "POST", PREDICT)
    error_of(connection.response, 408, "request_timeout")
    assert connection.response.headers["connection"] == "close"


async def test_closing_fails_what_waits_and_refuses_what_comes(make, predictor):
    client = make()
    predictor.hold()
    waiting = asyncio.create_task(client.post(PREDICT, ONE_ROW))
    await asyncio.sleep(0.01)
    await client.app.close()
    error_of(await waiting, 503, "unavailable")
    error_of(await client.post(PREDICT, ONE_ROW), 503, "unavailable")


@pytest.mark.parametrize("as_binary", [False, True])
async def test_predictions_that_are_no_text_are_the_models_error(make, predictor, as_binary):
    async def half_a_pair(_target, batch):
        return BatchReply(np.array(["\ud800"] * len(batch.rows)))

    predictor.predict = half_a_pair
    document = {
        "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}],
        "outputs": [{"name": "predictions", "parameters": {"binary_data": as_binary}}],
    }
    error_of(await make().post("/v2/models/m/infer", document), 500, "model_error")
