"""Learns the feature of one column: its kind, type, levels, time zone, and whether values are missing."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.models.columns.datetimes import text_unit
from streamb.models.columns.rows import wire_value
from streamb.models.dtypes import DATE, OBJECT, numpy_dtype
from streamb.models.features import Feature, FeatureKind

if TYPE_CHECKING:
    import pandas as pd

_MAX_CATEGORIES: Final = 256  # a string column with more different values than this is text
_DURATION: Final = "durations; convert them to numbers, such as column.dt.total_seconds()"


def learn_array(name: str, values: NDArray[Any], *, is_strict: bool = False) -> Feature:
    """Return the feature of one column of an array, shape (rows,).

    Args:
        name: the feature's name.
        values: the column.
        is_strict: whether whole numbers make the column one of integers. Otherwise it takes fractions as well, as an
            array in the caller's process would: the model gets whole numbers in their type, fractions as float64.
    """
    kind = values.dtype.kind
    if kind == "b":
        return Feature(name, FeatureKind.BOOLEAN, dtype="bool")
    if kind in "iuf":
        whole = FeatureKind.INTEGER if is_strict and kind in "iu" else FeatureKind.NUMBER
        dtype = values.dtype.name if numpy_dtype(values.dtype.name) is not None else "float64"
        return _numeric(name, whole, values.astype(np.float64), dtype)
    if kind == "M":
        missing = bool(np.isnat(values).any())
        return Feature(name, FeatureKind.DATETIME, dtype=f"datetime64[{text_unit(values)}]", optional=missing)
    if kind in "UT":
        return learn_objects(name, values.tolist(), dtype="str")
    if kind == "O":
        return learn_objects(name, values.tolist(), dtype=OBJECT, is_strict=True)
    raise _refusal(name, _DURATION if kind == "m" else f"values of the type {values.dtype}; make it numbers or strings")


def learn_series(name: str, series: pd.Series[Any]) -> Feature:
    """Return the feature of one column of a frame."""
    import pandas as pd

    dtype: Any = series.dtype
    missing = bool(series.isna().any())
    if isinstance(dtype, pd.SparseDtype):
        return learn_series(name, series.astype(dtype.subtype))
    if isinstance(dtype, pd.CategoricalDtype):
        return _learn_levels(name, dtype, missing=missing)
    if isinstance(dtype, pd.StringDtype):
        return Feature(name, _kind_of_texts(series.dropna().tolist()), dtype=str(dtype), optional=missing)
    behind = numpy_dtype(str(dtype))
    if behind is not None and behind.kind == "b":
        return Feature(name, FeatureKind.BOOLEAN, dtype=str(dtype), optional=missing)
    if behind is not None:
        whole = FeatureKind.INTEGER if behind.kind in "iu" else FeatureKind.NUMBER
        return _numeric(name, whole, series.to_numpy(np.float64, na_value=np.nan), str(dtype))
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        return learn_objects(name, series.tolist(), dtype=OBJECT, is_strict=True)
    if dtype.kind == "M" and not isinstance(dtype, pd.ArrowDtype):
        return _learn_moments(name, dtype, missing=missing)
    hint = "the type {dtype}; make it numbers, strings or datetimes, such as column.astype(str)"
    raise _refusal(name, _DURATION if dtype.kind == "m" else hint.format(dtype=dtype))


def _learn_levels(name: str, dtype: pd.CategoricalDtype[Any], *, missing: bool) -> Feature:
    levels = dtype.categories.tolist()
    if not all(isinstance(level, str | bool | int | float) for level in levels):
        raise _refusal(
            name, f"categories of the type {dtype.categories.dtype}; make them strings or numbers: column.astype(str)"
        )
    if not levels:
        return Feature(name, FeatureKind.ANY, dtype=OBJECT, optional=True)
    levels_type = str(dtype.categories.dtype)
    ordered = bool(dtype.ordered)
    return Feature(
        name, FeatureKind.CATEGORY, categories=tuple(levels), ordered=ordered, dtype=levels_type, optional=missing
    )


def _learn_moments(name: str, dtype: Any, *, missing: bool) -> Feature:
    import pandas as pd

    unit, zone = getattr(dtype, "unit", None), getattr(dtype, "tz", None)
    if zone is None:
        return Feature(name, FeatureKind.DATETIME, dtype=str(dtype), optional=missing)
    try:
        is_named = pd.api.types.pandas_dtype(f"datetime64[{unit}, {zone}]") == dtype
    except (TypeError, ValueError, KeyError, OSError):
        is_named = False
    if not is_named:
        raise _refusal(name, f"the time zone {zone!r}, which has no name; use column.dt.tz_convert('UTC')")
    return Feature(name, FeatureKind.DATETIME, dtype=f"datetime64[{unit}]", zone=str(zone), optional=missing)


def learn_objects(
    name: str, values: Sequence[Any], *, dtype: str, is_strict: bool = False, is_optional: bool | None = None
) -> Feature:
    """Return the feature of Python objects: of one kind if all are alike, else of any kind.

    Args:
        name: the feature's name.
        values: the objects.
        dtype: the type in which the model gets them.
        is_strict: whether whole numbers make the column one of integers; else it takes fractions as well.
        is_optional: whether the key may be absent; by default, where some values are null.
    """
    present = [value for value in values if not _is_missing(value)]
    nulls = [value for value in values if _is_missing(value)]
    missing = bool(nulls) or not present
    feature = _learn_present(name, present, dtype)
    if feature.kind is FeatureKind.INTEGER and not is_strict:
        feature = replace(feature, kind=FeatureKind.NUMBER)
    return replace(
        feature,
        nullable=missing,
        optional=missing if is_optional is None else is_optional,
        null_is_nan=bool(nulls) and all(isinstance(value, float) for value in nulls),
    )


def _learn_present(name: str, present: list[Any], dtype: str) -> Feature:
    for is_alike, learn in _KINDS:
        if present and all(map(is_alike, present)):
            return learn(name, present, dtype)
    try:
        wire_value(present)
    except InvalidInput as error:
        raise InvalidInput(f"column {name!r}: {error.message}") from error
    return Feature(name, FeatureKind.ANY, dtype=dtype)


def _objects_of_numbers(name: str, present: list[Any], dtype: str) -> Feature:
    whole = all(isinstance(value, int | np.integer) for value in present)
    is_decimal = any(isinstance(value, Decimal) for value in present)
    numbers = np.array([float(value) for value in present], np.float64)
    kind = FeatureKind.INTEGER if whole else FeatureKind.NUMBER
    return _numeric(name, kind, numbers, "" if is_decimal else dtype)


def _objects_of_lists(name: str, present: list[Any], _: str) -> Feature:
    arrays = [value for value in present if isinstance(value, np.ndarray)]
    types = {array.dtype.name for array in arrays}
    same = types.pop() if len(arrays) == len(present) and len(types) == 1 else ""
    return Feature(name, FeatureKind.LIST, dtype=same if numpy_dtype(same) is not None else "")


def _objects_of_moments(name: str, present: list[Any], dtype: str) -> Feature:
    if any(value.tzinfo is not None for value in present):
        raise _refusal(name, "datetimes with offsets as Python objects; use pd.to_datetime(column, utc=True)")
    return Feature(name, FeatureKind.DATETIME, dtype=dtype)


def _kind_of_texts(present: Sequence[str]) -> FeatureKind:
    """A category if values repeat, else text; neither has a closed set of values."""
    distinct = len(set(present))
    repeated = distinct <= _MAX_CATEGORIES and distinct * 2 <= max(len(present), 2)
    return FeatureKind.CATEGORY if repeated else FeatureKind.TEXT


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating | Decimal) and not isinstance(value, bool)


_KINDS: Final[tuple[tuple[Callable[[Any], bool], Callable[[str, list[Any], str], Feature]], ...]] = (
    (
        lambda value: isinstance(value, bool | np.bool_),
        lambda name, _, dtype: Feature(name, FeatureKind.BOOLEAN, dtype=dtype),
    ),
    (
        lambda value: isinstance(value, str),
        lambda name, present, dtype: Feature(name, _kind_of_texts(present), dtype=dtype),
    ),
    (_is_number, _objects_of_numbers),
    (lambda value: isinstance(value, list | tuple | np.ndarray), _objects_of_lists),
    (lambda value: isinstance(value, dt.datetime), _objects_of_moments),
    (lambda value: type(value) is dt.date, lambda name, *_: Feature(name, FeatureKind.DATETIME, dtype=DATE)),
)


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)


def _numeric(name: str, kind: FeatureKind, values: NDArray[np.float64], dtype: str) -> Feature:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (None, None)
    missing = bool(np.isnan(values).any())
    return Feature(name, kind, observed_min=low, observed_max=high, dtype=dtype, optional=missing)


def _refusal(name: str, what: str) -> InvalidInput:
    return InvalidInput(f"column {name!r} has {what}")
