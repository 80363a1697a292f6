"""Random requests: none meets a fault of the gateway; and a value that is answered is the one that was sent."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import orjson
import pytest

from streamb.clock import SystemClock
from streamb.serving import GatewayApp, GatewayLimits
from streamb.traffic import GatewayPolicy, RoutingTable
from tests.conformance.hosting import InProcess
from tests.conformance.zoo import DATATYPES, zoo
from tests.serving.asgi_client import AsgiClient

ODD: list[Any] = [None, True, False, 0, 1, -1, 2, 2**31, 2**53 + 1, 2**64 - 1, -(2**63), 0.5, -0.0, 1e308, 1e-320, 1e39]
ODD += ["", "a", "é", "NaN", "2024-01-01", "2024-02-30", "\0", [], [1], [[1]], [None], ["a", 1], {}, {"a": 1}]
NAMES = ("input", "a", "b", "x0", "x1", "x2", "text", "amount", "city", "seen", 5)
SHAPES = ([1], [2], [1, 1], [2, 2], [1, 3], [2, 3], [2, 2, 2], [0, 2])


@pytest.fixture(scope="module")
def models():
    return zoo()


@pytest.fixture
async def client(models):
    app = GatewayApp(InProcess(models), GatewayLimits(), SystemClock())
    app.apply(RoutingTable(1, {name: hosted.route(name) for name, hosted in models.items()}, GatewayPolicy()))
    yield AsgiClient(app)
    await app.close()


class Requests:
    """Makes requests that are nearly valid."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def maybe(self, share: float, otherwise: Any, depth: int = 0) -> Any:
        """Something odd in this share of the cases."""
        chosen = self.random
        if chosen.random() >= share:
            return otherwise
        if chosen.random() < 0.2 and depth < 3:
            return [self.maybe(1.0, None, depth + 1) for _ in range(chosen.randint(0, 3))]
        return chosen.choice(ODD)

    def tensor(self) -> dict[str, Any]:
        chosen = self.random
        datatype, shape = chosen.choice([*DATATYPES, "BYTES", "BF16"]), chosen.choice(SHAPES)
        usual = {"BYTES": ["a", "é"], "BOOL": [True, False]}.get(datatype, [0, 1] if "INT" in datatype else [1.5, 0])
        data = [self.maybe(0.05, chosen.choice(usual)) for _ in range(math.prod(shape))]
        return {
            "name": self.maybe(0.03, chosen.choice(NAMES)),
            "shape": self.maybe(0.05, shape),
            "datatype": self.maybe(0.03, datatype),
            "data": self.maybe(0.05, data),
            "parameters": self.maybe(0.05, None),
        }

    def tensors(self) -> dict[str, Any]:
        document = {"inputs": [self.tensor() for _ in range(self.random.choice([1, 1, 2, 3]))]}
        for name in ("id", "parameters", "outputs"):
            if self.random.random() < 0.1:
                document[name] = self.maybe(1.0, None)
        return document

    def rows(self, names: tuple[str, ...]) -> dict[str, Any]:
        rows: list[Any] = []
        for _ in range(self.random.randint(1, 3)):
            row = [self.maybe(0.2, self.random.choice([1, 2.5, "a", True, "2024-01-01"])) for _ in names]
            rows.append(dict(zip(names, row, strict=True)) if self.random.random() < 0.4 else self.maybe(0.05, row))
        return {"instances": self.maybe(0.02, rows), "probabilities": self.maybe(0.1, None)}


@pytest.mark.parametrize("seed", range(3))
async def test_no_request_is_a_fault_of_the_gateway(client, models, seed):
    make, answered = Requests(seed), 0
    for _ in range(2000):
        model = make.random.choice(list(models))
        schema = models[model].model.schema
        if make.random.random() < 0.6:
            route, document = "infer", make.tensors()
        else:
            route, document = "predict", make.rows(schema.names if schema else ("a", "b"))
        response = await client.post(f"/v2/models/{model}/{route}", document)
        answered += response.status == 200
        assert response.status in (200, 400, 422) or response.json()["code"] == "model_error", document
    assert answered > 100


def extremes(dtype: np.dtype[Any]) -> list[Any]:
    """Values of a type at the borders of all types."""
    if dtype.kind == "b":
        return [True, False]
    if dtype.kind == "f":
        largest, smallest = float(np.finfo(dtype).max), float(np.finfo(dtype).smallest_subnormal)
        near = [0.0, 1.0, 1.5, 0.1, 255.0, 256.0, -129.0, 2049.0, 65504.0, 2.0**24, 2.0**53, 2.0**63, 2.0**64]
        return [math.inf, largest, smallest, *(value for value in near if value <= largest)]
    limits = np.iinfo(dtype)
    near = [0, 1, -1, 127, 128, -128, -129, 255, 256, 2049, 2**24 + 1, 2**31, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63]
    return [limits.min, limits.max, *(value for value in near if limits.min <= value <= limits.max)]


@pytest.mark.parametrize("column", DATATYPES)
async def test_each_datatype_in_a_column_of_each_type_is_exact_or_refused(client, column):
    """Only a fraction may be rounded, to the precision of a column of floats."""
    wanted, answered = DATATYPES[column], 0
    for datatype, dtype in DATATYPES.items():
        for value in extremes(dtype):
            sent = np.array([[value, value]], dtype)
            entry = {
                "name": "input",
                "shape": [1, 2],
                "datatype": datatype,
                "parameters": {"binary_data_size": sent.nbytes},
            }
            head = orjson.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}})
            headers = {"inference-header-content-length": str(len(head))}
            response = await client.request("POST", f"/v2/models/typed-{column}/infer", head + sent.tobytes(), headers)
            assert response.status in (200, 422), (datatype, value)
            if response.status == 422:
                assert datatype != column or value == math.inf, (value, response.json())
                continue
            length = int(response.headers["inference-header-content-length"])
            assert orjson.loads(response.body[:length])["outputs"][0]["datatype"] == column
            found = np.frombuffer(response.body[length:], wanted)[0].item()
            exact = float(sent[0, 0].astype(wanted)) if dtype.kind == wanted.kind == "f" else sent[0, 0].item()
            assert found == exact, (datatype, value)
            answered += 1
    assert answered > 20
