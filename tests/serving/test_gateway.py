import asyncio

import numpy as np
import orjson
import pytest

from streamb.clock import SystemClock
from streamb.errors import Unavailable
from streamb.hashing import sha256_hex
from streamb.metrics import merge
from streamb.serving import BatchReply, GatewayApp, GatewayLimits
from streamb.traffic import GatewayPolicy, RoutingTable, Split
from tests.serving.asgi_client import AsgiClient, Connection
from tests.serving.predictors import SumPredictor, table, target

PREDICT = "/v2/models/m/predict"
ONE_ROW = {"instances": [[1, 2]]}


async def one_by_one(client, count, body=lambda number: ONE_ROW):
    """Requests under way that came in turns of the event loop of their own, so that they do not go together."""
    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(client.post(PREDICT, body(number))))
        await asyncio.sleep(0.002)
    return tasks


KEYS = GatewayPolicy(api_key_required=True, key_digests=frozenset({sha256_hex(b"right")}))


@pytest.fixture
def predictor():
    return SumPredictor()


@pytest.fixture
def make(predictor):
    def build(routing: RoutingTable | None = None, **limits):
        app = GatewayApp(predictor, GatewayLimits(**limits), SystemClock())
        assert app.apply(routing or table())
        return AsgiClient(app)

    return build


def counts(app, version="1.0.0"):
    (found,) = [one for one in app.snapshot() if one.version == version]
    return found


def error_of(response, status, code):
    document = response.json()
    assert (response.status, document["code"]) == (status, code), document
    assert len(document["error"]) > 10
    assert document["request_id"] == response.headers["x-request-id"]
    return document


# --- what it answers ----------------------------------------------------------------------------------------------


async def test_rows_are_answered(make):
    response = await make().post(PREDICT, {"instances": [[1, 2], {"x1": 1, "x0": 3.5}]}, x_request_id="r-1")
    assert response.status == 200
    assert response.json() == {"predictions": [3.0, 4.5], "model": "m", "version": "1.0.0", "request_id": "r-1"}
    assert response.headers["x-request-id"] == "r-1"
    assert response.headers["x-model-version"] == "1.0.0"
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", [PREDICT, f"{PREDICT}?probabilities=true"])
async def test_probabilities_by_body_and_by_query(make, path):
    body = {**ONE_ROW, "probabilities": "?" not in path}
    assert (await make().post(path, body)).json()["probabilities"] == [[0.25, 0.75]]


async def test_a_query_that_says_neither_yes_nor_no(make):
    error_of(await make().post(f"{PREDICT}?probabilities=maybe", ONE_ROW), 400, "bad_request")


async def test_probabilities_that_the_model_does_not_have():
    class NoChances:
        async def predict(self, target, batch):
            return BatchReply(np.zeros(len(batch.rows)))

    app = GatewayApp(NoChances(), GatewayLimits(), SystemClock())
    app.apply(table())
    body = error_of(await AsgiClient(app).post(PREDICT, {**ONE_ROW, "probabilities": True}), 422, "invalid_input")
    assert "probabilities" in body["error"]
    assert counts(app).blamed == 0


async def test_json_tensors_are_answered(make):
    tensor = {"name": "input", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
    wanted = [{"name": "predictions"}, {"name": "probabilities"}]
    response = await make().post(
        "/v2/models/m/versions/1.0.0/infer", {"inputs": [tensor], "outputs": wanted, "id": "7"}
    )
    document = response.json()
    assert document["id"] == "7"
    assert [output["data"] for output in document["outputs"]] == [[3.0, 7.0], [0.25, 0.75, 0.25, 0.75]]
    assert [output["shape"] for output in document["outputs"]] == [[2], [2, 2]]


async def test_binary_tensors_are_answered(make):
    head = orjson.dumps(
        {
            "inputs": [
                {"name": "input", "shape": [2, 2], "datatype": "FP64", "parameters": {"binary_data_size": 32}},
            ],
            "outputs": [{"name": "predictions", "parameters": {"binary_data": True}}],
        }
    )
    response = await make().post(
        "/v2/models/m/infer",
        head + np.array([[1.0, 2], [3, 4]]).tobytes(),
        content_type="application/octet-stream",
        inference_header_content_length=str(len(head)),
    )
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers["inference-header-content-length"])
    assert np.frombuffer(response.body[length:]).tolist() == [3.0, 7.0]


async def test_a_model_without_a_schema_takes_any_rectangle(make):
    client = make(table(target(schema={})))
    assert (await client.post(PREDICT, {"instances": [[1, 2, 3], [4, 5, 6]]})).json()["predictions"] == [6, 15]


async def test_waiting_requests_go_together(make, predictor):
    client = make()
    predictor.hold()
    tasks = await one_by_one(client, 10, lambda value: {"instances": [[value, 0]]})
    predictor.let_go()
    responses = await asyncio.gather(*tasks)
    assert [response.json()["predictions"] for response in responses] == [[value] for value in range(10)]
    assert [len(batch.counts) for _, batch in predictor.batches] == [1, 1, 8]


# --- which version ------------------------------------------------------------------------------------------------

HALVES = table(target("1.0.0"), target("2.0.0"), split=Split.by_weights([("2.0.0", 5000), ("1.0.0", 5000)]))


async def test_a_user_gets_the_same_version_by_header_and_by_body(make):
    client = make(HALVES)
    seen = set()
    for number in range(40):
        by_header = (await client.post(PREDICT, ONE_ROW, x_user_id=f"u{number}")).headers["x-model-version"]
        by_body = (await client.post(PREDICT, {**ONE_ROW, "user_id": f"u{number}"})).headers["x-model-version"]
        by_tensors = {
            "inputs": [{"name": "i", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}],
            "parameters": {"user_id": f"u{number}"},
        }
        by_infer = (await client.post("/v2/models/m/infer", by_tensors)).headers["x-model-version"]
        assert by_header == by_body == by_infer == HALVES.models["m"].split.choose(f"u{number}", salt="salt")
        seen.add(by_header)
    assert seen == {"1.0.0", "2.0.0"}


async def test_without_a_user_the_request_id_decides(make):
    client = make(HALVES)
    versions = [(await client.post(PREDICT, ONE_ROW)).json()["version"] for _ in range(60)]
    assert 10 < versions.count("1.0.0") < 50


async def test_a_path_names_a_version(make):
    client = make(table(target("1.0.0"), target("2.0.0")))
    assert (await client.post("/v2/models/m/versions/2.0.0/predict", ONE_ROW)).json()["version"] == "2.0.0"
    error_of(await client.post("/v2/models/m/versions/3.0.0/predict", ONE_ROW), 404, "not_found")


async def test_a_newer_table_takes_over_and_an_older_one_is_refused(make, predictor):
    client = make(table(target("1.0.0"), epoch=5))
    assert client.app.apply(table(target("2.0.0"), epoch=6))
    assert not client.app.apply(table(target("1.0.0"), epoch=5))
    assert client.app.table.epoch == 6
    assert (await client.post(PREDICT, ONE_ROW)).json()["version"] == "2.0.0"


async def test_requests_on_a_version_that_leaves_are_answered_and_counted_down(make, predictor):
    client = make()
    predictor.hold()
    tasks = [asyncio.create_task(client.post(PREDICT, ONE_ROW)) for _ in range(5)]
    await asyncio.sleep(0.01)
    client.app.apply(table(target("2.0.0"), epoch=2))
    assert client.app.in_flight("m-1.0.0") == 5
    predictor.let_go()
    assert {response.json()["version"] for response in await asyncio.gather(*tasks)} == {"1.0.0"}
    assert client.app.in_flight("m-1.0.0") == 0
    assert client.app.in_flight("never heard of") == 0
    client.app.apply(table(target("2.0.0"), epoch=3))
    assert counts(client.app).counts == {"ok": 5}  # what it did is not forgotten


async def test_an_unreadable_schema_puts_only_its_version_out_of_order(make):
    client = make(table(target("1.0.0", schema={"features": "?"}), target("2.0.0")))
    error_of(await client.post(PREDICT, ONE_ROW), 503, "unavailable")
    assert (await client.post("/v2/models/m/versions/2.0.0/predict", ONE_ROW)).status == 200


async def test_before_the_first_table_nothing_can_be_answered(predictor):
    client = AsgiClient(GatewayApp(predictor, GatewayLimits(), SystemClock()))
    assert error_of(await client.post(PREDICT, ONE_ROW), 503, "unavailable")["retry_after_s"] == 1
    assert (await client.get("/v2/health/ready")).status == 503
    assert (await client.get("/v2/health/live")).status == 200


async def test_a_split_that_leads_to_a_version_that_does_not_run(make):
    response = await make(table(target("1.0.0"), split=Split.all_to("9.0.0"))).post(PREDICT, ONE_ROW)
    error_of(response, 503, "unavailable")
    assert response.headers["retry-after"] == "1"


# --- who may ask, and how -----------------------------------------------------------------------------------------


async def test_keys(make):
    client = make(table(policy=KEYS))
    response = await client.post(PREDICT, ONE_ROW)
    error_of(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    error_of(await client.post(PREDICT, ONE_ROW, x_api_key="wrong"), 401, "unauthorized")
    assert (await client.post(PREDICT, ONE_ROW, x_api_key="right")).status == 200
    assert (await client.post(PREDICT, ONE_ROW, authorization="Bearer right")).status == 200


async def test_health_needs_no_key_but_metadata_does(make):
    client = make(table(policy=KEYS))
    for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
        assert (await client.get(path)).status == 200
    for path in ("/v2/models/m", "/v2/models/m/ready"):
        error_of(await client.get(path), 401, "unauthorized")


async def test_a_revoked_key_is_refused_with_the_next_table(make):
    client = make(table(policy=KEYS))
    client.app.apply(table(epoch=2, policy=GatewayPolicy(api_key_required=True)))
    error_of(await client.post(PREDICT, ONE_ROW, x_api_key="right"), 401, "unauthorized")


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "code"),
    [
        (PREDICT, b"{", {}, 400, "bad_request"),
        (PREDICT, b"{}", {}, 400, "bad_request"),
        (PREDICT, b'{"instances": [[1, "a"]]}', {}, 422, "invalid_features"),
        (PREDICT, b'{"instances": [[1]]}', {}, 422, "invalid_features"),
        (PREDICT, b'{"instances": [[1, 2]]}', {"content_type": "text/csv"}, 415, "unsupported_media_type"),
        (PREDICT, b"x" * 2000, {}, 413, "body_too_large"),
        (PREDICT, b"{}", {"content_length": "5000"}, 413, "body_too_large"),
        (PREDICT, b'{"instances": [[1, 2],[1, 2],[1, 2],[1, 2]]}', {}, 422, "invalid_input"),
        ("/v2/models/other/predict", b'{"instances": [[1, 2]]}', {}, 404, "not_found"),
        ("/v2/models/m/feedback", b"{}", {}, 404, "not_found"),
        ("/v2/models/m", b"{}", {}, 405, "method_not_allowed"),
        ("/v2/models/m/infer", b'{"inputs": 1}', {}, 400, "bad_request"),
    ],
)
async def test_what_is_refused(make, predictor, path, body, headers, status, code):
    client = make(max_body_bytes=1000, max_request_rows=3)
    error_of(await client.post(path, body, **headers), status, code)
    assert not predictor.batches
    assert all(one.blamed == 0 for one in client.app.snapshot())


async def test_wrong_features_are_each_named(make):
    document = error_of(await make().post(PREDICT, {"instances": [["a", 1], [1, "b"]]}), 422, "invalid_features")
    assert len(document["problems"]) == 2


async def test_a_wrong_method_names_the_right_one(make):
    assert (await make().get(PREDICT)).headers["allow"] == "POST"


async def test_a_request_id_that_cannot_be_echoed_is_replaced(make):
    response = await make().post(PREDICT, ONE_ROW, x_request_id="a\tb")
    assert response.headers["x-request-id"] == response.json()["request_id"] != "a\tb"


# --- what goes wrong behind it ------------------------------------------------------------------------------------


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


# --- what it tells about itself -----------------------------------------------------------------------------------


async def test_server_and_model_metadata(make):
    client = make(table(target("1.0.0"), target("2.0.0")))
    server = (await client.get("/v2")).json()
    assert server["name"] == "streamb"
    assert server["extensions"] == ["binary_tensor_data"]
    model = (await client.get("/v2/models/m")).json()
    assert model["versions"] == ["1.0.0", "2.0.0"]
    assert model["inputs"] == [
        {"name": "input", "datatype": "FP64", "shape": [-1, 2], "parameters": {"columns": ["x0", "x1"]}}
    ]
    assert [output["name"] for output in model["outputs"]] == ["predictions"]
    assert (await client.get("/v2/models/m/versions/2.0.0")).json()["versions"] == ["2.0.0"]
    error_of(await client.get("/v2/models/x"), 404, "not_found")
    error_of(await client.get("/v2/models/m/versions/3.0.0/ready"), 404, "not_found")


async def test_readiness_of_models(make):
    client = make()
    assert (await client.get("/v2/models/m/ready")).json() == {"name": "m", "ready": True}
    assert (await client.get("/v2/models/m/versions/1.0.0/ready")).status == 200
    client.app.apply(table(target(schema={"features": "?"}), epoch=2))
    assert (await client.get("/v2/models/m/ready")).status == 503


async def test_what_is_counted(make):
    client = make()
    await client.post(PREDICT, {"instances": [[1, 2]] * 3})
    await client.post(PREDICT, {"instances": [[1]]})
    await client.post("/v2/models/x/predict", ONE_ROW)
    await client.get("/v2/health/live")
    (unrouted, version) = merge(client.app.snapshot())
    assert unrouted.codes == {404: 1}
    assert version.counts == {"ok": 1, "client_error": 1}
    assert (version.rows, version.batch_rows, version.latency.count) == (3, 3, 1)


async def test_lifespan_and_websocket(make):
    app = make().app
    sent = []
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    await app({"type": "websocket"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]
