"""Converts checked rows to the container that a model's `predict` takes: array, frame, list, dict of arrays."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidFeatures
from streamb.models.columns.casting import as_floats, cast_numbers, is_exact, python_value
from streamb.models.columns.datetimes import moments
from streamb.models.dtypes import BFLOAT16, OBJECT, STRINGS, bfloat16_of, datetime_unit, numpy_dtype
from streamb.models.features import Columns, Feature, FeatureKind, Rows

_DIFFERENT_SHAPES: Final = "the tensors of these rows have different shapes; send them in separate requests"


def fill_container(schema: Columns, rows: Rows) -> Any:
    """Convert rows for `FeatureSchema.to_input`, in all cases but a plain array of float64."""
    if schema.is_open:
        return _guess(rows)
    if schema.container == "frame":
        from streamb.models.columns.frames import to_frame  # late: it imports pandas

        return to_frame(schema, rows)
    if schema.container == "array":
        return to_array(schema, rows)
    if schema.container == "tensor":
        return rows
    if schema.container == "tensors":
        if isinstance(rows, np.ndarray):
            return {f.name: cast_numbers(rows[:, i], f.column_type) for i, f in enumerate(schema.features)}
        columns = zip(*rows, strict=True)
        return {f.name: _to_tensor(f, values) for f, values in zip(schema.features, columns, strict=True)}
    if schema.container == "records":
        return _to_records(schema, rows)
    return [row[0] for row in rows]  # texts, list


def to_array(schema: Columns, rows: Rows) -> NDArray[Any]:
    """Return the rows as an array, shape (rows, columns): of the type of all its columns, else float64 or object."""
    types = {feature.dtype for feature in schema.features}
    shared = types.pop() if len(types) == 1 else ""
    if shared == OBJECT:
        return _object_table(_python_rows(schema, rows))
    if isinstance(rows, np.ndarray):
        return cast_numbers(rows, shared)
    kinds = {feature.kind for feature in schema.features}
    if kinds == {FeatureKind.DATETIME}:
        unit = datetime_unit(shared) or "us"
        return np.stack([moments(column, unit) for column in zip(*rows, strict=True)], axis=1)
    if shared in STRINGS and all(None not in row for row in rows):
        return np.array(rows, dtype=str)
    if kinds == {FeatureKind.ANY}:  # tables of numbers have come as arrays
        return _object_table(rows)
    return _object_table(_python_rows(schema, rows))


def _python_rows(schema: Columns, rows: Rows) -> list[list[Any]]:
    listed = rows.tolist() if isinstance(rows, np.ndarray) else rows
    return [[python_value(f, value) for f, value in zip(schema.features, row, strict=True)] for row in listed]


def _to_records(schema: Columns, rows: Rows) -> list[dict[str, Any]]:
    """Rows as dicts; a key that may be absent is left out where there is no value, as in the example."""
    optional = [feature.optional for feature in schema.features]
    return [
        {
            name: value
            for name, value, may_be_absent in zip(schema.names, row, optional, strict=True)
            if not (may_be_absent and (value is None or value != value))
        }
        for row in _python_rows(schema, rows)
    ]


def _to_tensor(feature: Feature, values: tuple[Any, ...]) -> NDArray[Any]:
    if feature.kind is FeatureKind.DATETIME:
        return moments(values, datetime_unit(feature.dtype) or "us")
    if feature.kind.is_numeric or feature.kind is FeatureKind.TENSOR:
        dtype = numpy_dtype(feature.dtype)
        is_whole = dtype is not None and dtype.kind in "iub" and feature.kind is not FeatureKind.TENSOR
        if is_whole and any(value is None or type(value) is float for value in values):
            return np.array(values, np.float64)  # null, or a fraction
        wanted: Any = str if feature.dtype in STRINGS else dtype
        try:
            made = np.array(values, wanted if feature.dtype else None)
            return bfloat16_of(made) if feature.dtype == BFLOAT16 else made
        except (TypeError, ValueError):
            if feature.kind is FeatureKind.TENSOR:
                raise InvalidFeatures(_DIFFERENT_SHAPES, problems=[_DIFFERENT_SHAPES]) from None
            return np.array(values, np.float64)  # null among whole numbers
    if feature.dtype in STRINGS and None not in values:
        return np.array(values, dtype=str)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _guess(rows: Rows) -> Any:
    """Rows of an unknown model: numbers become a float array, texts and objects stay a list.

    Raises:
        InvalidFeatures: requests with rows of different lengths were joined in one batch.
    """
    if isinstance(rows, np.ndarray) or not rows or not isinstance(rows[0], list | tuple):
        return rows
    table = _rectangular(rows)
    return table if table.dtype.kind == "b" else as_floats(table)


def _rectangular(rows: list[list[Any]]) -> NDArray[Any]:
    if len({len(row) for row in rows}) > 1:
        raise InvalidFeatures("the rows have different lengths", problems=["the rows have different lengths"])
    try:
        table = np.array(rows)
    except (ValueError, OverflowError):  # values that are themselves lists of different lengths
        table = np.array(None)
    if table.dtype.kind == "f" and table.ndim == 2 and not is_exact(table, (value for row in rows for value in row)):
        return _object_table(rows)
    return table if table.dtype.kind in "iufb" else _object_table(rows)


def _object_table(rows: list[list[Any]]) -> NDArray[Any]:
    table = np.empty((len(rows), len(rows[0])), dtype=object)  # np.array would turn mixed values into strings
    for index, row in enumerate(rows):
        table[index, :] = row
    return table
