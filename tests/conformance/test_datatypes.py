"""The Open Inference Protocol V2 over HTTP, point by point, with tritonclient: datatypes and the binary extension.

The docstring of each test is the point that it shows. docs/api.md lists them, and a test compares.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.conformance.asking import ROWS, binary_text, body, given, refused, same, tensor, texts, told, wanted
from tests.conformance.zoo import DATATYPES

SPACE = 100
BINARY = pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])


def values_of(dtype: np.dtype[Any], rng: np.random.Generator) -> np.ndarray:
    """Two columns of any values of a type, its extremes among them."""
    if dtype.kind == "b":
        return rng.random((SPACE, 2)) < 0.5
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        ends = np.array([[info.max, info.min], [info.max - 1, 0]], dtype)
        return np.concatenate([ends, rng.integers(info.min, info.max, (SPACE, 2), dtype, endpoint=True)])
    bounds = np.finfo(dtype)
    ends = np.array([[bounds.max, bounds.min], [bounds.smallest_subnormal, -0.0], [0.1, 1 / 3]], dtype)
    return np.concatenate([ends, rng.normal(size=(SPACE, 2)).astype(dtype)])


class TestDatatypes:
    """Datatypes"""

    @BINARY
    @pytest.mark.parametrize("model", ["typed", "echo"])
    @pytest.mark.parametrize("datatype", DATATYPES)
    def test_numbers(self, client, datatype, model, binary):
        """BOOL, UINT8 to UINT64, INT8 to INT64, FP16, FP32, FP64: a value reaches the model and comes back in its type,
        in JSON and binary"""
        name = f"typed-{datatype}" if model == "typed" else model
        values = values_of(DATATYPES[datatype], np.random.default_rng(len(datatype)))
        outputs = None if binary else wanted("predictions", binary=False)
        result = client.infer(name, [given(values, binary=binary)], outputs=outputs)
        assert result.get_output("predictions")["datatype"] == datatype
        same(result.as_numpy("predictions"), values)

    def test_bfloat16(self, client):
        """BF16 travels in binary; a model without a schema gets the same numbers as float32"""
        values = np.array([[1.5, -2.0], [0.0, 2.0**120], [np.inf, -(2.0**-120)]], np.float32)
        asked = given(values, datatype="BF16")
        answer = client.infer("reveal", [asked]).as_numpy("predictions")
        assert [row.decode() for row in answer] == [f"float32:{row.tolist()}" for row in values]

    @BINARY
    def test_texts(self, client, binary):
        """BYTES are texts in UTF-8, of any length, in JSON and binary"""
        asked = texts("", "é", "東京 🗼", 'a\n"b"\\', "x" * 70_000, "\x00inside")
        result = client.infer("texts", [given(asked, binary=binary)], outputs=wanted("predictions", binary=binary))
        found = result.as_numpy("predictions")
        told_texts = [one.decode() if isinstance(one, bytes) else one for one in found]
        assert told_texts == [one.decode()[::-1] for one in asked]

    def test_bytes_that_are_no_text(self, http):
        """BYTES that are not UTF-8 are refused"""
        asked = with_bytes(tensor(None, datatype="BYTES") | {"shape": [1]}, binary_text(b"\xff\xfe"))
        assert "UTF-8" in told(http.post("/v2/models/texts/infer", **asked), 400)

    @BINARY
    def test_moments(self, client, binary):
        """Dates and times are BYTES in ISO 8601"""
        inputs = {one["name"]: one for one in client.get_model_metadata("frame")["inputs"]}
        assert inputs["seen"]["parameters"]["format"] == "ISO 8601"
        asked = [given(value, name, binary=binary) for name, value in columns().items()]
        (answer,) = client.infer("frame", asked, outputs=wanted("predictions")).as_numpy("predictions")
        assert "Timestamp('2024-02-29 12:34:56.789000')" in answer.decode()

    def test_columns_of_any_type(self, client):
        """Columns reach a model of a table in the types of its table, whole numbers beyond `2**53` too"""
        asked = [given(value, name) for name, value in columns().items()]
        (answer,) = client.infer("frame", asked).as_numpy("predictions")
        seen = dict(zip(columns(), answer.decode().split("|"), strict=True))
        assert seen["large"] == f"int64:np.int64({2**53 + 1})"
        assert seen["whole"] == f"Int64:np.int64({2**53 + 3})"
        assert seen["ratio"].startswith("float32:np.float32(0.1)")
        assert seen["flag"].startswith("bool:np.True_")

    @pytest.mark.parametrize(
        ("datatype", "value"),
        [
            *(("BOOL", value) for value in (1, "true", 0.5)),
            *((f"{sign}INT{bits}", 2**62 * 4) for sign in ("", "U") for bits in (8, 16, 32, 64)),
            *((f"UINT{bits}", -1) for bits in (8, 16, 32, 64)),
            ("UINT8", 256),
            ("INT8", -129),
            ("INT64", 2**63),
            ("INT64", -(2**63) - 1),
            ("INT32", 1.5),
            ("INT32", "1"),
            ("INT32", True),
            ("FP16", 70_000),
            ("FP32", 1e39),
            ("FP64", "1"),
            ("FP64", True),
            ("BYTES", 1),
            ("BYTES", True),
        ],
    )
    def test_a_value_of_another_type(self, http, datatype, value):
        """A value that its datatype does not hold is refused; only a decimal is rounded, to the precision of a float"""
        asked = body(tensor([[value, value]], datatype=datatype))
        response = http.post("/v2/models/echo/infer", json=asked)
        assert datatype in told(response, response.status_code)
        assert response.status_code in (400, 422)

    def test_null_is_missing(self, http):
        """Null in JSON data is a missing value: NaN for a model without a schema, refused where the column does not
        allow it"""
        found = http.post("/v2/models/reveal/infer", json=body(tensor([[1.0, None]])))
        assert found.json()["outputs"][0]["data"] == ["float64:[1.0, nan]"]
        sentence = told(http.post("/v2/models/sum/infer", json=body(tensor([[1, 2, 3], [1, None, 3]]))), 422)
        assert "row 1" in sentence
        assert "x1" in sentence

    def test_not_finite(self, client):
        """NaN and infinity travel in binary tensors, both ways"""
        values = np.array([[np.nan, np.inf], [-np.inf, 1.5]])
        for array in (values, values.astype(np.float32)):
            same(client.infer("echo", [given(array)]).as_numpy("predictions"), array)


class TestBinary:
    """Binary tensors"""

    def test_binary_data(self, client):
        """`binary_data` of an output says whether it comes in binary; other outputs come in JSON"""
        outputs = [*wanted("predictions", binary=False), *wanted("probabilities", binary=True)]
        result = client.infer("tree", tree(), outputs=outputs)
        assert "data" in result.get_output("predictions")
        assert result.get_output("probabilities")["parameters"]["binary_data_size"] == 2 * 2 * 8
        assert result.as_numpy("probabilities").shape == (2, 2)

    def test_binary_data_output(self, client, http):
        """`binary_data_output` of the request stands for all outputs; one with `binary_data` of its own goes by that"""
        assert "data" not in client.infer("sum", [given(ROWS)]).get_output("predictions")
        asked = body(tensor(ROWS.tolist()), parameters={"binary_data_output": True})
        assert http.post("/v2/models/sum/infer", json=asked).headers["inference-header-content-length"]
        asked["outputs"] = [{"name": "predictions", "parameters": {"binary_data": False}}]
        assert http.post("/v2/models/sum/infer", json=asked).json()["outputs"][0]["data"] == [6.0, 7.0]

    @pytest.mark.parametrize("where", ["request", "output"])
    @pytest.mark.parametrize("value", ["true", 1, []])
    def test_a_wish_that_is_no_boolean(self, http, where, value):
        """`binary_data` and `binary_data_output` are true, false or null; anything else is refused"""
        asked = body(tensor(ROWS.tolist()))
        if where == "request":
            asked["parameters"] = {"binary_data_output": value}
        else:
            asked["outputs"] = [{"name": "predictions", "parameters": {"binary_data": value}}]
        assert "binary_data" in told(http.post("/v2/models/sum/infer", json=asked), 400)

    def test_mixed(self, client):
        """Some inputs of a request may be binary, others JSON"""
        columns = [given(ROWS[:, i], f"x{i}", binary=i % 2 == 0) for i in range(3)]
        same(client.infer("sum", columns).as_numpy("predictions"), ROWS.sum(axis=1))

    def test_layout(self, http):
        """The bytes are little-endian, row by row, in the order of the inputs, after the JSON part"""
        asked = with_bytes(
            tensor(None, "n", "INT16") | {"shape": [2]}, b"\x01\x00\xfe\xff", tensor([7, 8], "m", "INT32")
        )
        found = http.post("/v2/models/reveal/infer", **asked)
        assert found.json()["outputs"][0]["data"] == ["{'n': 1, 'm': 7}", "{'n': -2, 'm': 8}"]

    @pytest.mark.parametrize(
        ("size", "chunk", "length", "sentence"),
        [
            (24, b"\0" * 23, None, "binary_data_size"),
            (23, b"\0" * 23, None, "multiple"),
            (16, b"\0" * 16, None, "elements"),
            (24, b"\0" * 30, None, "belong to no input"),
            (-1, b"\0" * 24, None, "binary_data_size"),
            (2**63, b"\0" * 24, None, "binary_data_size"),
            ("24", b"\0" * 24, None, "binary_data_size"),
            (24.0, b"\0" * 24, None, "binary_data_size"),
            (24, b"\0" * 24, "9999", "Inference-Header-Content-Length"),
            (24, b"\0" * 24, "0", "Inference-Header-Content-Length"),
            (24, b"\0" * 24, "-5", "Inference-Header-Content-Length"),
            (24, b"\0" * 24, "five", "Inference-Header-Content-Length"),
        ],
    )
    def test_wrong_sizes(self, http, size, chunk, length, sentence):
        """A size that does not fit the body or the shape is refused"""
        entry = {"name": "input", "shape": [1, 3], "datatype": "FP64", "parameters": {"binary_data_size": size}}
        head = json.dumps(body(entry)).encode()
        headers = {"inference-header-content-length": str(len(head)) if length is None else length}
        assert sentence in told(http.post("/v2/models/sum/infer", content=head + chunk, headers=headers), 400)

    def test_without_the_length_of_the_json_part(self, http):
        """Without `Inference-Header-Content-Length` the whole body is JSON, also as `application/octet-stream`"""
        media = {"content-type": "application/octet-stream"}
        whole = json.dumps(body(tensor(ROWS.tolist()))).encode()
        assert http.post("/v2/models/sum/infer", content=whole, headers=media).status_code == 200
        asked = with_bytes(tensor(None) | {"shape": [1, 3]}, b"\0" * 24)
        response = http.post("/v2/models/sum/infer", content=asked["content"], headers=media)
        assert "Inference-Header-Content-Length" in told(response, 400)

    def test_a_byte_that_is_no_boolean(self, http):
        """A BOOL byte other than 0 and 1 is refused"""
        entry = {"name": "input", "shape": [1, 2], "datatype": "BOOL"}
        assert "BOOL" in told(http.post("/v2/models/echo/infer", **with_bytes(entry, b"\x01\x02")), 400)


class TestNotOurs:
    """Not supported"""

    def test_classification(self, client):
        """Extension `classification`: refused; ask for `probabilities`, whose classes are named"""
        outputs = wanted("predictions")
        outputs[0]._parameters["classification"] = 2
        assert "probabilities" in refused(400, client.infer, "sum", [given(ROWS)], outputs=outputs)

    def test_shared_memory(self, client):
        """Extensions `system_shared_memory` and `cuda_shared_memory`: refused; send data in the request"""
        source = given(ROWS)
        source.set_shared_memory("region", 48)
        assert "shared memory" in refused(400, client.infer, "sum", [source])
        outputs = wanted("predictions")
        outputs[0].set_shared_memory("region", 16)
        assert "shared memory" in refused(400, client.infer, "sum", [given(ROWS)], outputs=outputs)
        refused(404, client.register_system_shared_memory, "region", "/key", 48)
        refused(404, client.get_cuda_shared_memory_status)

    def test_sequences(self, client):
        """Extension `sequence`: refused; no version keeps a state between requests"""
        assert "sequence" in refused(400, client.infer, "sum", [given(ROWS)], sequence_id=5, sequence_start=True)

    def test_repository(self, client):
        """Extensions `model_repository`, `model_configuration`, `statistics`, `trace` and `logging`: 404;
        the Console has routes of its own"""
        for call in (
            lambda: client.get_model_repository_index(),
            lambda: client.load_model("sum"),
            lambda: client.unload_model("sum"),
            lambda: client.get_model_config("sum"),
            lambda: client.get_inference_statistics("sum"),
            lambda: client.get_trace_settings(),
            lambda: client.get_log_settings(),
        ):
            assert "there is nothing at /v2/" in refused(404, call)


def columns() -> dict[str, np.ndarray]:
    """One row of the model "frame", each column in its datatype."""
    return {
        "amount": np.array([-0.25]),
        "ratio": np.array([0.1], np.float32),
        "large": np.array([2**53 + 1]),
        "small": np.array([-128], np.int8),
        "flag": np.array([True]),
        "city": texts("東京"),
        "note": texts("c d"),
        "gap": np.array([1e300]),
        "whole": np.array([2**53 + 3]),
        "seen": texts("2024-02-29T12:34:56.789"),
    }


def tree() -> list[Any]:
    """Two rows of the model "tree"."""
    return [
        given(np.array([5.0, -5.0]), "amount"),
        given(np.array([0.5, 1.5], np.float32), "ratio"),
        given(np.array([1, -1], np.int8), "small"),
        given(np.array([True, False]), "flag"),
        given(texts("Oslo", "Lima"), "city"),
    ]


def with_bytes(entry: dict[str, Any], chunk: bytes, *others: dict[str, Any]) -> dict[str, Any]:
    """A request whose first input is these bytes, as arguments for httpx."""
    entry = {name: value for name, value in entry.items() if name != "data"}
    entry["parameters"] = {"binary_data_size": len(chunk)}
    head = json.dumps(body(entry, *others)).encode()
    return {"content": head + chunk, "headers": {"inference-header-content-length": str(len(head))}}
