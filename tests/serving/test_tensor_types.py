"""A value of a tensor reaches the model as it is, in the declared type, or is refused by row and column."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.serving.tensor_attack import (
    CONTAINERS,
    NUMPY,
    TYPES,
    Saw,
    body_of,
    client_of,
    expected,
    same,
    schema_of,
    values_of,
)

INFER = "/v2/models/m/infer"
FORMS = [(binary, by_column) for binary in (False, True) for by_column in (False, True)]


async def wrong_with(model, client, datatype, value, dtype, container, *, binary, by_column):
    """What is wrong with how a model got a value; "" for nothing."""
    if not binary and isinstance(value, float) and math.isinf(value):
        return ""
    model.given = None
    body, headers = body_of(
        datatype, None if value != value and not binary else value, binary=binary, by_column=by_column
    )
    response = await client.request("POST", INFER, body, headers)
    if response.status in (400, 422):
        error = response.json()["error"]
        told = ("row 1" in error or "row 0" in error) and ("x1" in error or "column" in error)
        return "" if told or model.given is not None else f"does not say where: {error}"
    if response.status != 200:
        return f"{response.status} {response.body!r}"
    found, found_type = model.cell()
    if not same(found, expected(container, dtype, value)):
        return f"arrived as {found!r} {found_type}"
    return ""


def is_own(datatype, dtype):
    return dtype == {"BF16": "bfloat16", "BYTES": "str"}.get(datatype, NUMPY[datatype].name)


@pytest.mark.parametrize("datatype", NUMPY)
async def test_values_for_a_model_with_a_schema(datatype):
    problems = []
    for container in CONTAINERS:
        for dtype in TYPES:
            if (container == "tensor" and dtype == "object") or (container == "tensors" and dtype == "object"):
                continue
            schema = schema_of(container, dtype)
            model = Saw(schema)
            client = client_of(model)
            for value in values_of(datatype):
                for binary, by_column in FORMS:
                    if by_column and container in ("tensor", "tensors"):
                        continue
                    wrong = await wrong_with(
                        model, client, datatype, value, dtype, container, binary=binary, by_column=by_column
                    )
                    finite = value != "ends\0" if isinstance(value, str) else math.isfinite(value)
                    if not wrong and is_own(datatype, dtype) and finite and model.given is None:
                        wrong = "is refused"
                    if wrong:
                        problems.append((container, dtype, value, binary, by_column, wrong))
    assert not problems, f"{len(problems)}:\n" + "\n".join(map(str, problems[:40]))


@pytest.mark.parametrize("datatype", NUMPY)
async def test_values_for_a_model_without_a_schema(datatype):
    model = Saw(None)
    client = client_of(model)
    for value in values_of(datatype):
        for binary, by_column in FORMS:
            wrong = await wrong_with(model, client, datatype, value, "", "", binary=binary, by_column=by_column)
            assert not wrong, (value, binary, by_column)
            if not by_column and datatype != "BYTES" and isinstance(model.given, np.ndarray):
                assert model.given.dtype == NUMPY[datatype]
