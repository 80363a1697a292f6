"""Converts rows of any form (frames, arrays, tensors, lists, dicts of arrays) to values that JSON can carry."""

from __future__ import annotations

import datetime as dt
import math
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.models.columns.datetimes import iso_texts
from streamb.models.dtypes import BFLOAT16

if TYPE_CHECKING:
    import pandas as pd

_PLAIN: Final = frozenset({str, int, bool, type(None)})
_PLAIN_OR_FLOAT: Final = _PLAIN | {float}
_INFINITY: Final = "infinite numbers cannot be sent; convert them to missing values, such as NaN, or to a limit"
_DURATION: Final = "durations cannot be sent; convert them to numbers, such as column.dt.total_seconds()"


def wire_rows(rows: Any) -> list[Any]:
    """Convert rows to JSON-ready values, as a prediction's `instances` takes them.

    Args:
        rows: an array or tensor with one row per entry of its first axis; a DataFrame or a dict of arrays, which go by
            name; a list of rows, each a list, a dict by column name, a text or a single value.

    Returns:
        One value per row. Datetimes are ISO 8601 text in the precision of their type, moments of a time zone in UTC
        with a "Z"; missing values (None, NaN, NaT, NA) are None; decimals are numbers.

    Raises:
        InvalidInput: these are not rows, two columns have one name, or a value has no JSON form, as infinity.
    """
    pandas = sys.modules.get("pandas")  # whoever passes a DataFrame has imported pandas
    if pandas is not None and isinstance(rows, pandas.DataFrame):
        return _frame_rows(rows)
    if pandas is not None and isinstance(rows, pandas.Series):
        return _column_values(rows)
    rows = as_numpy(rows)
    if isinstance(rows, np.ndarray) and rows.ndim:
        return _array_values(rows)
    if hasattr(rows, "tocsr"):  # a sparse matrix
        return _array_values(rows.toarray())
    if isinstance(rows, Mapping):
        return _named_rows(rows)
    if isinstance(rows, str | bytes) or not isinstance(rows, Sequence):
        raise InvalidInput(f"rows are a list, an array or a DataFrame, not {type(rows).__name__}; one row is [row]")
    return [_row(row) for row in rows]


def as_numpy(value: Any) -> Any:
    """Return a torch tensor as an array, of float32 for bfloat16; anything else is returned unchanged."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float32) if value.dtype.name == BFLOAT16 else value  # another library adds that type
    torch = sys.modules.get("torch")  # whoever passes a tensor has imported torch
    if torch is None or not isinstance(value, torch.Tensor):
        return value
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def is_bfloat16(value: Any) -> bool:
    """Return whether a tensor or an array of another library has the type bfloat16."""
    return str(getattr(value, "dtype", "")).removeprefix("torch.") == BFLOAT16


def repeated_columns(frame: pd.DataFrame) -> list[str]:
    """Return the names that several columns of a frame have, as text."""
    names = [str(name) for name in frame.columns]
    return sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []


def refuse_repeated_columns(frame: pd.DataFrame) -> None:
    """Raise `InvalidInput` if two columns of a frame have one name."""
    repeated = repeated_columns(frame)
    if repeated:
        names = ", ".join(map(repr, repeated[:10]))
        raise InvalidInput(f"two columns have the same name: {names}; rename or drop one of each")


def _frame_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    refuse_repeated_columns(frame)
    names = [str(name) for name in frame.columns]
    columns = [_column_values(frame.iloc[:, index]) for index in range(len(names))]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _column_values(column: pd.Series[Any]) -> list[Any]:
    dtype = column.dtype
    if dtype.kind == "M":
        if getattr(dtype, "tz", None) is None:
            return list(iso_texts(column.to_numpy()))
        return list(iso_texts(column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), "Z"))
    if dtype.kind == "m":
        raise InvalidInput(f"column {column.name!r}: {_DURATION}")
    try:
        if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
            return _array_values(column.to_numpy())
        values = column.astype(object).where(column.notna(), None).to_numpy().tolist()
        return values if _PLAIN.issuperset(map(type, values)) else [wire_value(value) for value in values]
    except InvalidInput as error:
        raise InvalidInput(f"column {column.name!r}: {error.message}") from error


def _array_values(array: NDArray[Any]) -> list[Any]:
    kind = array.dtype.kind
    if kind == "f" and not np.isfinite(array).all():
        if np.isinf(array).any():
            raise InvalidInput(_INFINITY)
        values = array.astype(object)
        values[np.isnan(array)] = None
        return list(values.tolist())
    if kind in "biufU":
        return list(array.tolist())
    if kind == "M":
        return list(np.array(iso_texts(array.ravel()), object).reshape(array.shape).tolist())
    if kind == "m":
        raise InvalidInput(_DURATION)
    if kind not in "OT":
        raise InvalidInput(f"an array of the type {array.dtype} cannot be sent; make it numbers or strings")
    return [_row(value) for value in (array.tolist() if array.ndim > 1 else list(array))]


def _named_rows(columns: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """Return rows by name of a dict of arrays with one entry per row."""
    listed = {str(name): wire_rows(values) for name, values in columns.items()}
    if len({len(values) for values in listed.values()}) > 1:
        lengths = ", ".join(f"{name!r} has {len(values)}" for name, values in list(listed.items())[:10])
        raise InvalidInput(f"the arrays by name have different numbers of rows: {lengths}")
    return [dict(zip(listed, values, strict=True)) for values in zip(*listed.values(), strict=True)]


def _row(row: Any) -> Any:
    """Return a row unchanged if JSON can carry it, as most; else its JSON form."""
    values = row if type(row) is list else row.values() if type(row) is dict else None
    if values is not None and _PLAIN_OR_FLOAT.issuperset(map(type, values)):
        if math.inf in values or -math.inf in values:
            raise InvalidInput(_INFINITY)
        return row
    return wire_value(row)


def wire_value(value: Any) -> Any:
    """Return the JSON form of one value.

    >>> wire_value(np.datetime64("2024-01-31T12:00:00.5")), wire_value(Decimal("1.5")), wire_value(math.nan)
    ('2024-01-31T12:00:00.500', 1.5, None)
    >>> wire_value([np.int8(3), dt.date(2024, 1, 31), (True, None)])
    [3, '2024-01-31', [True, None]]

    Raises:
        InvalidInput: there is none, as of durations and bytes.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, float):
        return _finite(float(value))
    if isinstance(value, dt.datetime | dt.date | dt.time):  # among them pandas' Timestamp and NaT
        return None if kind.__name__ == "NaTType" else value.isoformat()
    if kind.__name__ == "NAType":
        return None
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, dt.timedelta | np.timedelta64):
        raise InvalidInput(_DURATION)
    if isinstance(value, np.datetime64):
        return iso_texts(np.array([value]))[0]
    value = as_numpy(value)
    if isinstance(value, np.ndarray):
        return _array_values(value) if value.ndim else wire_value(value.item())
    if isinstance(value, np.generic) and not isinstance(value, np.bytes_ | np.void):
        return wire_value(value.item())
    return _nested(value)


def _nested(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):  # an enumeration's member, for example
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): wire_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [wire_value(one) for one in value]
    raise InvalidInput(f"a value of the type {type(value).__name__} cannot be sent; make it a number, string or list")


def _number(value: Decimal) -> float | int | None:
    if value.is_nan():
        return None
    whole = value.is_finite() and value == value.to_integral_value()
    return int(value) if whole else _finite(float(value))


def _finite(value: float) -> float | None:
    """Return a number, or None for NaN; JSON would make null of infinity, too, without a word."""
    if math.isinf(value):
        raise InvalidInput(_INFINITY)
    return None if math.isnan(value) else value
