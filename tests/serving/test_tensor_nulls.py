"""Null, NaN and odd shapes in tensors: a missing value where the column allows it, else a sentence, never a failure."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streamb.models import FeatureSchema
from streamb.models.schema import Feature, FeatureKind
from tests.serving.tensor_attack import CONTAINERS, Saw, body_of, client_of, schema_of

INFER = "/v2/models/m/infer"
TYPED = [
    ("INT64", "int64"),
    ("BOOL", "bool"),
    ("BYTES", "str"),
    ("FP32", "float32"),
    ("BF16", "bfloat16"),
    ("FP64", ""),
]


def is_missing(value):
    return value is None or value != value or type(value).__name__ in ("NAType", "NaTType")


async def asked(schema, datatype, value, *, binary=False, by_column=False):
    model = Saw(schema)
    body, headers = body_of(datatype, value, binary=binary, by_column=by_column)
    return model, await client_of(model).request("POST", INFER, body, headers)


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("container", [name for name in CONTAINERS if "tensor" not in name] + ["columns"])
@pytest.mark.parametrize(("datatype", "dtype"), TYPED)
async def test_null_is_missing_where_the_column_allows_it(container, datatype, dtype, by_column):
    model, response = await asked(schema_of(container, dtype, nullable=True), datatype, None, by_column=by_column)
    assert response.status == 200, response.body
    assert is_missing(model.cell()[0])
    model, response = await asked(schema_of(container, dtype), datatype, None, by_column=by_column)
    assert response.status == 422
    assert "row 1, column 'x1': " in response.json()["error"]
    assert model.given is None


@pytest.mark.parametrize("container", ["array", "frame", "columns", "tensors"])
@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "BF16"])
async def test_nan_in_binary_data_is_missing_too(container, datatype):
    dtype = {"FP16": "float16", "FP32": "float32", "BF16": "bfloat16"}.get(datatype, "float64")
    model, response = await asked(schema_of(container, dtype, nullable=True), datatype, math.nan, binary=True)
    assert response.status == 200, response.body
    assert math.isnan(model.cell()[0])
    for value in (math.nan, math.inf, -math.inf):
        model, response = await asked(schema_of(container, dtype), datatype, value, binary=True)
        assert response.status == 422
        assert "row 1, column 'x" in response.json()["error"]
        assert model.given is None
    model, response = await asked(schema_of(container, dtype, nullable=True), datatype, math.inf, binary=True)
    assert response.status == 422


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "BF16"])
async def test_without_a_schema_null_is_nan_and_infinity_passes(datatype):
    for value, binary in [(None, False), (math.nan, True), (math.inf, True), (-math.inf, True)]:
        model, response = await asked(None, datatype, value, binary=binary)
        assert response.status == 200
        found = model.given[1, 1]
        assert math.isnan(found) if value is None or value != value else found == value


@pytest.mark.parametrize(("datatype", "plain"), [("INT64", 1), ("BOOL", True), ("BYTES", "a")])
async def test_without_a_schema_null_among_other_values_is_none(datatype, plain):
    model, response = await asked(None, datatype, None)
    assert response.status == 200
    assert model.given == [[plain, plain], [plain, None]]
    model, response = await asked(None, datatype, None, by_column=True)
    assert model.given == [{"x0": plain, "x1": plain}, {"x0": plain, "x1": None}]


def tensor(shape, data, datatype="FP64", **more):
    return {"name": "input", "shape": shape, "datatype": datatype, "data": data, **more}


@pytest.mark.parametrize(
    "entry",
    [
        tensor([], 5),
        tensor([0, 2], []),
        tensor([2, 0], []),
        tensor([2, 0], [[], []]),
        tensor([0, 2**62], []),
        tensor([2**62, 0], []),
        tensor([1] * 65, [1]),
        tensor([1, 2], [[1], [2, 3]]),
        tensor([1, 2], [[1, 2], 3]),
        tensor([1, 2], [1, [2]]),
        tensor([1, 2], {"a": 1}),
        tensor([1, 2], [{}, {}]),
        tensor([1, 2], ["a", 1], "BYTES"),
        tensor([1, 2], [[["a"]], [["b", "c"]]], "BYTES"),
        tensor([2, 2], [1, 2, 3, 1e39], "FP32"),
        tensor([2, 2], [1, 2, 3, 70000], "FP16"),
        tensor([2, 2], [1, 2, 3, 3.4e38], "BF16"),
        tensor([300, 2], [2] * 599 + [True]),
        tensor([300, 2], [2] * 599 + [True], "INT64"),
        tensor([300, 2], [2] * 599 + [2**63], "INT64"),
    ],
)
@pytest.mark.parametrize("schema", [None, FeatureSchema.numbers(2)], ids=["open", "numbers"])
async def test_odd_data_is_refused_with_a_sentence(entry, schema):
    model = Saw(schema)
    response = await client_of(model).post(INFER, {"inputs": [entry]})
    is_open_empty = schema is None and entry["shape"] == [2, 0]  # two rows without columns: nobody knows better
    assert response.status == 200 if is_open_empty else response.status in (400, 422), response.body
    if len(entry["data"] if isinstance(entry["data"], list) else []) in (4, 600):
        row = len(entry["data"]) // 2 - 1
        assert f"row {row}, column 1 is " in response.json()["error"]


async def test_a_text_that_is_not_utf8_and_a_byte_that_is_no_boolean_are_named():
    head = b'{"inputs":[{"name":"input","shape":[2,1],"datatype":"%s","parameters":{"binary_data_size":%d}}]}'
    for datatype, data in [(b"BYTES", b"\1\0\0\0a\1\0\0\0\xff"), (b"BOOL", b"\1\2")]:
        start = head % (datatype, len(data))
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(start))}
        response = await client_of(Saw(None)).request("POST", INFER, start + data, headers)
        assert response.status == 400
        assert "row 1" in response.json()["error"]


async def test_dates_and_lists_are_texts():
    features = (
        Feature("when", FeatureKind.DATETIME, dtype="datetime64[ns]", nullable=True),
        Feature("tags", FeatureKind.LIST, nullable=True),
    )
    model = Saw(FeatureSchema(features, "frame"))
    inputs = [
        {"name": "when", "shape": [2], "datatype": "BYTES", "data": ["2024-01-31T12:00:00.123456789", None]},
        {"name": "tags", "shape": [2], "datatype": "BYTES", "data": ['[1, "a"]', None]},
    ]
    assert (await client_of(model).post(INFER, {"inputs": inputs})).status == 200
    assert model.given["when"].iloc[0].value == np.datetime64("2024-01-31T12:00:00.123456789").astype(np.int64)
    assert model.given["when"].isna().tolist() == [False, True]
    assert model.given["tags"].tolist() == [[1, "a"], None]
    inputs[1]["data"] = ["[" * 100_000, None]
    response = await client_of(model).post(INFER, {"inputs": inputs})
    assert response.status == 422
    assert "row 0, column 'tags': expected a list" in response.json()["error"]
