"""The description of the data plane is true: its paths are those of the gateway, and real messages fit its schemas."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import numpy as np
import orjson
import pytest
import schemathesis

from streamb.api.data_plane import data_plane_document
from streamb.clock import SystemClock
from streamb.models.schema import FeatureSchema
from streamb.serving import BatchReply, GatewayApp, GatewayLimits
from streamb.serving.http.routes import Action, parse_route
from streamb.serving.links.frames import MalformedFrame
from streamb.traffic import GatewayPolicy, ModelRoute, RoutingTable, Split, VersionTarget
from tests.serving.asgi_client import AsgiClient
from tests.serving.predictors import SumPredictor

DOCUMENT = data_plane_document(api_key_required=False)
SCHEMA = FeatureSchema.numbers(2).to_json()
ROWS = {"instances": [[1, 2], [3, 4]]}
TENSOR = {"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [1, 2, 3, 4]}
NAMED = {"model_id": "iris", "version": "champion"}
OUTPUTS = [{"name": "predictions"}, {"name": "probabilities"}]


class Classifier(SumPredictor):
    """Answers with class labels and probabilities; where the first value is negative, with a number that is none."""

    async def predict(self, target, batch):
        asked = sum(count for count, one in zip(batch.counts, batch.probabilities, strict=False) if one)
        first = np.array([row[0] for row in batch.rows], float)
        labels = np.where(first > 2, "b", "a") if (first >= 0).all() else np.where(first < 0, np.nan, 1.0)
        return BatchReply(labels, np.tile([0.25, 0.75], (asked, 1)) if asked else None)


@pytest.fixture
def client():
    target = VersionTarget("1.0.0", "iris-1", SCHEMA, "classification", classes=["a", "b"])
    route = ModelRoute("iris", "s", Split.all_to("1.0.0"), {"1.0.0": target}, aliases={"champion": "1.0.0"})
    app = GatewayApp(Classifier(), GatewayLimits(), SystemClock())
    app.apply(RoutingTable(1, {"iris": route}, GatewayPolicy(token_key=b"k" * 32)))
    return AsgiClient(app)


def check(value, schema) -> None:
    """Raise if a value does not fit a schema of the document."""
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def operations():
    return [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]


def test_the_paths_are_those_of_the_gateway_and_those_that_are_documented():
    actions = {parse_route(method.upper(), path.format(**NAMED)).action for path, method in operations()}
    assert actions == set(Action)
    prose = (Path(__file__).parents[2] / "docs/api.md").read_text()
    told = set(re.findall(r"`((?:GET|POST) /v2[^`\s]*)`", prose))
    short = {"{model_id}": "{m}", "{version}": "{v}"}
    described = {f"{method.upper()} {path}" for path, method in operations()}
    for long, word in short.items():
        described = {one.replace(long, word) for one in described}
    assert described == told


def test_the_document_is_one_of_openapi():
    loaded = schemathesis.openapi.from_dict(DOCUMENT)
    found = [one.ok() for one in loaded.get_all_operations()]
    assert len(found) == len(operations())
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    references = set(re.findall(r'"#/components/(\w+)/([\w-]+)"', orjson.dumps(DOCUMENT).decode()))
    assert all(name in DOCUMENT["components"][kind] for kind, name in references)
    used = {(kind, name) for kind, names in DOCUMENT["components"].items() for name in names} - references
    assert {kind for kind, _ in used} == {"securitySchemes"}, "what nothing refers to"


def test_a_key_is_described_where_one_is_needed():
    closed = data_plane_document(api_key_required=True)
    assert closed["security"]
    assert "security" not in DOCUMENT
    opened = {path for path, item in closed["paths"].items() if item.get("get", {}).get("security") == []}
    assert opened == {"/v2", "/v2/health/live", "/v2/health/ready"}


INFER, PREDICT, FEEDBACK = (
    "/v2/models/{model_id}/infer",
    "/v2/models/{model_id}/predict",
    "/v2/models/{model_id}/feedback",
)
VERSION = "/v2/models/{model_id}/versions/{version}"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("get", "/v2", None, 200),
        ("get", "/v2/health/live", None, 200),
        ("get", "/v2/health/ready", None, 200),
        ("get", "/v2/models", None, 200),
        ("get", "/v2/models/{model_id}", None, 200),
        ("get", "/v2/models/{model_id}/ready", None, 200),
        ("get", VERSION, None, 200),
        ("get", f"{VERSION}/ready", None, 200),
        ("post", PREDICT, ROWS, 200),
        ("post", PREDICT, {**ROWS, "user_id": 7, "probabilities": True}, 200),
        ("post", PREDICT, {**ROWS, "user_id": None, "probabilities": None}, 200),
        ("post", PREDICT, {"instances": [[1, 2], [-1, 2]]}, 200),
        ("post", f"{VERSION}/predict", {"instances": [[1, 2]]}, 200),
        ("post", INFER, {"inputs": [TENSOR]}, 200),
        ("post", INFER, {"inputs": [TENSOR], "id": "a", "parameters": {"user_id": "u"}, "outputs": OUTPUTS}, 200),
        ("post", INFER, {"inputs": [TENSOR], "id": None, "parameters": None, "outputs": None}, 200),
        ("post", INFER, {"inputs": [{**TENSOR, "data": [[1, 2], [-1, 2]]}]}, 200),
        ("post", f"{VERSION}/infer", {"inputs": [TENSOR]}, 200),
        ("post", FEEDBACK, {"request_id": "x", "label": ["a", None], "success": True, "value": 1.5}, 202),
        ("post", FEEDBACK, {"request_id": "x", "label": "a", "value": None}, 202),
        ("post", PREDICT, {"instances": [[1, "x"]]}, 422),
        ("post", INFER, {"inputs": [{**TENSOR, "shape": [3, 2]}]}, 400),
        ("post", FEEDBACK, {"request_id": "x"}, 422),
    ],
)
async def test_real_messages_fit_the_schemas(client, method, path, body, status):
    operation = DOCUMENT["paths"][path][method]
    if body is not None:
        check(body, operation["requestBody"]["content"]["application/json"]["schema"])
    url = path.format(**NAMED)
    answer = await (client.get(url) if method == "get" else client.post(url, body))
    assert answer.status == status, answer.json()
    described = operation["responses"][str(status)]
    check(answer.json(), described["content"]["application/json"]["schema"])
    assert {name.lower() for name in described["headers"]} <= answer.headers.keys()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PREDICT, {}),
        (PREDICT, {"instances": []}),
        (PREDICT, {"instances": [1]}),
        (PREDICT, {**ROWS, "more": 1}),
        (PREDICT, {**ROWS, "probabilities": "yes"}),
        (INFER, {"inputs": []}),
        (INFER, {"inputs": [{**TENSOR, "datatype": "FP65"}]}),
        (INFER, {"inputs": [{**TENSOR, "shape": []}]}),
        (INFER, {"inputs": [TENSOR], "id": 5}),
        (INFER, {"inputs": [TENSOR], "outputs": [{}]}),
        (FEEDBACK, {"label": "a"}),
        (FEEDBACK, {"request_id": "x", "label": []}),
        (FEEDBACK, {"request_id": "x", "success": 1}),
        (FEEDBACK, {"request_id": "x", "value": 1e13}),
    ],
)
async def test_what_the_schemas_refuse_the_gateway_refuses(client, path, body):
    with pytest.raises(jsonschema.ValidationError):
        check(body, DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"])
    answer = await client.post(path.format(**NAMED), body)
    assert answer.status in (400, 422)
    check(
        answer.json(),
        DOCUMENT["paths"][path]["post"]["responses"][str(answer.status)]["content"]["application/json"]["schema"],
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x_model_version": "7.7.7"}, 404),
        ({"x_request_timeout_ms": "0"}, 400),
        ({"content_type": "text/plain"}, 415),
        ({"x_model_version": "champion", "x_user_id": "u", "x_request_id": "r", "x_request_timeout_ms": "900"}, 200),
    ],
)
async def test_the_headers_do_what_is_described(client, headers, status):
    answer = await client.post("/v2/models/iris/predict", ROWS, **headers)
    assert answer.status == status
    parameters = DOCUMENT["components"]["parameters"].values()
    described = {one["name"].lower() for one in parameters if one["in"] == "header"}
    assert {name.replace("_", "-") for name in headers} - {"content-type"} <= described
    check(
        answer.json(),
        DOCUMENT["paths"][PREDICT]["post"]["responses"][str(status)]["content"]["application/json"]["schema"],
    )


def test_every_code_of_an_error_is_described_whatever_is_imported():
    codes = DOCUMENT["components"]["schemas"]["Error"]["properties"]["code"]["enum"]
    assert {"bad_request", "not_found", "invalid_features", "model_error", "timeout", "overloaded"} <= set(codes)
    assert MalformedFrame.code not in codes, "no client meets it"
