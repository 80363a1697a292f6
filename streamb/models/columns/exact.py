"""Keeps whole numbers whole: refuses those that the type of a column cannot hold, instead of rounding them.

A tensor of a whole datatype says that its numbers are whole, so each must arrive as it is. A number in JSON rows is a
decimal for the nearest number of its column's type; only in a column of whole numbers it must arrive as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidFeatures
from streamb.models.columns.casting import cast_numbers
from streamb.models.dtypes import EXACT, OBJECT, is_masked, numpy_dtype
from streamb.models.features import Columns, Feature, FeatureKind

_MAX_PROBLEMS: Final = 20


def refuse_rounding(schema: Columns, columns: Mapping[str, NDArray[Any]]) -> None:
    """Refuse whole numbers that a column of floats would round.

    Args:
        schema: the columns.
        columns: arrays by name, each with one entry per row; only those of whole numbers are looked at.

    Raises:
        InvalidFeatures: names each such number by row and column.
    """
    problems: list[str] = []
    for feature in schema.features:
        values = columns.get(feature.name)
        if values is None or values.dtype.kind not in "iu" or fits(values, feature.exact_up_to):
            continue
        name = feature.dtype or "float64"
        flat = values.reshape(len(values), -1)
        with np.errstate(over="ignore"):
            held = cast_numbers(flat.astype(np.float64), name)
        for row, (given, found) in enumerate(zip(flat.tolist(), held.tolist(), strict=True)):
            problems += [
                _sentence(row, feature, one, name) for one, two in zip(given, found, strict=True) if one != two
            ]
    _raise(problems)


def fits(values: NDArray[Any], largest: int) -> bool:
    """Return whether an array of whole numbers has none beyond a size."""
    limits = np.iinfo(values.dtype)
    if (-largest <= limits.min and limits.max <= largest) or not values.size:
        return True
    return -largest <= int(values.min()) and int(values.max()) <= largest


def large_table(schema: Columns, table: list[list[Any]]) -> NDArray[Any] | None:
    """Return checked rows that hold whole numbers beyond 2**53 as an array; None if they stay a list of rows.

    Raises:
        InvalidFeatures: the type of a column cannot hold such a number, also because of what stands beside it: a null
            or a fraction makes a column of whole numbers one of floats.
    """
    if schema.container not in ("array", "frame", "tensors"):
        return None
    is_array = schema.container == "array"
    dtype = numpy_dtype(schema.number_type)
    whole = dtype is not None and dtype.kind in "iu" and all(type(value) is int for row in table for value in row)
    problems: list[str] = []
    for index, feature in enumerate(schema.features):
        column = [row[index] for row in table]
        is_kept = whole if is_array else is_masked(feature.dtype) or all(type(value) is int for value in column)
        if not is_kept and feature.kind.is_numeric:
            problems += [
                _sentence(row, feature, value, "an array of floats")
                for row, value in enumerate(column)
                if type(value) is int and abs(value) > EXACT and float(value) != value
            ]
    _raise(problems)
    return np.array(table, dtype if whole else np.float64) if is_array else None


def whole_table(table: list[list[Any]]) -> NDArray[Any] | None:
    """Return rows of values of any kind as an array if all are whole numbers of 64 bits; else None.

    >>> whole_table([[2**64 - 1]]), whole_table([[2**53 + 1, 0.5]])
    (array([[18446744073709551615]], dtype=uint64), None)
    """
    if all(type(value) is int for row in table for value in row):
        for dtype in (np.int64, np.uint64):
            try:
                return np.array(table, dtype)
            except OverflowError:
                continue
    return None


def settle_any(schema: Columns, table: list[list[Any]]) -> None:
    """Make whole numbers floats, in a frame's columns of any kind, where pandas does: beside fractions and nulls.

    Columns that hold a whole number beyond 2**53 beside these stay; the model gets them as objects. So what a request
    gets does not depend on the rows that are joined to it.
    """
    for index, feature in enumerate(schema.features if schema.container == "frame" else ()):
        if feature.kind is not FeatureKind.ANY or feature.dtype == OBJECT:
            continue
        column = [row[index] for row in table]
        types = set(map(type, column))
        if int in types and types <= {int, float, NoneType} and len(types) > 1:
            numbers = [value for value in column if type(value) is int]
            if all(abs(value) < 2**64 and float(value) == value for value in numbers):
                for row in table:
                    row[index] = float(row[index]) if type(row[index]) is int else row[index]


def _sentence(row: int, feature: Feature, value: int, what: str) -> str:
    return f"row {row}, column {feature.name!r}: {what} cannot hold the whole number {value} exactly"


def _raise(problems: list[str]) -> None:
    if problems:
        more = f" ({len(problems)} problems in all)" if len(problems) > _MAX_PROBLEMS else ""
        raise InvalidFeatures("; ".join(problems[:_MAX_PROBLEMS]) + more, problems=problems[:_MAX_PROBLEMS])
