"""64 clients at once, each with rows of its own of every type: each gets what the model answers to its rows alone."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np
import pandas as pd
import pytest
import tritonclient.http.aio as triton

from tests.conformance.asking import given, wanted
from tests.conformance.zoo import DATATYPES, TREE, centred, frame, named, reveal, zoo

CLIENTS, REQUESTS = 64, 24


@dataclass
class Crowd:
    """One client: its connections, its random numbers, and the models as they answer in this process."""

    tensors: triton.InferenceServerClient
    rows: aiohttp.ClientSession
    rng: np.random.Generator
    models: dict[str, Any]

    async def infer(self, model: str, inputs: list[Any], *outputs: str) -> dict[str, Any]:
        """The outputs of a request with tensors, as arrays; in binary or JSON."""
        binary = bool(self.rng.random() < 0.5)
        result = await self.tensors.infer(model, inputs, outputs=wanted(*outputs or ["predictions"], binary=binary))
        return {name: result.as_numpy(name) for name in outputs or ["predictions"]}

    async def predict(self, model: str, instances: list[Any], **more: Any) -> dict[str, Any]:
        """The answer to a request with rows."""
        body = json.dumps({"instances": instances, **more})
        headers = {"content-type": "application/json"}
        async with self.rows.post(f"/v2/models/{model}/predict", data=body, headers=headers) as response:
            document = await response.json()
        assert response.status == 200, document
        return document

    def count(self) -> int:
        return int(self.rng.integers(1, 6))

    def codec(self) -> bool:
        return bool(self.rng.random() < 0.5)


def equal(found: Any, expected: Any) -> None:
    """Compare value and type, and for arrays the shape."""
    expected = np.asarray(expected)
    if expected.dtype.kind in "UO":
        assert [as_text(value) for value in found.ravel()] == [as_text(value) for value in expected.ravel()]
        assert found.shape == expected.shape
    else:
        np.testing.assert_array_equal(found, expected, strict=True)


def as_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


# --- what a client asks, and what it must get -----------------------------------------------------------------------


async def numbers(me: Crowd, datatype: str) -> None:
    """An array of one type, to a model with a schema or without: the same array comes back."""
    dtype = DATATYPES[datatype]
    values = me.rng.normal(size=(me.count(), 2)) * 100
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        values = me.rng.integers(info.min, info.max, (me.count(), 2), dtype, endpoint=True)
    values = (values > 0) if dtype.kind == "b" else values.astype(dtype)
    model = "echo" if me.codec() else f"typed-{datatype}"
    equal((await me.infer(model, [given(values, binary=me.codec())]))["predictions"], values)


async def revealed(me: Crowd, datatype: str) -> None:
    """An array of one type to a model that tells what it sees."""
    values = me.rng.integers(0, 2 if datatype == "BOOL" else 100, (me.count(), 3)).astype(DATATYPES[datatype])
    equal((await me.infer("reveal", [given(values, binary=me.codec())]))["predictions"], reveal(values))


async def texts(me: Crowd) -> None:
    """Texts come back reversed."""
    asked = ["".join(map(chr, me.rng.integers(32, 0x2FFF, me.rng.integers(0, 9)))) for _ in range(me.count())]
    array = np.array([one.encode() for one in asked], dtype=object)
    equal((await me.infer("texts", [given(array, binary=me.codec())]))["predictions"], [one[::-1] for one in asked])
    assert (await me.predict("texts", [[one] for one in asked]))["predictions"] == [one[::-1] for one in asked]


async def mixed_rows(me: Crowd) -> None:
    """Rows of several types, with nulls, for a model without a schema: each arrives as it was sent."""
    cells = [lambda: int(me.rng.integers(-(2**62), 2**62)), lambda: float(me.rng.normal()), lambda: None]
    cells += [lambda: bool(me.rng.random() < 0.5), lambda: str(me.rng.choice(["a", "é", ""]))]
    rows = [["text", *(cells[me.rng.integers(len(cells))]() for _ in range(3))] for _ in range(me.count())]
    if me.codec():
        rows = [dict(zip("abcd", row, strict=True)) for row in rows]
    assert (await me.predict("reveal", rows))["predictions"] == [repr(row) for row in rows]


async def converted_rows(me: Crowd) -> None:
    """Rows that a model makes an array of: what that becomes depends on the types of all rows that it gets."""
    second = [lambda: int(me.rng.integers(100)), lambda: None, lambda: round(float(me.rng.normal()), 2)]
    kind = second[me.rng.integers(3)]
    rows = [[kind(), str(me.rng.choice(["a", "bb"]))] for _ in range(me.count())]
    assert (await me.predict("echo", rows))["predictions"] == np.asarray(rows).tolist()


async def table_rows(me: Crowd) -> None:
    """Rows of a table with columns of ten types."""
    table = frame(int(me.rng.integers(2**31)), me.count())
    records = [{name: plain(row[name]) for name in table} for row in table.to_dict("records")]
    rows = records if me.codec() else [list(record.values()) for record in records]
    assert (await me.predict("frame", rows))["predictions"] == reveal(table)


async def table_tensors(me: Crowd) -> None:
    """The same as a tensor for each column; columns with gaps in JSON."""
    table = frame(int(me.rng.integers(2**31)), me.count())
    inputs = []
    for name in table:
        values = [plain(value) for value in table[name]]
        datatype = {"ratio": "FP32", "small": "INT8", "flag": "BOOL", "amount": "FP64", "gap": "FP64"}.get(name)
        datatype = datatype or ("INT64" if name in ("large", "whole") else "BYTES")
        if None in values or me.codec():
            tensor = triton.InferInput(name, [len(values)], datatype)
            tensor._data = values
        else:
            dtype = DATATYPES.get(datatype, np.dtype(object))
            tensor = given(np.array(values, dtype), name)
        inputs.append(tensor)
    equal((await me.infer("frame", inputs))["predictions"], reveal(table))


async def classes(me: Crowd) -> None:
    """A scikit-learn pipeline, with probabilities, as rows and as tensors."""
    table = frame(int(me.rng.integers(2**31)), me.count())[TREE]
    tree = me.models["tree"].model
    labels, chances = tree.predict(table), tree.predict_proba(table)
    rows = [[plain(value) for value in row] for row in table.itertuples(index=False)]
    document = await me.predict("tree", rows, probabilities=True)
    assert document["predictions"] == list(labels)
    assert document["probabilities"] == chances.tolist()
    assert document["classes"] == ["down", "up"]
    inputs = [given(np.array([text.encode() for text in table["city"]], object), "city", binary=me.codec())]
    inputs += [given(table[name].to_numpy(), name, binary=me.codec()) for name in TREE[:-1]]
    found = await me.infer("tree", inputs, "predictions", "probabilities")
    equal(found["predictions"], labels)
    equal(found["probabilities"], chances)


async def outputs(me: Crowd) -> None:
    """Several outputs, each of its own type and shape."""
    values = np.round(me.rng.normal(size=(me.count(), 3)) * 10, 1)
    expected = named(values)
    found = await me.infer("named", [given(values, binary=me.codec())], *expected)
    for name, array in expected.items():
        equal(found[name], array)


async def whole_calls(me: Crowd) -> None:
    """A model whose answers depend on all rows of a call: those of one request, for it may not be joined."""
    values = me.rng.normal(size=(me.count(), 3))
    equal((await me.infer("centred", [given(values, binary=me.codec())]))["predictions"], centred(values))


def plain(value: Any) -> Any:
    """A cell of a table as JSON has it."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value


Ask = Callable[[Crowd], Awaitable[None]]
KINDS: dict[str, tuple[Ask, ...]] = {
    "numbers": tuple(lambda me, t=datatype: numbers(me, t) for datatype in DATATYPES),
    "revealed": tuple(lambda me, t=datatype: revealed(me, t) for datatype in DATATYPES),
    "texts": (texts,),
    "mixed rows": (mixed_rows,),
    "converted rows": (converted_rows,),
    "table rows": (table_rows,),
    "table tensors": (table_tensors,),
    "classes": (classes,),
    "outputs": (outputs,),
    "whole calls": (whole_calls,),
}


async def one_client(address: str, seed: int, asks: tuple[Ask, ...], models: dict[str, Any], requests: int) -> None:
    rng = np.random.default_rng(seed)
    async with triton.InferenceServerClient(address) as tensors, aiohttp.ClientSession(f"http://{address}") as rows:
        me = Crowd(tensors, rows, rng, models)
        for _ in range(requests):
            await asks[rng.integers(len(asks))](me)


async def crowd(address: str, asks: tuple[Ask, ...], clients: int = CLIENTS, requests: int = REQUESTS) -> None:
    models = zoo()
    async with asyncio.timeout(120):
        await asyncio.gather(*(one_client(address, seed, asks, models, requests) for seed in range(clients)))


@pytest.mark.parametrize("kind", KINDS)
async def test_one_kind_alone(address, kind):
    """A few clients that all send rows of one kind: what fails in the crowd fails here with its name."""
    await crowd(address, KINDS[kind], clients=6, requests=8)


async def test_64_clients_each_with_rows_of_its_own(address):
    await crowd(address, tuple(ask for asks in KINDS.values() for ask in asks))
