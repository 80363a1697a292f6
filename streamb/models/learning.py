"""Learns a feature schema from training data: names, kinds, optional values, and the observed ranges."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.models.features import Container, Feature, FeatureKind

if TYPE_CHECKING:
    import pandas as pd

_MAX_CATEGORIES: Final = 256  # a string column with more different values than this is text
_TEXTS: Final = (Feature("text", FeatureKind.TEXT),)


def learn_columns(data: Any) -> tuple[tuple[Feature, ...], Container]:
    """Return the columns of the data and its container, for `FeatureSchema.learn`."""
    pandas = sys.modules.get("pandas")  # data can only be a frame when somebody imported pandas
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return tuple(_learn_series(str(name), data[name]) for name in data.columns), "frame"
    if pandas is not None and isinstance(data, pandas.Series):
        data = data.tolist()
    if isinstance(data, list | tuple) and data and all(isinstance(item, str) for item in data):
        return _TEXTS, "texts"
    if hasattr(data, "tocsr"):  # a sparse matrix: absent means zero, so ranges would mislead
        return tuple(Feature(f"x{index}") for index in range(int(data.shape[1]))), "array"
    table = np.asarray(data)
    if table.ndim == 1 and table.dtype.kind in "UO" and all(isinstance(item, str) for item in table.tolist()):
        return _TEXTS, "texts"
    if table.ndim != 2:
        raise InvalidInput(
            f"a schema is learned from rows and columns (or a list of texts), got shape {list(table.shape)}"
        )
    return tuple(_learn_column(f"x{index}", table[:, index]) for index in range(table.shape[1])), "array"


def _learn_column(name: str, values: NDArray[Any]) -> Feature:
    if values.dtype.kind == "b":
        return Feature(name, FeatureKind.BOOLEAN)
    if values.dtype.kind in "iuf":
        return _numeric(name, FeatureKind.NUMBER, values.astype(np.float64))
    return _learn_objects(name, values.tolist())


def _learn_series(name: str, series: pd.Series[Any]) -> Feature:
    import pandas as pd

    dtype = series.dtype
    missing = bool(series.isna().any())
    if isinstance(dtype, pd.CategoricalDtype):
        known = dtype.categories.tolist()
        if all(isinstance(item, str) for item in known):
            return Feature(name, FeatureKind.CATEGORY, categories=tuple(known), optional=missing)
        return _learn_objects(name, series.tolist())
    if pd.api.types.is_bool_dtype(dtype):
        return Feature(name, FeatureKind.BOOLEAN, optional=missing)
    if pd.api.types.is_numeric_dtype(dtype):
        kind = FeatureKind.INTEGER if pd.api.types.is_integer_dtype(dtype) else FeatureKind.NUMBER
        return _numeric(name, kind, series.to_numpy(dtype=np.float64, na_value=np.nan))
    if pd.api.types.is_string_dtype(dtype) or dtype.kind == "O":
        return _learn_objects(name, series.astype(object).where(series.notna(), None).tolist())
    raise InvalidInput(f"column {name!r} has the type {dtype}; make it numbers or strings before the model sees it")


def _learn_objects(name: str, values: list[Any]) -> Feature:
    present = [value for value in values if value is not None and not _is_nan(value)]
    missing = len(present) < len(values)
    if present and all(isinstance(value, bool | np.bool_) for value in present):
        return Feature(name, FeatureKind.BOOLEAN, optional=missing)
    if all(isinstance(value, str) for value in present):
        distinct = len(set(present))
        repeated = distinct <= _MAX_CATEGORIES and distinct * 2 <= max(len(present), 2)
        return Feature(name, FeatureKind.CATEGORY if repeated else FeatureKind.TEXT, optional=missing)
    if all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in present):
        whole = all(isinstance(value, int | np.integer) for value in present)
        numbers = np.array([np.nan if value is None else value for value in values], np.float64)
        return _numeric(name, FeatureKind.INTEGER if whole else FeatureKind.NUMBER, numbers)
    kinds = ", ".join(sorted({type(value).__name__ for value in present}))
    raise InvalidInput(
        f"column {name!r} mixes values of the types {kinds}; a column holds numbers, booleans or strings"
    )


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _numeric(name: str, kind: FeatureKind, values: NDArray[np.float64]) -> Feature:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (None, None)
    return Feature(name, kind, observed_min=low, observed_max=high, optional=bool(np.isnan(values).any()))
