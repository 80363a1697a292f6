"""Null means absent in every optional field of a body."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

import streamb.api.app
import streamb.monitoring.alerts.options
import streamb.rollouts.options  # noqa: F401
from streamb.options import Strict
from tests.serving.answering import served
from tests.serving.gateways import PREDICT
from tests.serving.test_answers import INFER, Answering


def documents(base=Strict):
    for one in base.__subclasses__():
        yield from ([one] if one.__module__.startswith("streamb.") else [])
        yield from documents(one)


@pytest.mark.parametrize("body", sorted(set(documents()), key=str), ids=lambda body: body.__name__)
def test_optional_fields_of_documents(body):
    optional = [field.alias or name for name, field in body.model_fields.items() if not field.is_required()]
    wrong = set()
    try:
        found = body.model_validate(dict.fromkeys(optional))
    except ValidationError as error:  # required fields are missing
        wrong = {one["loc"][0] for one in error.errors() if one["loc"]}
    else:
        assert not found.model_fields_set
    assert not wrong & set(optional)
    described = body.model_json_schema()["properties"]
    assert all({"type": "null"} in described[name].get("anyOf", []) for name in optional), described


INPUT = {"name": "x", "shape": [2], "datatype": "FP64", "data": [1, 2], "parameters": None}
WANTED = {"name": "predictions", "parameters": None}
NULLS = {
    "rows": (PREDICT, {"instances": [[1], [2]], "user_id": None, "probabilities": None}),
    "tensors": (INFER, {"inputs": [INPUT], "id": None, "parameters": None, "outputs": None}),
    "parameters": (
        INFER,
        {"inputs": [INPUT], "outputs": [WANTED], "parameters": {"user_id": None, "binary_data_output": None}},
    ),
    "inside": (
        INFER,
        {
            "inputs": [{**INPUT, "parameters": {"binary_data_size": None}}],
            "outputs": [{"name": "predictions", "parameters": {"binary_data": None}}],
        },
    ),
}


@pytest.mark.parametrize(("path", "body"), NULLS.values(), ids=NULLS)
async def test_optional_fields_of_requests(path, body):
    async with served(Answering(lambda X: X[:, 0])) as (client, _):
        reply = await client.post(path, body)
        answer = reply.json()
    assert reply.status == 200, answer
    assert (answer.get("predictions") or answer["outputs"][0]["data"]) == [1, 2]
    assert answer.get("id", "an id")


@pytest.mark.parametrize("own", [{}, {"success": None}])
async def test_optional_fields_of_feedback(own):
    async with served(Answering(np.array([1.0]))) as (client, _):
        await client.post(PREDICT, {"instances": [[1]]}, x_request_id="r")
        body = {"request_id": "r", "label": None, "value": 2.5, **own}
        assert (await client.post("/v2/models/m/feedback", body)).json()["joined"] == ["value"]
