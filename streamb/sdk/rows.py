"""Converts rows and values (arrays, frames, lists) to plain Python, to send or to store them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from streamb.errors import InvalidInput
from streamb.models.columns.rows import wire_rows as as_wire_rows


def wire_rows(rows: Any) -> list[Any]:
    """Convert rows to JSON-ready values; see `models.columns.rows.wire_rows`, which does all but refuse a single row.

    Args:
        rows: shape (rows, …) as an array, a tensor or nested lists; a DataFrame, which goes by column name; a dict of
            arrays by name; a list of dicts by column name; a list of strings for a model of texts.

    Raises:
        InvalidInput: this is not a list of rows (a single row must be put in a list), or JSON cannot carry a value.
    """
    if isinstance(rows, np.ndarray) and rows.ndim < 2 and rows.dtype.kind not in "OUT":
        raise InvalidInput(f"rows have shape (rows, features), this array has {rows.shape}; one row is [row]")
    if isinstance(rows, list | tuple) and rows and isinstance(rows[0], int | float | np.number):
        raise InvalidInput("rows are a list of rows, this is a list of numbers; one row is [row]")
    if isinstance(rows, Mapping) and not all(hasattr(values, "__len__") for values in rows.values()):
        raise InvalidInput("rows are a list, an array or a DataFrame, not a single dict; one row is [row]")
    return as_wire_rows(rows)


def one_row(features: Any) -> Any:
    """Convert one row to a new dict by column name, a new list, or a text; anything else is returned unchanged.

    Args:
        features: a mapping, a list or tuple, an array, a Series, a text; or a table of any kind with a single row.

    >>> one_row({"a": 1.5}), one_row(np.array([[1.5, 2.0]])), one_row((1.5, "x")), one_row("a text")
    ({'a': 1.5}, [1.5, 2.0], [1.5, 'x'], 'a text')
    """
    if type(features) is dict:
        return features.copy()
    if isinstance(features, list | tuple):
        nested = len(features) == 1 and isinstance(features[0], list | tuple | Mapping | np.ndarray)
        return one_row(features[0]) if nested else list(features)
    if isinstance(features, Mapping):
        return dict(features)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(features, pandas.DataFrame) and len(features) == 1:
        features = features.iloc[0]
    if pandas is not None and isinstance(features, pandas.Series):
        named = all(isinstance(name, str) for name in features.index)
        return features.to_dict() if named else features.tolist()
    if _is_array(features):
        listed = features.tolist()
        return one_row(listed) if isinstance(listed, list) else listed
    return list(features) if isinstance(features, np.ndarray) and features.ndim == 1 else features


def plain_value(value: Any) -> Any:
    """Convert a value of an array library to plain Python: an array of one value to it, a longer array to a list.

    >>> plain_value(np.float64(0.5)), plain_value(np.array([3])), plain_value(np.array([0.1, 0.9])), plain_value("a")
    (0.5, 3, [0.1, 0.9], 'a')
    """
    if _is_array(value):
        value = value.tolist()
    return plain_value(value[0]) if isinstance(value, list | tuple) and len(value) == 1 else value


def _is_array(value: Any) -> bool:
    """Whether the value is an array whose values have Python equivalents; nanosecond times have none."""
    return hasattr(value, "tolist") and getattr(getattr(value, "dtype", None), "kind", "O") not in "mM"
