"""Typed tensors reach a model as it saw them in process, whatever its container."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from streamb.models import FeatureSchema
from tests.serving.served_model import serve


class Seen:
    """Keeps what it is asked; answers one number per row."""

    has_probabilities = False
    classes = None

    def __init__(self, example: Any) -> None:
        self.schema = FeatureSchema.learn(example)
        self.given: Any = None

    def predict(self, given):
        self.given = given
        rows = next(iter(given.values())) if isinstance(given, dict) else given
        return np.zeros(len(rows))


def tensor(name, array, datatype):
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.tolist()}


async def ask(model, *inputs, status=200):
    response = await serve(model, task="regression").post("/v2/models/m/infer", {"inputs": inputs})
    assert response.status == status, response.json()
    return response.json()


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)


async def test_a_tensor_of_any_shape():
    model = Seen(IMAGES)
    await ask(model, tensor("input", IMAGES, "UINT8"))
    assert model.given.dtype == np.uint8
    np.testing.assert_array_equal(model.given, IMAGES)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (IMAGES[:, :2], "expected a tensor of shape [3, 2, 2], got shape [2, 2, 2]"),
        (IMAGES[:, 0, 0], "expected a tensor of shape [3, 2, 2], got shape [2]"),
        (IMAGES + 0.5, "expected a tensor of shape [3, 2, 2], got fractions where uint8 is wanted"),
        (IMAGES.astype(int) * 100, "got a number that does not fit uint8 (0 to 255)"),
    ],
)
async def test_a_wrong_shape_or_type_never_reaches_the_model(rows, sentence):
    model = Seen(IMAGES)
    datatype = "FP64" if rows.dtype.kind == "f" else "INT64"
    assert sentence in (await ask(model, tensor("input", rows, datatype), status=422))["error"]
    response = await serve(model, task="regression").post("/v2/models/m/predict", {"instances": rows.tolist()})
    assert response.status == 422
    assert sentence in response.json()["error"]
    assert model.given is None


async def test_several_tensors_by_name():
    example = {"ids": np.array([[1, 2, 3]], np.int32), "length": np.array([3])}
    model = Seen(example)
    await ask(model, tensor("length", example["length"], "INT64"), tensor("ids", example["ids"], "INT32"))
    assert list(model.given) == ["ids", "length"]
    np.testing.assert_array_equal(model.given["ids"], example["ids"], strict=True)
    rows = [{"ids": [1, 2, 3], "length": 3}, {"ids": [4, 5], "length": 2}]
    response = await serve(model, task="regression").post("/v2/models/m/predict", {"instances": rows})
    assert "row 1, column 'ids': expected a tensor of shape [3], got shape [2]" in response.json()["error"]
    lone = Seen({"ids": example["ids"]})
    await ask(lone, tensor("ids", example["ids"], "INT32"))
    np.testing.assert_array_equal(lone.given["ids"], example["ids"], strict=True)


async def test_rows_of_one_request_have_one_shape_where_an_axis_is_free():
    model = Seen(np.ones((2, 3, 4), np.float32))
    free = FeatureSchema.from_json(
        {"container": "tensor", "features": [{"name": "input", "kind": "tensor", "shape": [None, 2]}]}
    )
    model.schema = free
    client = serve(model, task="regression")
    assert (await client.post("/v2/models/m/predict", {"instances": [[[1, 2]]]})).status == 200
    response = await client.post("/v2/models/m/predict", {"instances": [[[1, 2]], [[1, 2], [3, 4]]]})
    assert response.status == 422
    assert "row 1, column 'input'" in response.json()["error"]
    assert "send them in separate requests" in response.json()["error"]


async def test_columns_by_name_with_their_types():
    frame = pd.DataFrame(
        {
            "when": pd.to_datetime(["2024-01-31"]).as_unit("s"),
            "count": np.array([2**53 + 1]),
            "city": pd.Categorical(["Oslo"], ["Lima", "Oslo"]),
        }
    )
    model = Seen(frame)
    when = np.array(["2024-01-31T00:00:00"], object)
    inputs = [
        tensor("when", when, "BYTES"),
        tensor("count", frame["count"].to_numpy(), "INT64"),
        tensor("city", np.array(["Oslo"], object), "BYTES"),
    ]
    await ask(model, *inputs)
    pd.testing.assert_frame_equal(model.given, frame)


async def test_whole_numbers_beyond_floats_arrive_as_they_are():
    large = np.array([[2**53 + 1, 2**60 + 1]])
    for model in (Seen(large), Seen(pd.DataFrame(large, columns=["a", "b"]))):
        await ask(model, tensor("input", large, "INT64"))
        assert np.asarray(model.given).tolist() == large.tolist()
    model = Seen(large)
    model.schema = None
    await ask(model, tensor("input", large, "INT64"))
    assert model.given.tolist() == large.tolist()
    response = await serve(model, task="regression").post("/v2/models/m/predict", {"instances": large.tolist()})
    assert response.status == 200
    assert model.given.tolist() == large.tolist()
