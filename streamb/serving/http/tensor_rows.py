"""Turns the tensors of a request into rows, checked against the schema of a version.

Rows come either as one tensor of shape (rows, features), whatever its name, or as one tensor for each feature, named
after it, of shape (rows,) or (rows, 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamb.errors import BadRequest, InvalidInput
from streamb.models.schema import FeatureSchema
from streamb.serving.answer import Rows
from streamb.serving.http.tensors import Tensor


def count_rows(tensors: Sequence[Tensor]) -> int:
    """Return the number of rows in the inputs; raises `BadRequest` if they disagree or have none."""
    counts = {tensor.values.shape[0] if tensor.values.ndim else 0 for tensor in tensors}
    if len(counts) != 1 or counts == {0}:
        shapes = {tensor.name: list(tensor.values.shape) for tensor in tensors}
        raise BadRequest(
            f"all inputs must have the same first dimension, the number of rows, and at least one: {shapes}"
        )
    return counts.pop()


def rows_from_tensors(tensors: Sequence[Tensor], schema: FeatureSchema | None) -> Rows:
    """Return the rows of a request, checked against the schema if there is one.

    Without a schema, one tensor of numbers or booleans is an array of the client's datatype (bfloat16 as float32), one
    tensor of texts or with nulls a list of rows; several tensors are rows by name, of Python values.
    """
    if schema is None:
        return _untyped(tensors)
    first = tensors[0]
    if len(tensors) == 1 and (first.name not in schema.names or schema.container == "tensor"):
        return schema.check_array(first.values)
    columns = {tensor.name: tensor.values if tensor.name in schema.nested else _column(tensor) for tensor in tensors}
    return schema.check_array(columns)


def _untyped(tensors: Sequence[Tensor]) -> Rows:
    if len(tensors) == 1:
        values = tensors[0].values
        values = values if values.ndim > 1 else values[:, None]
        return values.tolist() if values.dtype.kind == "O" else values
    listed = zip(*(_squeezed(tensor.values).tolist() for tensor in tensors), strict=True)
    names = [tensor.name for tensor in tensors]
    return [dict(zip(names, values, strict=True)) for values in listed]


def _squeezed(values: NDArray[np.generic]) -> NDArray[Any]:
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _column(tensor: Tensor) -> NDArray[Any]:
    values = _squeezed(tensor.values)
    if values.ndim == 1:
        return values
    raise InvalidInput(
        f"input {tensor.name!r} has shape {list(values.shape)}; send one tensor of shape [rows, features], "
        "or one of shape [rows] for each feature, named after it"
    )
