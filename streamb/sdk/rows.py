"""Rows as people have them (arrays, frames, lists) as rows that go over the wire."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from streamb.errors import InvalidInput


def wire_rows(rows: Any) -> list[Any]:
    """Rows as JSON-ready values.

    Args:
        rows: shape (rows, features) as an array or nested lists; a DataFrame, which goes by column name; a list of
            dicts by column name; a list of strings for a model of texts.

    Raises:
        InvalidInput: not rows; a single row must be put in a list.
    """
    pandas = sys.modules.get("pandas")  # a caller with a DataFrame has imported it
    if pandas is not None and isinstance(rows, pandas.DataFrame):
        columns = [str(name) for name in rows.columns]
        return [
            dict(zip(columns, row, strict=True))
            for row in rows.astype(object).where(rows.notna(), None).to_numpy().tolist()
        ]
    if pandas is not None and isinstance(rows, pandas.Series):
        rows = rows.to_numpy()
    if isinstance(rows, np.ndarray):
        if rows.ndim < 2 and rows.dtype.kind not in "OUT":
            raise InvalidInput(f"rows have shape (rows, features), this array has {rows.shape}; one row is [row]")
        found: list[Any] = rows.tolist()
        return found
    if isinstance(rows, str | bytes | dict) or not isinstance(rows, Sequence):
        raise InvalidInput(f"rows are a list, an array or a DataFrame, not {type(rows).__name__}; one row is [row]")
    if rows and isinstance(rows[0], int | float | np.number):
        raise InvalidInput("rows are a list of rows, this is a list of numbers; one row is [row]")
    return list(rows)
