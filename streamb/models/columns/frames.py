"""Converts checked rows to a DataFrame whose columns have the types of the example. Imports pandas when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamb.models.columns.casting import cast_numbers, is_exact, python_values
from streamb.models.columns.datetimes import moments
from streamb.models.dtypes import DATE, OBJECT, datetime_unit, is_masked, numpy_dtype
from streamb.models.features import Columns, Feature, FeatureKind, Rows

if TYPE_CHECKING:
    import pandas as pd


def to_frame(schema: Columns, rows: Rows) -> pd.DataFrame:
    """Return checked rows as a DataFrame."""
    import pandas as pd

    if isinstance(rows, np.ndarray):
        shared = schema.shared_type
        if shared is not None and not is_masked(shared) and shared != OBJECT:
            cast = cast_numbers(rows, shared)
            if cast.dtype == (numpy_dtype(shared) or np.float64):  # else some column has a null
                return pd.DataFrame(cast, columns=list(schema.names))
        columns: Any = rows.T
    else:
        columns = zip(*rows, strict=True)
    return pd.DataFrame({f.name: _to_series(f, values) for f, values in zip(schema.features, columns, strict=True)})


def _to_series(feature: Feature, values: Any) -> pd.Series[Any]:
    """One column with the type it had in training: numbers stay numbers even where a value is missing."""
    import pandas as pd

    if feature.kind is FeatureKind.CATEGORY and feature.categories:
        levels = pd.Index(list(feature.categories), dtype=feature.dtype or None)
        return pd.Series(list(values), dtype=pd.CategoricalDtype(levels, ordered=feature.ordered))
    if feature.kind.is_numeric and feature.dtype != OBJECT:
        return _numbers(feature, values)
    if feature.kind is FeatureKind.DATETIME and feature.dtype not in (OBJECT, DATE):
        column = pd.Series(moments(values, datetime_unit(feature.dtype) or "us"))
        return column.dt.tz_localize("UTC").dt.tz_convert(feature.zone) if feature.zone else column
    if feature.kind in (FeatureKind.LIST, FeatureKind.TENSOR):
        return _objects([_nested(feature, value) for value in values])
    listed = python_values(feature, values)
    if feature.dtype == OBJECT or feature.kind is FeatureKind.DATETIME:
        return _objects(listed)
    if feature.kind is FeatureKind.ANY:
        column = pd.Series(listed)
        return column if column.dtype.kind != "f" or is_exact(column.to_numpy(), listed) else _objects(listed)
    return pd.Series(listed, dtype=feature.dtype or None)


def _numbers(feature: Feature, values: Any) -> pd.Series[Any]:
    import pandas as pd

    name = feature.column_type
    if is_masked(name):
        listed = [None if value is None or value != value else value for value in values]  # NaN
        return pd.Series(listed, dtype=name)
    dtype = numpy_dtype(name) or np.dtype(np.float64)
    if isinstance(values, np.ndarray):
        return pd.Series(cast_numbers(values, name))
    if dtype.kind in "iub" and any(value is None or isinstance(value, float) for value in values):
        dtype = np.dtype(np.float64)  # null, or a fraction
    return pd.Series(cast_numbers(np.array(values, dtype), name))


def _nested(feature: Feature, value: Any) -> Any:
    """A list as it is, or as the array that the example's column held."""
    dtype = numpy_dtype(feature.dtype)
    if value is None or (dtype is None and feature.kind is FeatureKind.LIST):
        return value
    return np.asarray(value, dtype)


def _objects(values: list[Any]) -> pd.Series[Any]:
    import pandas as pd

    array: NDArray[Any] = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):  # one by one: NumPy would take equal lists for a second axis
        array[index] = value
    return pd.Series(array, dtype=object)  # else strings among them would change the type
