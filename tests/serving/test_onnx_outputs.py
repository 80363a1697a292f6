"""The outputs of ONNX graphs under their own names: in the signature, the metadata and the answers."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from streamb.models import Model
from streamb.models.signature import Output
from streamb.store.plain import to_plain
from tests.models.test_onnx_inputs import model_of, value
from tests.serving.answering import learned, served
from tests.serving.gateways import PREDICT, error_of
from tests.serving.test_answers import INFER

X = np.array([[0.5, 1.5], [2.0, 3.0]], np.float32)
ROWS = {"instances": X.tolist()}
INPUT = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": X.ravel().tolist()}


def graph(nodes, outputs):
    return model_of(nodes, [value("x", TensorProto.FLOAT, [None, 2])], outputs)


def single():
    node = helper.make_node("ReduceSum", ["x", "axes"], ["variable"], keepdims=1)
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    outputs = [value("variable", TensorProto.FLOAT, [None, 1])]
    return model_of([node], [value("x", TensorProto.FLOAT, [None, 2])], outputs, [axes])


def several():
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Cast", ["x"], ["whole"], to=TensorProto.INT8),
        helper.make_node("Cast", ["x"], ["text"], to=TensorProto.STRING),
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
    ]
    kinds = {"same": TensorProto.FLOAT, "whole": TensorProto.INT8, "text": TensorProto.STRING, "half": 10}
    return graph(nodes, [value(name, kind, [None, 2]) for name, kind in kinds.items()])


async def infer(client, *names):
    wanted = [{"name": name} for name in names]
    return (await client.post(INFER, {"inputs": [INPUT], "outputs": wanted})).json()["outputs"]


def test_a_graph_tells_its_outputs_without_being_asked():
    assert single().outputs == (Output("variable", "tensor", "float32", (1,)),)
    kinds = [(one.name, one.kind, one.dtype, one.shape) for one in several().outputs]
    assert kinds == [
        ("same", "tensor", "float32", (2,)),
        ("whole", "tensor", "int8", (2,)),
        ("text", "text", "", (2,)),
        ("half", "tensor", "float16", (2,)),
    ]


@pytest.mark.parametrize("trialed", [True, False])
async def test_a_single_output_has_its_own_name_and_shape(trialed):
    model = single()
    known = learned(model, X) if trialed else {"outputs": tuple(map(to_plain, model.outputs))}
    async with served(model, **known) as (client, _):
        told = (await client.get("/v2/models/m")).json()["outputs"]
        own, alias = await infer(client), await infer(client, "predictions", "variable")
        rows = (await client.post(PREDICT, ROWS)).json()["predictions"]
    assert told == [{"name": "variable", "datatype": "FP32", "shape": [-1, 1]}]
    assert own == [{"name": "variable", "datatype": "FP32", "shape": [2, 1], "data": [2, 5]}]
    assert alias == [{"name": "predictions", "datatype": "FP32", "shape": [2], "data": [2, 5]}, *own]
    assert rows == [2, 5]


async def test_a_version_of_before_answers_predictions():
    old = {"name": "predictions", "kind": "number", "dtype": "float32", "shape": []}
    async with served(single(), outputs=(old,)) as (client, _):
        assert await infer(client) == [{"name": "predictions", "datatype": "FP32", "shape": [2], "data": [2, 5]}]


async def test_several_outputs_come_as_they_are():
    model = several()
    async with served(model, **learned(model, X)) as (client, _):
        told = (await client.get("/v2/models/m")).json()["outputs"]
        found = await infer(client)
        some = await infer(client, "half", "predictions")
        unknown = await client.post(INFER, {"inputs": [INPUT], "outputs": [{"name": "nothing"}]})
        rows = (await client.post(PREDICT, ROWS)).json()["predictions"]
    assert [(one["name"], one["datatype"]) for one in told] == [
        ("same", "FP32"),
        ("whole", "INT8"),
        ("text", "BYTES"),
        ("half", "FP16"),
    ]
    assert [(one["name"], one["datatype"], one["shape"]) for one in found] == [
        (one["name"], one["datatype"], [2, *one["shape"][1:]]) for one in told
    ]
    assert found[1]["data"] == [0, 1, 2, 3]
    assert [one["name"] for one in some] == ["half", "predictions"]
    assert rows[1] == {"same": [2, 3], "whole": [2, 3], "text": ["2", "3"], "half": [2, 3]}
    message = error_of(unknown, 400, "unknown_output")["error"]
    assert "same, whole, text, half, predictions" in message


@pytest.mark.parametrize("zipped", [False, True])
async def test_a_classifier_answers_its_label_by_name_and_probabilities_as_such(zipped):
    scores = "scores" if zipped else "output_probability"
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["x"],
            ["output_label", scores],
            domain="ai.onnx.ml",
            classlabels_strings=["no", "yes"],
            coefficients=[-1.0, 0.0, 1.0, 0.0],
            intercepts=[0.0, 0.0],
            post_transform="SOFTMAX",
        )
    ]
    chances = value("output_probability", TensorProto.FLOAT, [None, 2])
    if zipped:
        labels = {"classlabels_strings": ["no", "yes"]}
        nodes.append(helper.make_node("ZipMap", [scores], ["output_probability"], domain="ai.onnx.ml", **labels))
        mapped = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
        chances = helper.make_value_info("output_probability", helper.make_sequence_type_proto(mapped))
    made = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, [None, 2])],
        [value("output_label", TensorProto.STRING, [None]), chances],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = Model.wrap(helper.make_model(made, opset_imports=opsets, ir_version=8))
    known = learned(model, X, probabilities=True)
    async with served(model, **known) as (client, _):
        told = (await client.get("/v2/models/m")).json()["outputs"]
        (label,), both = await infer(client), await infer(client, "predictions", "probabilities")
        rows = (await client.post(PREDICT, {**ROWS, "probabilities": True})).json()
    assert told == [
        {"name": "output_label", "datatype": "BYTES", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 2], "parameters": {"classes": ["no", "yes"]}},
    ]
    assert label == {"name": "output_label", "datatype": "BYTES", "shape": [2], "data": ["yes", "yes"]}
    assert (both[0]["data"], both[1]["parameters"]) == (["yes", "yes"], {"classes": ["no", "yes"]})
    assert (rows["predictions"], rows["classes"]) == (["yes", "yes"], ["no", "yes"])
    assert np.ravel(rows["probabilities"]).tolist() == both[1]["data"]
