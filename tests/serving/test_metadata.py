import numpy as np
import orjson
import pytest

from streamb.clock import SystemClock
from streamb.models.schema import Feature, FeatureKind, FeatureSchema
from streamb.models.signature import Output
from streamb.serving import GatewayApp, GatewayLimits
from streamb.serving.http.routes import parse_route
from streamb.serving.metadata import MOST_MODELS, describe
from streamb.serving.targets import TableBuilder
from streamb.store.plain import to_plain
from streamb.traffic import GatewayPolicy, ModelRoute, RoutingTable, Split, VersionTarget
from tests.serving.asgi_client import AsgiClient
from tests.serving.predictors import SumPredictor, table, target


def look(path, routing, headers=(), replicas=lambda _: 1):
    reply = describe(parse_route("GET", path), dict(headers), TableBuilder().build(routing), "0.1.0", replicas)
    return reply.status, orjson.loads(reply.body)


def test_a_frame_has_one_tensor_for_each_column():
    columns = (
        Feature("age"),
        Feature("visits", FeatureKind.INTEGER),
        Feature("member", FeatureKind.BOOLEAN),
        Feature("city", FeatureKind.CATEGORY),
    )
    _, model = look("/v2/models/m", table(target(schema=FeatureSchema(columns, "frame").to_json())))
    assert model["inputs"] == [
        {"name": "age", "datatype": "FP64", "shape": [-1]},
        {"name": "visits", "datatype": "INT64", "shape": [-1]},
        {"name": "member", "datatype": "BOOL", "shape": [-1]},
        {"name": "city", "datatype": "BYTES", "shape": [-1]},
    ]


def inputs_of(schema):
    return look("/v2/models/m", table(target(schema=schema.to_json())))[1]["inputs"]


ISO = {"format": "ISO 8601"}


@pytest.mark.parametrize(
    ("feature", "wanted"),
    [
        (Feature("a", FeatureKind.INTEGER, dtype="uint8"), {"datatype": "UINT8"}),
        (
            Feature("a", FeatureKind.INTEGER, dtype="Int32", nullable=True),
            {"datatype": "INT32", "parameters": {"nullable": True}},
        ),
        (Feature("a", dtype="float32"), {"datatype": "FP32"}),
        (Feature("a", FeatureKind.BOOLEAN, dtype="boolean"), {"datatype": "BOOL"}),
        (
            Feature("a", FeatureKind.DATETIME, dtype="datetime64[us]", zone="UTC"),
            {"datatype": "BYTES", "parameters": {"kind": "datetime", **ISO, "unit": "us", "time_zone": "UTC"}},
        ),
        (
            Feature("a", FeatureKind.CATEGORY, categories=(3, 1), ordered=True),
            {"datatype": "INT64", "parameters": {"categories": [3, 1], "ordered": True}},
        ),
        (
            Feature("a", FeatureKind.CATEGORY, categories=("x", "y")),
            {"datatype": "BYTES", "parameters": {"categories": ["x", "y"], "ordered": False}},
        ),
        (Feature("a", FeatureKind.TENSOR, dtype="int8", shape=(None, 3)), {"datatype": "INT8", "shape": [-1, -1, 3]}),
        (
            Feature("a", FeatureKind.ANY, optional=True),
            {"datatype": "BYTES", "parameters": {"kind": "any", "nullable": True, "optional": True}},
        ),
    ],
)
def test_each_input_tells_its_type_and_what_it_takes(feature, wanted):
    assert inputs_of(FeatureSchema((feature,), "frame")) == [{"name": "a", "shape": [-1], **wanted}]


def test_columns_of_one_type_are_one_tensor():
    data = np.ones((3, 2), np.float32)
    schema = FeatureSchema.learn(data)
    assert inputs_of(schema) == [
        {"name": "input", "datatype": "FP32", "shape": [-1, 2], "parameters": {"columns": ["x0", "x1"]}}
    ]
    (image,) = inputs_of(FeatureSchema.learn(np.zeros((2, 3, 8, 8), np.uint8)))
    assert image == {"name": "input", "datatype": "UINT8", "shape": [-1, 3, 8, 8]}


def test_a_classifier_offers_probabilities():
    classifier = VersionTarget("1.0.0", "a", {}, "classification")
    route = ModelRoute("m", "s", Split.all_to("1.0.0"), {"1.0.0": classifier})
    _, model = look("/v2/models/m", RoutingTable(1, {"m": route}))
    assert [output["name"] for output in model["outputs"]] == ["predictions", "probabilities"]
    assert model["inputs"] == [{"name": "input", "datatype": "FP64", "shape": [-1, -1]}]


def outputs_told(**known):
    route = ModelRoute("m", "s", Split.all_to("1.0.0"), {"1.0.0": VersionTarget("1.0.0", "a", {}, **known)})
    return look("/v2/models/m", RoutingTable(1, {"m": route}))[1]["outputs"]


@pytest.mark.parametrize(
    ("output", "datatype", "shape"),
    [
        (Output("predictions", "number", "float32"), "FP32", [-1]),
        (Output("predictions", "integer", "int64"), "INT64", [-1]),
        (Output("predictions", "boolean", "bool"), "BOOL", [-1]),
        (Output("predictions", "text"), "BYTES", [-1]),
        (Output("predictions", "tensor", "float64", (3, None)), "FP64", [-1, 3, -1]),
        (Output("predictions", "list", "", (None,)), "BYTES", [-1]),
        (Output("predictions", "object"), "BYTES", [-1]),
        (Output("predictions", "any"), "BYTES", [-1]),
        (Output("predictions", "number", "float129"), "BYTES", [-1]),
    ],
)
def test_what_a_trial_found_is_told(output, datatype, shape):
    inner = Output("predictions.score", "number", "float64")
    assert outputs_told(outputs=(to_plain(output), to_plain(inner)), task="classification") == [
        {"name": "predictions", "datatype": datatype, "shape": shape}
    ]


def test_the_classes_are_told_with_the_probabilities():
    known = (Output("predictions", "text"), Output("probabilities", "tensor", "float64", (2,)))
    probabilities = {"name": "probabilities", "datatype": "FP64", "parameters": {"classes": ["a", "b"]}}
    told = outputs_told(outputs=tuple(map(to_plain, known)), classes=("a", "b"), task="classification")
    assert told[1] == {**probabilities, "shape": [-1, 2]}
    assert outputs_told(classes=("a", "b"), task="classification")[1] == {**probabilities, "shape": [-1, -1]}
    assert outputs_told(classes=("a", "b")) == outputs_told(), "a model without probabilities"


def test_a_model_without_versions_is_known_but_not_ready():
    routing = RoutingTable(1, {"m": ModelRoute("m", "s", Split.all_to("1.0.0"), {})})
    assert look("/v2/models/m/ready", routing) == (503, {"name": "m", "ready": False})
    assert look("/v2/models/m", routing)[1]["versions"] == []


def test_the_server_is_ready_with_its_first_table():
    assert look("/v2/health/ready", RoutingTable())[0] == 503
    assert look("/v2/health/ready", RoutingTable(epoch=1)) == (200, {"ready": True})


def test_a_model_is_ready_while_a_replica_of_a_version_that_takes_requests_answers():
    targets = {number: VersionTarget(number, f"m-{number}", {}) for number in ("1.0.0", "2.0.0")}
    routing = RoutingTable(1, {"m": ModelRoute("m", "s", Split.all_to("1.0.0"), targets)})
    for running, model, stable, preview in (("12", 200, 200, 200), ("1", 200, 200, 503), ("2", 503, 503, 200)):

        def replicas(target, running=running):
            return 2 * (target.version[0] in running)

        paths = ("/v2/models/m/ready", "/v2/models/m/versions/1.0.0/ready", "/v2/models/m/versions/2.0.0/ready")
        found = [look(path, routing, replicas=replicas)[0] for path in paths]
        assert found == [model, stable, preview], running
        assert look("/v2/health/ready", routing, replicas=replicas)[0] == 200


# --- the list of models -------------------------------------------------------------------------------------------


async def test_models_are_listed_with_their_versions_and_whether_they_answer(make, predictor):
    client = make(table(target("1.0.0"), target("2.0.0"), split=Split.all_to("1.0.0")))
    for path in ("/v2/models", "/v2/models?after="):
        answer = await client.get(path)
        assert answer.json() == {
            "models": [{"name": "m", "versions": ["1.0.0", "2.0.0"], "ready": True}],
            "next": None,
        }
    predictor.replicas = lambda target: 0
    assert (await client.get("/v2/models")).json()["models"][0]["ready"] is False
    assert (await client.post("/v2/models", {})).status == 405
    assert "takes after" in (await client.get("/v2/models?limit=3")).json()["error"]


async def test_a_list_is_bounded_and_goes_on_after_a_name(make):
    def route(name):
        return ModelRoute(name, "s", Split.all_to("1.0.0"), {"1.0.0": target("1.0.0", model=name)})

    names = [f"m{number:04d}" for number in range(MOST_MODELS + 500)]
    client = make(RoutingTable(1, {name: route(name) for name in reversed(names)}))
    first = (await client.get("/v2/models")).json()
    rest = (await client.get(f"/v2/models?after={first['next']}")).json()
    assert [one["name"] for one in (*first["models"], *rest["models"])] == names
    assert (len(first["models"]), rest["next"]) == (MOST_MODELS, None)
    assert (await client.get("/v2/models?after=zzz")).json() == {"models": [], "next": None}


async def test_a_list_needs_a_key_where_metadata_do_and_a_table(make):
    client = make(table(policy=GatewayPolicy(api_key_required=True)))
    assert (await client.get("/v2/models")).status == 401
    empty = AsgiClient(GatewayApp(SumPredictor(), GatewayLimits(), SystemClock()))
    assert (await empty.get("/v2/models")).status == 503
