"""Outputs keep their own type, shape and name: by type, shape and codec, alone or joined with strangers' requests."""

from __future__ import annotations

import asyncio
import struct
from base64 import b64encode
from dataclasses import replace
from datetime import date

import numpy as np
import orjson
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.models.named_outputs import named_array
from streamb.serving.http.tensors import DTYPES
from streamb.serving.pairs import Pair, PairComparer
from streamb.traffic import GatewayPolicy, Split
from tests.serving.answering import learned, served
from tests.serving.gateways import PREDICT, counts, error_of
from tests.serving.predictors import table, target
from tests.serving.test_answers import INFER, Answering

NAN, INF = float("nan"), float("inf")
ROWS = 6
SHAPES = [(), (1,), (3,), (2, 2), (0,)]
EXTREMES = {
    "b": [True, False],
    "i": lambda info: [info.min, -1, 0, 1, info.max - 1, info.max],
    "u": lambda info: [0, 1, info.max // 2 + 1, info.max - 1, info.max],
    "f": lambda info: [float(info.max), float(info.tiny), -0.0, 1.5, float(info.min)],
}


def numbers(dtype, shape):
    """Values at the borders of a type, in `ROWS` rows of a shape."""
    info = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype) if dtype.kind == "f" else None
    values = EXTREMES[dtype.kind]
    found = np.array(values if info is None else values(info), dtype)
    return np.resize(found, (ROWS, *shape))


OBJECTS = {
    "large integers": ([9007199254740993, 2**63 - 1, -(2**63), 1, 2, 3], "INT64"),
    "larger integers": ([2**64 - 1, 2**63, 0, 1, 2, 3], "UINT64"),
    "integers as objects": (np.array([9007199254740993, 0, 1, 2, 3, 4], object), "INT64"),
    "texts": (["a", "b\0", "ü", "", "null", "5"], "BYTES"),
    "texts and None": (["a", None, "c", None, "None", "null"], "BYTES"),
    "nothing": ([None] * ROWS, "BYTES"),
    "mixed": ([1, "1", None, True, 2.5, {"a": [1, None]}], "BYTES"),
    "nested": ([{"a": {"b": [1, {"c": None}]}}, {"a": 1}, {}, {"a": []}, {"b": "\0"}, {"a": 2**64 - 1}], "BYTES"),
    "lists": ([[1], [], [1, 2], [None], ["a"], [[1]]], "BYTES"),
    "bytes": ([b"\0", b"a", b"", b"b", b"c", b"\xff"], "BYTES"),
    "days": (np.arange("2026-01-01", "2026-01-07", dtype="M8[D]"), "BYTES"),
    "times": (np.array(["2026-01-01T01:02:03.000000004"] * 5 + ["NaT"], "M8[ns]"), "BYTES"),
    "dates": ([date(2026, 1, day) for day in range(1, 7)], "BYTES"),
    "a nullable Series": (pd.Series([1, None, 3, 2**53 + 1, 5, 6], dtype="Int64"), "BYTES"),
    "half": (torch.arange(6, dtype=torch.bfloat16) / 4, "FP32"),
}


def in_json(value):
    """A value as the rows have it."""
    if isinstance(value, bytes):
        return {"b64": b64encode(value).decode()}
    return orjson.loads(orjson.dumps(value, default=str, option=orjson.OPT_SERIALIZE_NUMPY))


def read_tensors(reply):
    """The outputs of a reply in either codec: name -> (datatype, shape, one value per element)."""
    head = reply.headers.get("inference-header-content-length")
    document = orjson.loads(reply.body[: int(head)] if head else reply.body)
    tail, found = reply.body[int(head) :] if head else b"", {}
    for one in document["outputs"]:
        size = one.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = one["data"]
        else:
            part, tail = tail[:size], tail[size:]
            values = read_texts(part) if one["datatype"] == "BYTES" else np.frombuffer(part, DTYPES[one["datatype"]])
        found[one["name"]] = one["datatype"], tuple(one["shape"]), values
    assert not tail
    return found


def read_texts(part):
    texts = []
    while part:
        (length,) = struct.unpack_from("<I", part)
        texts.append(part[4 : 4 + length].decode())
        part = part[4 + length :]
    return texts


def by_number(values):
    """A model that answers to row number i the i-th of some values."""

    def predict(X):
        rows = [int(row[0]) for row in X]
        if isinstance(values, dict):
            return {name: taken(one, rows) for name, one in values.items()}
        return tuple(taken(one, rows) for one in values) if isinstance(values, tuple) else taken(values, rows)

    return Answering(predict)


def taken(values, rows):
    if isinstance(values, list):
        return [values[row] for row in rows]
    return values.iloc[rows] if isinstance(values, pd.Series) else values[rows]


def asked(rows, *, binary=False, outputs=()):
    return {
        "inputs": [{"name": "x", "shape": [len(rows), 1], "datatype": "FP64", "data": rows}],
        "outputs": [{"name": name} for name in outputs],
        "parameters": {"binary_data_output": binary},
    }


GROUPS = [[0], [1, 2, 3], [5, 4], [2]]


async def every_way(client, groups=GROUPS):
    """Ask for groups of rows in both codecs, alone and all together; yields the rows and the replies."""
    for binary in (False, True):
        bodies = [asked(rows, binary=binary) for rows in groups]
        alone = [await client.post(INFER, body) for body in bodies]
        together = await asyncio.gather(*(client.post(INFER, body) for body in bodies))
        for rows, *replies in zip(groups, alone, together, strict=True):
            for reply in replies:
                yield rows, binary, reply


@pytest.mark.parametrize("trialed", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("datatype", [name for name in DTYPES if name not in ("BYTES", "BF16")])
async def test_numbers_of_every_type_and_shape(datatype, shape, trialed):
    values = numbers(DTYPES[datatype], shape)
    model = by_number(values)
    known = learned(model, np.arange(ROWS)[:, None]) if trialed else {}
    async with served(model, **known) as (client, app):
        (told,) = (await client.get("/v2/models/m")).json()["outputs"]
        async for rows, _, reply in every_way(client):
            found, size, data = read_tensors(reply)["predictions"]
            assert (found, size) == (datatype, (len(rows), *shape))
            np.testing.assert_array_equal(np.array(data, values.dtype).reshape(size), values[rows])
            if trialed:
                assert (told["datatype"], told["shape"]) == (found, [-1, *shape])
        plain = (await client.post(PREDICT, {"instances": [[row] for row in range(ROWS)]})).json()
        assert counts(app).blamed == 0
    np.testing.assert_array_equal(np.array(plain["predictions"], values.dtype).reshape(values.shape), values)


@pytest.mark.parametrize(("dtype", "datatype"), [(">f8", "FP64"), (">i2", "INT16"), ("g", "FP64"), ("S3", "BYTES")])
async def test_unusual_types_of_numpy(dtype, datatype):
    values = np.array([1, 2, 3], dtype)
    model = by_number(values)
    model._probabilities = lambda X: np.array([[0.25, 0.75]] * len(X), np.longdouble)
    async with served(model, **learned(model, np.arange(3)[:, None], probabilities=True)) as (client, app):
        told = (await client.get("/v2/models/m")).json()["outputs"]
        plain = (await client.post(PREDICT, {"instances": [[0], [2]], "probabilities": True})).json()
        both = read_tensors(await client.post(INFER, asked([0, 2], outputs=["predictions", "probabilities"])))
        assert counts(app).blamed == 0
    assert [one["datatype"] for one in told] == [datatype, "FP64"] == [one[0] for one in both.values()]
    assert plain["predictions"] == both["predictions"][2] == (["1", "3"] if datatype == "BYTES" else [1, 3])
    assert plain["probabilities"] == [[0.25, 0.75]] * 2


@pytest.mark.parametrize("trialed", [False, True])
@pytest.mark.parametrize(("values", "datatype"), OBJECTS.values(), ids=OBJECTS)
async def test_what_is_no_array_of_numbers(values, datatype, trialed):
    model = by_number(values)
    known = learned(model, np.arange(ROWS)[:, None]) if trialed else {}
    async with served(model, **known) as (client, app):
        (told,) = (await client.get("/v2/models/m")).json()["outputs"][:1]
        plain = (await client.post(PREDICT, {"instances": [[row] for row in range(ROWS)]})).json()["predictions"]
        async for rows, binary, reply in every_way(client):
            found, size, data = read_tensors(reply)["predictions"]
            expected = [plain[row] for row in rows]
            if trialed:
                assert (found, size) == (datatype, (len(rows),))
                assert (told["datatype"], told["shape"]) == (datatype, [-1])
            for one, value in zip(list(data), expected, strict=True) if found == "BYTES" else ():
                none = "null" if binary else None
                text = none if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()
                assert one == text
            if found != "BYTES":
                assert np.array(data).reshape(size).tolist() == expected
        assert counts(app).blamed == 0
    if isinstance(values, list) and not isinstance(values[0], date):
        assert plain == [in_json(value) for value in values]


SEVERAL = {
    "score": numbers(np.dtype("f4"), ()),
    "small": numbers(np.dtype("i1"), (2,)),
    "large": numbers(np.dtype("u8"), ()),
    "box": numbers(np.dtype("f2"), (2, 2)),
    "flag": numbers(np.dtype("?"), ()),
    "empty": numbers(np.dtype("f8"), (0,)),
    "text": np.array(["a", "ab", "abc", "", "ü", "null"]),
    "name": ["x\0", None, "y", "z", "null", "w"],
    "at": np.arange("2026-01-01", "2026-01-07", dtype="M8[D]"),
    "object": [{"a": row, "b": [None]} for row in range(ROWS)],
}


@pytest.mark.parametrize("form", [dict, tuple, "frame"])
async def test_several_outputs(form):
    given = SEVERAL if form != "frame" else {name: SEVERAL[name] for name in ("score", "large", "flag", "name")}
    if form is tuple:
        given = {name: one for name, one in given.items() if isinstance(one, np.ndarray)}
    model = by_number(tuple(given.values()) if form is tuple else given)
    if form == "frame":
        plain_answer = model._predictions
        model = Answering(lambda X: pd.DataFrame(plain_answer(X)))
    names = [f"output_{index}" for index in range(len(given))] if form is tuple else list(given)
    async with served(model, **learned(model, np.arange(ROWS)[:, None])) as (client, app):
        told = {one["name"]: one for one in (await client.get("/v2/models/m")).json()["outputs"]}
        plain = (await client.post(PREDICT, {"instances": [[row] for row in range(ROWS)]})).json()["predictions"]
        some = read_tensors(await client.post(INFER, asked([1], outputs=("predictions", names[1]))))
        async for rows, _, reply in every_way(client):
            found = read_tensors(reply)
            assert list(found) == list(told) == names
            for name, one in zip(names, given.values(), strict=True):
                datatype, size, data = found[name]
                assert (told[name]["datatype"], told[name]["shape"]) == (datatype, [-1, *size[1:]])
                if isinstance(one, np.ndarray) and one.dtype.kind in "biuf":
                    assert DTYPES[datatype] == one.dtype
                    np.testing.assert_array_equal(np.array(data, one.dtype).reshape(size), one[rows])
        assert counts(app).blamed == 0
    assert list(some) == ["predictions", names[1]]
    assert orjson.loads(some["predictions"][2][0]) == plain[1]
    for row, values in enumerate(plain):
        listed = values if form is tuple else list(values.values())
        for one, value in zip(given.values(), listed, strict=True):
            if isinstance(one, np.ndarray) and one.dtype.kind in "biuf":
                assert np.array(value, one.dtype).tolist() == one[row].tolist()


async def test_a_missing_number_is_nan_where_numbers_are_usual():
    known = learned(by_number([0.5, 1.5]), np.arange(2)[:, None])
    async with served(by_number([0.5, None, 1.5]), **known) as (client, app):
        in_text = read_tensors(await client.post(INFER, asked([0, 1, 2])))["predictions"]
        packed = read_tensors(await client.post(INFER, asked([0, 1, 2], binary=True)))["predictions"]
        rows = (await client.post(PREDICT, {"instances": [[0], [1]]})).json()
        assert counts(app).blamed == 0
    assert in_text == ("FP64", (3,), [0.5, None, 1.5])
    np.testing.assert_array_equal(packed[2], [0.5, NAN, 1.5])
    assert rows["predictions"] == [0.5, None]
    known = learned(by_number([[0.5, 1.5]]), np.arange(1)[:, None])
    async with served(by_number([[0.5, None], [1.5, 2.5]]), **known) as (client, _):
        in_text = read_tensors(await client.post(INFER, asked([0, 1])))["predictions"]
    assert in_text == ("FP64", (2, 2), [0.5, None, 1.5, 2.5])


@pytest.mark.parametrize(
    ("usual", "value", "datatype"),
    [
        (0.5, 3, "FP64"),
        (0.5, 2**53 + 1, "INT64"),
        (3, 4.0, "INT64"),
        (3, 4.5, "FP64"),
        (3, 2**63, "UINT64"),
        (2**63, 3, "UINT64"),
        (2**63, -3, "INT64"),
    ],
)
async def test_an_answer_has_the_type_of_the_signature_unless_that_changes_it(usual, value, datatype):
    known = learned(by_number([usual]), np.zeros((1, 1)))
    async with served(by_number([value]), **known) as (client, _):
        found, _, data = read_tensors(await client.post(INFER, asked([0])))["predictions"]
    assert (found, data) == (datatype, [value])


MIXED = [1, 2.5, None, 2**53 + 1, 3, 2**63, -4, 0.1]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("usual", [1, 2.5, 2**63, None, "unknown"])
@given(st.lists(st.lists(st.integers(0, len(MIXED) - 1), min_size=1, max_size=3), min_size=2, max_size=5))
@settings(max_examples=10, deadline=None)
def test_strangers_change_nothing_in_an_answer(several, usual, groups):
    """Neither a number's type in JSON nor a datatype, whatever else was answered in the same call."""

    async def ask():
        usually = by_number({"a": [usual]} if several else [usual])
        known = {} if usual == "unknown" else learned(usually, np.zeros((1, 1)))
        values = {"a": MIXED} if several else MIXED
        async with served(by_number(values), **known) as (client, app):
            for path, body in ((PREDICT, rows_asked), (INFER, asked)):
                alone = [await client.post(path, body(rows)) for rows in groups]
                together = await asyncio.gather(*(client.post(path, body(rows)) for rows in groups))
                for one, other in zip(alone, together, strict=True):
                    key = "predictions" if path == PREDICT else "outputs"
                    assert orjson.dumps(one.json()[key]) == orjson.dumps(other.json()[key])
            assert counts(app).blamed == 0

    asyncio.run(ask())


def rows_asked(rows):
    return {"instances": [[row] for row in rows]}


async def test_an_own_output_may_be_called_probabilities():
    model = by_number({"label": np.arange(ROWS), "probabilities": np.eye(ROWS)})
    async with served(model, **learned(model, np.arange(ROWS)[:, None])) as (client, _):
        told = (await client.get("/v2/models/m")).json()["outputs"]
        await client.post(PREDICT, {"instances": [[0]], "probabilities": True})
        own = read_tensors(await client.post(INFER, asked([1], outputs=["probabilities"])))
    assert [one["name"] for one in told] == ["probabilities", "label"]
    assert own["probabilities"] == ("FP64", (1, ROWS), np.eye(ROWS)[1].tolist())


async def test_a_version_of_before_answers_one_output_as_its_signature_says():
    values = {"a": np.arange(3), "b": ["x", "y", "z"]}
    old = [
        {"name": "predictions", "kind": "object", "dtype": "", "shape": []},
        {"name": "predictions.a", "kind": "integer", "dtype": "int64", "shape": []},
        {"name": "predictions.b", "kind": "text", "dtype": "", "shape": []},
    ]
    async with served(by_number(values), outputs=tuple(old)) as (client, _):
        told = (await client.get("/v2/models/m")).json()["outputs"]
        found = read_tensors(await client.post(INFER, asked([1])))
        unknown = await client.post(INFER, asked([1], outputs=["a"]))
    assert told == [{"name": "predictions", "datatype": "BYTES", "shape": [-1]}]
    assert found == {"predictions": ("BYTES", (1,), ['{"a":1,"b":"y"}'])}
    assert unknown.status == 400


async def test_an_output_that_only_the_stable_version_has_is_answered_by_it(make):
    stable = replace(target("1.0.0"), outputs=({"name": "sum", "kind": "number", "dtype": "float64", "shape": []},))
    new = replace(target("2.0.0"), outputs=({"name": "total", "kind": "number", "dtype": "float64", "shape": []},))
    client = make(table(stable, new, split=Split.all_to("2.0.0"), fallback="1.0.0"))
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}
    named = {name: {**body, "outputs": [{"name": name}]} for name in ("total", "sum", "neither")}
    replies = {name: await client.post(INFER, one) for name, one in named.items()}
    assert [replies[name].json()["model_version"] for name in ("total", "sum")] == ["2.0.0", "1.0.0"]
    assert replies["sum"].json()["outputs"][0]["data"] == [3]
    assert "neither" in error_of(replies["neither"], 400, "unknown_output")["error"]


async def test_named_outputs_are_counted_and_fed_back_as_objects():
    async with served(by_number({"a": np.arange(3), "b": ["x", "y", "z"]})) as (client, app):
        app.apply(replace(app.table, epoch=2, policy=GatewayPolicy(token_key=bytes(32))))
        reply = (await client.post(PREDICT, {"instances": [[0], [1]]})).json()
        feedback = {"request_id": reply["request_id"], "label": ["x", "y"], "value": 1}
        told = (await client.post("/v2/models/m/feedback", feedback)).json()
        assert counts(app).predictions == {"object": 2}
    assert (told["joined"], told["not_joined"]) == (["value"], {"label": "unjoinable"})


def test_named_outputs_are_compared_output_by_output():
    comparer = PairComparer()

    def pair(one, two):
        made = [named_array({name: np.array([value]) for name, value in row.items()}, 1) for row in (one, two)]
        return comparer.compare(*made, "regression")

    assert pair({"a": 10.0, "b": "x"}, {"a": 9.5, "b": "x"}) == Pair(agrees=True, difference=0.05)
    assert not pair({"a": 10.0, "b": "x"}, {"a": 10.0, "b": "y"}).agrees
    assert pair({"a": 10.0, "b": "x"}, {"a": 10.0, "b": 1.0}).retyped
    assert pair({"a": 10.0, "b": "x"}, {"a": 10.0, "c": "x"}).retyped
