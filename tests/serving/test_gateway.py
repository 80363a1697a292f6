import asyncio

import numpy as np
import orjson
import pytest

from streamb.clock import SystemClock
from streamb.metrics import merge
from streamb.serving import BatchReply, GatewayApp, GatewayLimits
from tests.serving.asgi_client import AsgiClient
from tests.serving.gateways import ONE_ROW, PREDICT, counts, error_of, one_by_one
from tests.serving.predictors import table, target


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


@pytest.mark.parametrize(
    ("method", "path", "takes"),
    [
        ("POST", PREDICT, "probabilities"),
        ("POST", "/v2/models/m/infer", "none"),
        ("POST", "/v2/models/m/feedback", "none"),
        ("GET", "/v2/models/m", "none"),
        ("GET", "/v2/models/m/ready", "none"),
        ("GET", "/v2", "none"),
        ("GET", "/v2/health/live", "none"),
    ],
)
@pytest.mark.parametrize("query", ["probabilites=true", "probabilites="])
async def test_an_unknown_query_parameter_is_refused(make, method, path, takes, query):
    client = make()
    address = f"{path}?{query}"
    answer = client.post(address, ONE_ROW) if method == "POST" else client.get(address)
    error = error_of(await answer, 422, "invalid_input")["error"]
    assert error == f"there is no query parameter 'probabilites' here; this path takes {takes}"


async def test_an_unknown_field_is_refused(make):
    body = error_of(await make().post(PREDICT, {**ONE_ROW, "probabilites": True}), 422, "invalid_input")
    assert body["error"] == ("a prediction has no field 'probabilites'; it takes instances, probabilities, user_id")


async def test_probabilities_that_the_model_does_not_have():
    class NoChances:
        def replicas(self, target):
            return 1

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
