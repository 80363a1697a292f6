"""Converts the values of one column, of any type, into numbers, counts of categories, or texts."""

from __future__ import annotations

import datetime as dt
import math
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.monitoring.profiles.category_bins import name_of

WORDS_OF_A_TEXT: Final = 3.0
"""Strings with at least so many words on average, most of them different, are texts and not categories."""
_LOOKED_AT: Final = 10_000
_MANY: Final = 4_096
"""From so many values on, pandas counts them faster than a dictionary."""
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def column_kind(values: Any) -> str:
    """Return the kind of a baseline's column: "number", "category" or "text"."""
    array = plain_array(values)
    if array.dtype.kind in "biufMm":
        return "number"
    present = [value for value in array[:_LOOKED_AT].tolist() if not is_missing(value)]
    if not present:
        present = [value for value in array.tolist() if not is_missing(value)][:_LOOKED_AT]
    strings = [value for value in present if isinstance(value, str)]
    if len(strings) * 2 < max(1, len(present)):
        numeric = sum(not math.isnan(_number(value)) for value in present if not isinstance(value, str))
        return "number" if numeric * 2 >= len(present) else "category"
    if not present:
        return "number"
    words = sum(len(text.split(None, 1_000)) for text in strings) / len(strings)
    return "text" if words >= WORDS_OF_A_TEXT and len(set(strings)) * 2 > len(strings) else "category"


def plain_array(values: Any) -> NDArray[Any]:
    """Return the values as an array of shape (rows,): numbers unchanged, all others as objects."""
    if isinstance(values, np.ndarray):
        return values
    dtype = getattr(values, "dtype", None)
    if dtype is not None:
        if isinstance(dtype, np.dtype):
            return np.asarray(values)
        if getattr(dtype, "kind", "O") in "biuf" and not values.isna().any():  # pandas' own types
            return np.asarray(values.to_numpy())
        if getattr(dtype, "kind", "O") in "Mm":  # moments of a time zone
            return np.asarray(values.to_numpy("datetime64[ns]" if dtype.kind == "M" else "timedelta64[ns]"))
        return np.asarray(values, dtype=object)
    return np.fromiter(values, dtype=object, count=len(values))  # lists among them stay lists


def is_missing(value: Any) -> bool:
    """Return whether a value is missing: None, NaN, or pandas' NA or NaT."""
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    return type(value).__name__ in {"NAType", "NaTType"} or (
        isinstance(value, np.datetime64 | np.timedelta64) and bool(np.isnat(value))
    )


def to_numbers(values: Any) -> tuple[NDArray[np.float64], int]:
    """Return the values as float64, shape (rows,), and how many are not numbers; these and missing ones are NaN.

    Dates and times become seconds since 1970, durations seconds.
    """
    if isinstance(values, list | tuple) and not isinstance(next(iter(values), None), np.datetime64 | np.timedelta64):
        try:
            found = np.array(values, np.float64)
            if found.ndim == 1:
                return found, 0
        except (TypeError, ValueError, OverflowError):
            pass
    array = plain_array(values)
    if array.dtype.kind in "biuf":
        return np.asarray(array, np.float64), 0
    if array.dtype.kind in "Mm":
        unit = "datetime64[ns]" if array.dtype.kind == "M" else "timedelta64[ns]"
        seconds = array.astype(unit).astype(np.int64) / 1e9
        return np.where(np.isnat(array), np.nan, seconds), 0
    numbers = np.array([_number(value) for value in array.tolist()], np.float64)
    strange = sum(not is_missing(array[index]) for index in np.flatnonzero(np.isnan(numbers)).tolist())
    return numbers, strange


def _number(value: Any) -> float:
    """Convert a value to a float; NaN if it is not a number."""
    if isinstance(value, np.datetime64 | np.timedelta64):  # before float(), which would take its unit for seconds
        unit = "M8[ns]" if isinstance(value, np.datetime64) else "m8[ns]"
        return math.nan if np.isnat(value) else float(value.astype(unit).astype(np.int64)) / 1e9
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        pass
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return (aware - _EPOCH).total_seconds()
    if isinstance(value, dt.date):
        return float((value - _EPOCH.date()).days * 86_400)
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    return math.nan


def name_counts(values: Any) -> tuple[dict[str, int], int]:
    """Return the number of rows by name (`name_of`), and the number of rows without a value."""
    raw: Iterable[tuple[Any, int]]
    missing = 0
    if len(values) >= _MANY:
        raw, missing = _counted_by_pandas(values)
    else:
        raw = _counted(plain_array(values).tolist() if not isinstance(values, list) else values)
    counts: dict[str, int] = {}
    for value, rows in raw:
        if type(value) is not str and is_missing(value):
            missing += rows
        else:
            name = name_of(value)
            counts[name] = counts.get(name, 0) + rows
    return counts, missing


def _counted(values: list[Any]) -> Iterable[tuple[Any, int]]:
    try:
        found = Counter(values)
        if all(type(value) is str for value in found):
            return found.items()
        # To a dictionary True, 1 and 1.0 are one value, whichever came first; their names are not.
        return ((value, rows) for (_, value), rows in Counter(zip(map(type, values), values, strict=True)).items())
    except TypeError:  # a list or dict among the values
        return ((value, 1) for value in values)


def _counted_by_pandas(values: Any) -> tuple[Iterable[tuple[Any, int]], int]:
    import pandas as pd

    known_to_pandas = hasattr(values, "dtype") and not isinstance(values, np.ndarray)
    array = values if known_to_pandas else plain_array(values)
    try:
        codes, found = pd.factorize(array)
    except TypeError:
        return ((value, 1) for value in plain_array(values).tolist()), 0
    if array.dtype.kind == "O" and any(isinstance(value, bool | int | float) for value in found):
        return _counted(plain_array(values).tolist()), 0
    counts = np.bincount(codes + 1, minlength=len(found) + 1).tolist()
    return zip(found.tolist(), counts[1:], strict=True), counts[0]


def to_texts(values: Any) -> list[str | None]:
    """Return the values as texts; None for a missing one."""
    listed = values if isinstance(values, list) else plain_array(values).tolist()
    return [value if isinstance(value, str) else None if is_missing(value) else str(value) for value in listed]


def is_frame(data: Any) -> bool:
    """Return whether `data` is a pandas DataFrame, without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)
