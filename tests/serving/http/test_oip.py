import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamb.errors import BadRequest, InvalidFeatures, InvalidInput
from streamb.models.outputs import Answer
from streamb.models.schema import Feature, FeatureKind, FeatureSchema
from streamb.serving.answer import Origin
from streamb.serving.http.oip import TensorRequest
from streamb.serving.http.oip_binary import BinarySection, tensor_bytes
from streamb.serving.http.tensors import DTYPES, Tensor, output_tensor

NUMBERS = FeatureSchema.numbers(2)
MIXED = FeatureSchema((Feature("age"), Feature("city", FeatureKind.CATEGORY)), "frame")
ORIGIN = Origin("m", "1.0.0", "r-1")


def tensor(name="input", shape=(2, 2), datatype="FP64", data=(1, 2, 3, 4), **more):
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": list(data), **more}


def decode(*inputs, **more):
    return TensorRequest.decode(orjson.dumps({"inputs": list(inputs), **more}))


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]], [1.0, 2, 3.0, 4]])
def test_one_matrix_flat_or_nested(data):
    request = decode(tensor(data=data))
    assert request.row_count == 2
    assert request.rows(NUMBERS).tolist() == [[1, 2], [3, 4]]


def test_one_tensor_for_each_feature_in_any_order():
    x1 = tensor("x1", (2,), "INT64", [2, 4])
    x0 = tensor("x0", (2, 1), "FP32", [1.5, 3])
    assert decode(x1, x0).rows(NUMBERS).tolist() == [[1.5, 2], [3, 4]]


def test_columns_of_several_types():
    age, city = tensor("age", (2,), data=[30, 40]), tensor("city", (2,), "BYTES", ["Paris", "Rome"])
    assert decode(age, city).rows(MIXED) == [[30, "Paris"], [40, "Rome"]]


def test_texts():
    texts = tensor("text", (2,), "BYTES", ["a b", "c"])
    assert decode(texts).rows(FeatureSchema.texts()) == [["a b"], ["c"]]


def test_missing_and_unknown_columns_are_named():
    with pytest.raises(InvalidFeatures, match="x1"):
        decode(tensor("x0", (1,), data=[1]), tensor("y", (1,), data=[1])).rows(NUMBERS)


def test_a_matrix_of_the_wrong_width_is_refused():
    with pytest.raises(InvalidFeatures):
        decode(tensor(shape=(1, 4))).rows(NUMBERS)


def test_several_matrices_are_refused():
    with pytest.raises(InvalidInput, match="one of shape"):
        decode(tensor("a"), tensor("b")).rows(NUMBERS)


def test_without_a_schema_any_shape_goes():
    assert decode(tensor(shape=(1, 2, 2))).rows(None).shape == (1, 2, 2)
    assert decode(tensor(shape=(4,))).rows(None).shape == (4, 1)
    assert decode(tensor("a", (1,), data=[1]), tensor("b", (1,), "BYTES", ["x"])).rows(None) == [{"a": 1.0, "b": "x"}]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (tensor(shape=(2, 3)), "6 elements, but 4"),
        (tensor(data=["1", "2", "3", "4"]), "holds strings"),
        (tensor(data=[[1, 2], [3]]), "not a tensor"),
        (tensor(data=[True, False, True, True]), "booleans"),
        (tensor(datatype="INT64", data=[1.5, 2, 3, 4]), "fractions"),
        (tensor(datatype="UINT8", data=[1, 2, 3, 256]), "do not fit in UINT8"),
        (tensor(datatype="UINT8", data=[1, 2, 3, -1]), "do not fit in UINT8"),
        (tensor(datatype="BYTES", data=["a", "b", "c", 4]), "must be a string"),
        (tensor(datatype="FP99"), "must be one of"),
        (tensor(shape=(-1, 2)), "whole numbers"),
        (tensor(shape=(True, 4)), "whole numbers"),
        (tensor(shape=()), "whole numbers"),
        (tensor(shape=(0, 2), data=[]), "at least one"),
        (tensor(name=""), "name"),
        ({"name": "a", "shape": [1], "datatype": "FP64"}, "neither"),
        (tensor(parameters=[]), "parameters"),
        (tensor(parameters={"binary_data_size": 8}), "0 bytes are left"),
        ("a", "must be an object"),
    ],
)
def test_a_malformed_input_says_what_is_wrong(entry, message):
    with pytest.raises(BadRequest, match=message):
        decode(entry)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [tensor(), tensor()]}, "same name"),
        ({"inputs": [tensor("a"), tensor("b", (4,))]}, "first dimension"),
        ({"inputs": [tensor()], "id": 5}, '"id"'),
        ({"inputs": [tensor()], "outputs": [{"name": 5}]}, "outputs"),
        ({"inputs": [tensor()], "outputs": {"name": "predictions"}}, "outputs"),
    ],
)
def test_a_malformed_request_says_what_is_wrong(document, message):
    with pytest.raises(BadRequest, match=message):
        TensorRequest.decode(orjson.dumps(document))


def test_the_reply_is_a_tensor_for_each_output_asked_for():
    request = decode(tensor(), id="mine", outputs=[{"name": "probabilities"}, {"name": "predictions"}])
    assert request.asks_probabilities(ORIGIN.outputs)
    encoded = request.encode(Answer(np.array(["a", "b"]), np.array([[0.25, 0.75], [0.5, 0.5]])), ORIGIN)
    assert orjson.loads(encoded.body) == {
        "model_name": "m",
        "model_version": "1.0.0",
        "id": "mine",
        "outputs": [
            {"name": "probabilities", "datatype": "FP64", "shape": [2, 2], "data": [0.25, 0.75, 0.5, 0.5]},
            {"name": "predictions", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]},
        ],
    }


def test_a_user_id_travels_in_the_parameters():
    assert decode(tensor(), parameters={"user_id": "u-1"}).user_id == "u-1"


# --- the binary extension -----------------------------------------------------------------------------------------


def binary_body(*tensors: Tensor, **more) -> tuple[bytes, int]:
    chunks = [tensor_bytes(one) for one in tensors]
    inputs = [
        {
            "name": one.name,
            "shape": one.values.shape,
            "datatype": one.datatype,
            "parameters": {"binary_data_size": len(chunk)},
        }
        for one, chunk in zip(tensors, chunks, strict=True)
    ]
    head = orjson.dumps({"inputs": inputs, **more})
    return head + b"".join(chunks), len(head)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([name for name in DTYPES if name != "BYTES"]).flatmap(
        lambda name: hnp.arrays(DTYPES[name], hnp.array_shapes(min_dims=1, max_dims=3))
    )
)
def test_every_number_survives_the_binary_extension(values):
    body, length = binary_body(Tensor("t", values))
    (found,) = TensorRequest.decode(body, length).tensors
    assert found.values.dtype == values.dtype
    assert found.values.tobytes() == values.tobytes()
    assert found.values.shape == values.shape


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=20))
def test_every_text_survives_the_binary_extension(texts):
    body, length = binary_body(Tensor("t", np.array(texts, dtype=object)))
    assert TensorRequest.decode(body, length).tensors[0].values.tolist() == texts


def test_binary_and_json_inputs_in_one_request():
    numbers = np.array([[1.5, 2.0]], dtype="<f4")
    body, length = binary_body(Tensor("input", numbers), parameters={"binary_data_output": True})
    request = TensorRequest.decode(body, length)
    assert request.rows(NUMBERS).tolist() == [[1.5, 2.0]]
    encoded = request.encode(Answer(np.array([7, 8])), ORIGIN)
    headers = dict(encoded.headers)
    head_length = int(headers[b"inference-header-content-length"])
    assert headers[b"content-type"] == b"application/octet-stream"
    (output,) = orjson.loads(encoded.body[:head_length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(encoded.body[head_length:], "<i8").tolist() == [7, 8]


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "size", "message"),
    [
        (b"12345678", "FP64", (1,), 16, "8 bytes are left"),
        (b"12345678", "FP64", (1,), -1, "8 bytes are left"),
        (b"12345678", "FP64", (1,), "8", "8 bytes are left"),
        (b"12345678", "FP64", (2,), 8, "2 elements, but 1"),
        (b"1234567", "FP64", (1,), 7, "not a multiple"),
        (b"\x09\0\0\0abc", "BYTES", (1,), 7, "inside an element"),
        (b"\x01\0\0\0a\x01", "BYTES", (1,), 6, "inside the length"),
        (b"\x01\0\0\0\xff", "BYTES", (1,), 5, "UTF-8"),
    ],
)
def test_binary_data_that_does_not_fit_is_refused(data, datatype, shape, size, message):
    with pytest.raises(BadRequest, match=message):
        BinarySection(data).take("t", datatype, shape, size)


def test_bytes_that_belong_to_no_input_are_refused():
    body, length = binary_body(Tensor("t", np.array([1.0])))
    with pytest.raises(BadRequest, match="belong to no input"):
        TensorRequest.decode(body + b"x", length)


@pytest.mark.parametrize("length", [0, 10_000])
def test_a_json_length_outside_the_body_is_refused(length):
    with pytest.raises(BadRequest, match="Inference-Header-Content-Length"):
        TensorRequest.decode(b'{"inputs": []}', length)


def test_output_types_the_protocol_does_not_know():
    assert output_tensor("p", np.array([1.0, 2.0], dtype=">f4")).datatype == "FP32"
    assert output_tensor("p", np.array([1.0], dtype=np.longdouble)).datatype == "FP64"
    assert output_tensor("p", np.array(["a"])).values.tolist() == ["a"]
