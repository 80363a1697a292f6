import orjson

from streamb.models.schema import Feature, FeatureKind, FeatureSchema
from streamb.serving.http.routes import parse_route
from streamb.serving.metadata import describe
from streamb.serving.targets import TableBuilder
from streamb.traffic import ModelRoute, RoutingTable, Split, VersionTarget
from tests.serving.predictors import table, target


def look(path, routing):
    reply = describe(parse_route("GET", path), TableBuilder().build(routing), "0.1.0")
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


def test_a_classifier_offers_probabilities():
    classifier = VersionTarget("1.0.0", "a", {}, "classification")
    route = ModelRoute("m", "s", Split.all_to("1.0.0"), {"1.0.0": classifier})
    _, model = look("/v2/models/m", RoutingTable(1, {"m": route}))
    assert [output["name"] for output in model["outputs"]] == ["predictions", "probabilities"]
    assert model["inputs"] == [{"name": "input", "datatype": "FP64", "shape": [-1, -1]}]


def test_a_model_without_versions_is_known_but_not_ready():
    routing = RoutingTable(1, {"m": ModelRoute("m", "s", Split.all_to("1.0.0"), {})})
    assert look("/v2/models/m/ready", routing) == (503, {"name": "m", "ready": False})
    assert look("/v2/models/m", routing)[1]["versions"] == []


def test_the_server_is_ready_with_its_first_table():
    assert look("/v2/health/ready", RoutingTable())[0] == 503
    assert look("/v2/health/ready", RoutingTable(epoch=1)) == (200, {"ready": True})
