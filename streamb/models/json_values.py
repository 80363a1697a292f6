"""Turns the values that models answer into values that JSON can hold, and refuses what would change on the way."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import ModelFailed

DEEPEST: Final = 100
"""The most levels of lists and objects in one value."""

_LEAST: Final = -(2**63)
_MOST: Final = 2**64 - 1
"""The whole numbers between these two are written and read without a loss."""

_AS_THEY_ARE: Final = frozenset({str, float, bool, type(None)})
_MISSING: Final = frozenset({"NAType", "NaTType"})
"""The names of the types of pandas' missing values."""


def json_value(value: Any, depth: int = 0) -> Any:
    """Return a value as JSON holds it: None, a boolean, a number, a text, a list, or a dict with texts as keys.

    NumPy's scalars and arrays, tensors, Series and DataFrames (a dict for each row), tuples, dataclasses and enums
    become these. Dates and times become ISO 8601 texts, a `Decimal` its exact text, bytes `{"b64": "<base64>"}`, and
    missing values of pandas None. NaN and infinity stay; see `has_not_finite`.

    Args:
        depth: how many lists and dicts the value is inside of.

    >>> json_value({"at": datetime(2026, 1, 2, 3, 4), "raw": b"hi", "price": Decimal("1.10"), 7: np.arange(2)})
    {'at': '2026-01-02T03:04:00', 'raw': {'b64': 'aGk='}, 'price': '1.10', '7': [0, 1]}

    Raises:
        ModelFailed: JSON cannot hold it; names the type.
    """
    kind = type(value)
    if kind in _AS_THEY_ARE or (kind is int and _LEAST <= value <= _MOST):
        return value
    if depth > DEEPEST:
        raise ModelFailed(f"the model answered a value nested more than {DEEPEST} levels deep")
    if kind is list or kind is tuple:
        return [item if type(item) in _AS_THEY_ARE else json_value(item, depth + 1) for item in value]
    if kind is dict or isinstance(value, Mapping):
        return _object(value.items(), depth + 1)
    for types, convert in _SCALARS:
        if isinstance(value, types):
            return convert(value)
    return _compound(value, depth)


def has_not_finite(value: Any) -> bool:
    """Return whether a value made by `json_value` is, or contains, a number that is not finite (NaN or infinity)."""
    kind = type(value)
    if kind is float:
        return not math.isfinite(value)
    if kind is dict or kind is list:
        return any(map(has_not_finite, value.values() if kind is dict else value))
    return False


def as_ndarray(value: Any) -> NDArray[Any] | None:
    """Return the array in a tensor, a sparse matrix, a Series or another array type; None for everything else."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, str | bytes | np.generic | list | tuple | Mapping) or frame_columns(value) is not None:
        return None
    if hasattr(value, "detach"):  # a torch tensor
        value = value.detach().cpu()
        return np.asarray(value.float() if str(value.dtype) == "torch.bfloat16" else value)
    if hasattr(value, "toarray"):  # a sparse matrix
        return np.asarray(value.toarray())
    if hasattr(value, "to_numpy"):
        return _series_values(value)
    return np.asarray(value) if hasattr(value, "__array__") else None


def frame_columns(value: Any) -> list[tuple[str, Any]] | None:
    """Return the columns of a DataFrame with their names as texts; None for everything else."""
    if not (hasattr(value, "columns") and hasattr(value, "to_numpy")):
        return None
    names = list(value.columns)
    columns = [value.iloc[:, index] for index in range(len(names))] if hasattr(value, "iloc") else map(value.get, names)
    return [(_key(name), column) for name, column in zip(names, columns, strict=True)]


def plain_array(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of booleans, numbers or texts as it is, and any other one as objects made by `json_value`.

    Times become ISO texts in the precision of the array, with None for a missing time.

    Raises:
        ModelFailed: JSON cannot hold its values; names the type.
    """
    kind = array.dtype.kind
    if array.dtype.char == "g":  # wider than what JSON and the protocol of tensors have
        return array.astype(np.float64)
    if kind in "biufU":
        return array
    if kind == "S":
        return _decoded(array)
    if kind == "M":
        texts = np.datetime_as_string(array)
        missing = np.isnat(array)
        if not missing.any():
            return texts
        found = texts.astype(np.object_)
        found[missing] = None
        return found
    if kind in "OT":
        return objects(array.ravel().tolist()).reshape(array.shape)
    if array.dtype.names is not None:
        rows = (dict(zip(array.dtype.names, row.tolist(), strict=True)) for row in array.ravel())
        return objects(rows).reshape(array.shape)
    raise _cannot_hold(str(array.dtype))


def objects(values: Iterable[Any]) -> NDArray[Any]:
    """Return an array of shape (values,) that holds each value as `json_value` makes it."""
    return held([json_value(value) for value in values])


def held(values: Sequence[Any]) -> NDArray[Any]:
    """Return an array of shape (values,) that holds each value as it is, also where values are lists."""
    return np.fromiter(values, dtype=np.object_, count=len(values))


def _object(items: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in items:
        name = key if type(key) is str else _key(key)
        if name in found:
            error = ModelFailed(f"the model answered an object with two keys that are {name[:50]!r} in JSON")
            error.foreign = True
            raise error
        found[name] = value if type(value) in _AS_THEY_ARE else json_value(value, depth)
    return found


def _key(key: Any) -> str:
    """The text of an object's key, as `json.dumps` writes it: true for True, null for None."""
    if type(key) is str:
        return key
    plain = json_value(key)
    if isinstance(plain, str):
        return plain
    if plain is None or isinstance(plain, bool):
        return {None: "null", True: "true", False: "false"}[plain]
    if isinstance(plain, int | float):
        return str(plain)
    raise ModelFailed(f"the model answered an object with a key of type {_type_name(key)}; keys are texts in JSON")


def _compound(value: Any, depth: int) -> Any:
    """The value of a type that has no exact counterpart in JSON, but whose parts have."""
    if type(value).__name__ in _MISSING:
        return None
    if isinstance(value, list | tuple):
        return [json_value(item, depth + 1) for item in value]
    columns = frame_columns(value)
    if columns is not None:
        parts = [json_value(column, depth + 1) for _, column in columns]
        return [
            _object(zip((name for name, _ in columns), row, strict=True), depth) for row in zip(*parts, strict=True)
        ]
    array = as_ndarray(value)
    if array is not None:
        return plain_array(array).tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return _object(((one.name, getattr(value, one.name)) for one in fields(value)), depth + 1)
    return _refuse(value)


def _whole(value: Any) -> int:
    number = int(value)
    if not _LEAST <= number <= _MOST:
        raise ModelFailed(f"the model answered a whole number of {number.bit_length()} bits; JSON readers take 64")
    return number


def _refuse(value: Any) -> Any:
    raise _cannot_hold(_type_name(value))


def _time(value: datetime | date | time) -> str | None:
    return None if type(value).__name__ in _MISSING else value.isoformat()


def _numpy_time(value: np.datetime64) -> str | None:
    return None if np.isnat(value) else str(np.datetime_as_string(value))


def _decoded(array: NDArray[Any]) -> NDArray[Any]:
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError:
        raise ModelFailed(
            f"the model answered byte strings of type {array.dtype} that are not UTF-8 texts; answer `bytes` objects, "
            'which are sent as {"b64": "<base64>"}'
        ) from None


def _series_values(series: Any) -> NDArray[Any]:
    """The values of a Series or an Index; missing values of types that NumPy does not have become None."""
    if isinstance(getattr(series, "dtype", None), np.dtype) or not hasattr(series, "isna"):
        return np.asarray(series.to_numpy())
    if not series.isna().any() and series.dtype.kind in "biuf":
        return np.asarray(series.to_numpy(dtype=series.dtype.numpy_dtype))
    return np.asarray(series.to_numpy(dtype=object, na_value=None))


def _cannot_hold(name: str) -> ModelFailed:
    return ModelFailed(
        f"the model answered a value of type {name}, which JSON cannot hold; answer numbers, texts, booleans, dates, "
        "bytes, None, or lists and dicts of them"
    )


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


_SCALARS: Final[tuple[tuple[tuple[type, ...], Callable[[Any], Any]], ...]] = (
    ((Enum,), lambda value: json_value(value.value)),
    ((str,), str),
    ((bool, np.bool_), bool),
    ((np.timedelta64,), _refuse),  # NumPy counts durations among the whole numbers
    ((int, np.integer), _whole),
    ((float, np.floating), float),
    ((bytes, bytearray, memoryview), lambda value: {"b64": b64encode(value).decode()}),
    ((datetime, date, time), _time),
    ((Decimal,), lambda value: str(value) if value.is_finite() else float(value)),
    ((np.datetime64,), _numpy_time),
)
"""How single values are converted, by type; the first match counts."""
