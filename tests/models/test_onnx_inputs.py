"""ONNX graphs with inputs of every type and shape, several outputs, and a fixed number of rows."""

from __future__ import annotations

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper

from streamb.errors import ArtifactUnsupported, InvalidFeatures, InvalidInput, ModelFailed
from streamb.models import FeatureKind, Model

FLOAT = TensorProto.FLOAT
TYPES = {
    "float": np.float32, "double": np.float64, "float16": np.float16, "int8": np.int8, "int16": np.int16,
    "int32": np.int32, "int64": np.int64, "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32,
    "uint64": np.uint64, "bool": np.bool_,
}  # fmt: skip


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes, inputs, outputs, weights=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=list(weights))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return Model.wrap(proto)


def identity(kind, shape, outputs=("y",)):
    nodes = [helper.make_node("Identity", ["x"], [name]) for name in outputs]
    return model_of(nodes, [value("x", kind, shape)], [value(name, kind, shape) for name in outputs])


@pytest.mark.parametrize("name", TYPES)
def test_every_type_of_numbers(tmp_path, name):
    kind = TYPES[name]
    model = identity(helper.np_dtype_to_tensor_dtype(np.dtype(kind)), [None, 2])
    found = model.predict(np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert (found.dtype, found.tolist()) == (np.dtype(kind), [[0, 1], [1, 0]])
    model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    assert again.schema == model.schema
    np.testing.assert_array_equal(again.predict(found), found)


@pytest.mark.parametrize("wrong", [-1, 256, 0.5, np.nan])
def test_a_number_that_the_type_cannot_hold_is_refused_not_changed(wrong):
    model = identity(TensorProto.UINT8, [None, 2])
    assert {(one.kind, one.dtype) for one in model.schema.features} == {(FeatureKind.INTEGER, "uint8")}
    with pytest.raises(InvalidInput, match="'x' takes whole numbers from 0 to 255"):
        model.predict(np.array([[1, wrong]]))


def join(shapes, kind=FLOAT):
    """A graph that adds the means of its inputs, row by row."""
    nodes, sums = [], []
    for name, shape in shapes.items():
        axes = {"axes": list(range(1, len(shape))), "keepdims": 0} if len(shape) > 1 else {}
        nodes.append(helper.make_node("ReduceMean" if axes else "Identity", [name], [f"m_{name}"], **axes))
        sums.append(f"m_{name}")
    nodes.append(helper.make_node("Sum", sums, ["y"]))
    inputs = [value(name, kind, shape) for name, shape in shapes.items()]
    return model_of(nodes, inputs, [value("y", kind, [next(iter(shapes.values()))[0]])])


def test_several_inputs_of_any_shape_go_by_name():
    model = join({"image": [None, 2, 2], "vector": [None, 3]})
    image, vector = np.arange(8.0).reshape(2, 2, 2), np.ones((2, 3))
    assert model.predict({"vector": vector, "image": image}).tolist() == [2.5, 6.5]
    for given in ({"image": image}, {"image": image, "other": vector}):
        with pytest.raises(InvalidInput, match="takes the inputs image, vector"):
            model.predict(given)


def test_rows_of_tensors_are_checked_against_the_graph():
    model = join({"image": [None, 2, 2], "weight": [None]})
    rows = [{"image": [[0, 1], [2, 3]], "weight": 1}, {"image": [[4, 5], [6, 7]], "weight": 0.5}]
    assert model.schema.container == "tensors"
    assert model.predict(model.to_input(model.schema.check_rows(rows))).tolist() == [2.5, 6.0]
    with pytest.raises(InvalidFeatures, match="image"):
        model.schema.check_rows([{"image": [1, 2, 3], "weight": 1}])
    alone = identity(FLOAT, [None, 3, None])
    assert [(one.shape, one.dtype) for one in alone.schema.features] == [((3, None), "float32")]
    given = alone.to_input(alone.schema.check_rows([[[1], [2], [3]]]))
    assert alone.predict(given).shape == (1, 3)


def test_columns_of_a_frame_or_an_array_are_inputs():
    model = join({"a": [None, 1], "b": [None, 1]})
    table = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert model.predict(pd.DataFrame(table, columns=["b", "a"])).tolist() == [3.0, 7.0]
    assert model.predict(table).tolist() == [3.0, 7.0]


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7])
def test_a_fixed_number_of_rows_is_split_and_filled_up(rows):
    model = join({"a": [3, 2, 2], "b": [3, 1]})
    data = {"a": np.random.default_rng(rows).normal(size=(rows, 2, 2)), "b": np.arange(float(rows))}
    expected = [float(np.mean(data["a"][row]) + data["b"][row]) for row in range(rows)]
    np.testing.assert_allclose(model.predict(data), expected, rtol=1e-6)


def test_a_fixed_number_of_rows_that_are_not_answered_one_by_one_is_refused():
    model = model_of([helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1)], [value("x", FLOAT, [2, 2])],
                     [value("y", FLOAT, [1, 1])])  # fmt: skip
    with pytest.raises(ModelFailed, match="treat each row by itself"):
        model.predict(np.ones((3, 2)))


def test_several_outputs_are_answered_by_name():
    found = identity(FLOAT, [None, 2], outputs=("first", "second")).predict(np.ones((3, 2)))
    assert {name: part.shape for name, part in found.items()} == {"first": (3, 2), "second": (3, 2)}


def test_whole_numbers_beside_boxes_are_no_labels():
    nodes = [
        helper.make_node("Cast", ["x"], ["count"], to=TensorProto.INT64),
        helper.make_node("Identity", ["x"], ["boxes"]),
    ]
    model = model_of(nodes, [value("x", FLOAT, [None, 2])],
                     [value("count", TensorProto.INT64, [None, 2]), value("boxes", FLOAT, [None, 2])])  # fmt: skip
    assert (model.task, model.has_probabilities) == ("other", False)
    assert set(model.predict(np.ones((1, 2)))) == {"count", "boxes"}


def test_inputs_that_nothing_can_feed_are_refused_with_the_way_out():
    constant = numpy_helper.from_array(np.array(1.0, np.float32), "one")
    nodes = [helper.make_node("Add", ["x", "one"], ["y"])]
    with pytest.raises(ArtifactUnsupported, match=r"'x' is one value for all rows; give it an axis for rows"):
        model_of(nodes, [value("x", FLOAT, [])], [value("y", FLOAT, [])], [constant])
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=FLOAT)]
    with pytest.raises(ArtifactUnsupported, match=r"bfloat16.*convert it in the graph"):
        model_of(nodes, [value("x", TensorProto.BFLOAT16, [None, 2])], [value("y", FLOAT, [None, 2])])
    nodes = [helper.make_node("ConcatFromSequence", ["x"], ["y"], axis=0)]
    sequence = helper.make_tensor_sequence_value_info("x", FLOAT, [None, 2])
    with pytest.raises(ArtifactUnsupported, match=r"seq\(tensor\(float\)\).*SplitToSequence"):
        model_of(nodes, [sequence], [value("y", FLOAT, [None, 2])])
