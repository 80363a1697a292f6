"""Converts checked rows to the container that a model's `predict` takes: an ndarray, a DataFrame or a list of str."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidFeatures
from streamb.models.features import Columns, Feature, FeatureKind, Rows

if TYPE_CHECKING:
    import pandas as pd


def fill_container(schema: Columns, rows: Rows) -> Any:
    """Convert rows for `FeatureSchema.to_input`, in all cases but a plain array of numbers."""
    if schema.is_open:
        return _guess(rows)
    if schema.container == "texts":
        return [row[0] for row in rows]
    if schema.container == "frame":
        return _to_frame(schema, rows)
    table = np.empty((len(rows), len(schema.features)), dtype=object)
    table[:] = rows
    return table


def _to_frame(schema: Columns, rows: Rows) -> pd.DataFrame:
    import pandas as pd

    if isinstance(rows, np.ndarray):
        frame = pd.DataFrame(rows, columns=list(schema.names))
        exact = {
            f.name: _exact_dtype(f) for f in schema.features if not f.nullable and f.kind is not FeatureKind.NUMBER
        }
        return frame.astype(exact) if exact else frame
    columns = zip(*rows, strict=True)
    return pd.DataFrame({f.name: _to_series(f, values) for f, values in zip(schema.features, columns, strict=True)})


def _exact_dtype(feature: Feature) -> str:
    return "bool" if feature.kind is FeatureKind.BOOLEAN else "int64"


def _to_series(feature: Feature, values: tuple[Any, ...]) -> pd.Series[Any]:
    """One column with the type it had in training: numbers stay numbers even where a value is missing."""
    import pandas as pd

    if feature.kind is FeatureKind.CATEGORY and feature.categories:
        return pd.Series(pd.Categorical(list(values), categories=list(feature.categories)))
    if not feature.kind.is_numeric:
        return pd.Series(list(values))
    if feature.nullable or feature.kind is FeatureKind.NUMBER:
        return pd.Series(np.array(values, np.float64))
    return pd.Series(np.array(values, _exact_dtype(feature)))


def _guess(rows: Rows) -> Any:
    """Rows of an unknown model: numbers become a float array, texts and objects stay a list.

    Raises:
        InvalidFeatures: requests with rows of different lengths were joined in one batch.
    """
    if isinstance(rows, np.ndarray) or not rows or not isinstance(rows[0], list | tuple):
        return rows
    table = _rectangular(rows)
    return table.astype(np.float64) if table.dtype.kind in "iuf" else table


def _rectangular(rows: list[list[Any]]) -> NDArray[Any]:
    if len({len(row) for row in rows}) > 1:
        raise InvalidFeatures("the rows have different lengths", problems=["the rows have different lengths"])
    try:
        table = np.array(rows)
    except ValueError:  # values that are themselves lists of different lengths
        table = np.array(None)
    if table.dtype.kind in "iufb":
        return table
    table = np.empty((len(rows), len(rows[0])), dtype=object)  # np.array would turn mixed values into strings
    for index, row in enumerate(rows):
        table[index, :] = row
    return table
