"""Casts checked numbers to a type where that changes no value, and checked values to Python objects."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.models.columns.datetimes import moments
from streamb.models.dtypes import BFLOAT16, DATE, EXACT, OBJECT, bfloat16_of, datetime_unit, numpy_dtype
from streamb.models.features import Feature, FeatureKind

_FEW: Final = 100  # numbers that Python looks at faster than NumPy


def cast_numbers(numbers: NDArray[Any], dtype_name: str) -> NDArray[Any]:
    """Return numbers in another type; unchanged where that would change values, as of fractions or NaN.

    Fractions become the nearest number of a type of floats.
    """
    if dtype_name == BFLOAT16:
        return bfloat16_of(numbers)
    dtype = numpy_dtype(dtype_name)
    if dtype is None or dtype == numbers.dtype:
        return numbers
    if dtype.kind == "f":
        return numbers.astype(dtype)
    with np.errstate(invalid="ignore"):  # NaN has no whole number; the comparison finds it
        cast = numbers.astype(dtype)
    return cast if np.array_equal(cast, numbers) else numbers


def python_value(feature: Feature, value: Any) -> Any:
    """Return a checked value as the Python object that a list, a dict or a column of objects holds."""
    if value is None or value != value:  # NaN
        is_nan = feature.null_is_nan or (feature.kind is FeatureKind.NUMBER and feature.dtype != OBJECT)
        return np.nan if is_nan else None
    convert = _PYTHON.get(feature.kind)
    return value if convert is None else convert(feature, value)


def python_values(feature: Feature, values: Iterable[Any]) -> list[Any]:
    """Return the checked values of a column as Python objects; see `python_value`."""
    if feature.kind in _PYTHON:
        return [python_value(feature, value) for value in values]
    if not feature.nullable:
        return list(values)
    missing = python_value(feature, None)
    return [missing if value is None or value != value else value for value in values]


def _python_moment(feature: Feature, value: int) -> dt.date | dt.datetime:
    if feature.dtype == DATE:
        return dt.date(1970, 1, 1) + dt.timedelta(days=value)
    moment: dt.datetime = moments([value], datetime_unit(feature.dtype) or "us").astype("datetime64[us]")[0].item()
    return moment.replace(tzinfo=dt.UTC) if feature.zone else moment


_PYTHON: Final[Mapping[FeatureKind, Callable[[Feature, Any], Any]]] = {
    FeatureKind.INTEGER: lambda _, value: int(value),
    FeatureKind.BOOLEAN: lambda _, value: bool(value),
    FeatureKind.DATETIME: _python_moment,
}


def as_floats(array: NDArray[Any]) -> NDArray[Any]:
    """Return numbers and booleans as float64, unless whole numbers beyond 2**53 would change; others unchanged."""
    if array.dtype.kind in "fb":
        return array.astype(np.float64, copy=False)
    if array.dtype.kind not in "iu" or (array.size and not -EXACT <= int(array.min()) <= int(array.max()) <= EXACT):
        return array
    return array.astype(np.float64)


def is_exact(floats: NDArray[np.float64], values: Iterable[Any]) -> bool:
    """Return whether an array of floats holds the whole numbers exactly that it was made of.

    Args:
        floats: the array, of float64.
        values: the values that it was made of, in order.
    """
    if floats.size <= _FEW:
        listed = floats.ravel().tolist()
        if math.hypot(*listed) < EXACT:  # all are small, and none is NaN
            return True
    elif np.abs(floats).max() < EXACT:
        return True
    else:
        listed = floats.ravel().tolist()
    return all(type(value) is not int or value == found for value, found in zip(values, listed, strict=True))
