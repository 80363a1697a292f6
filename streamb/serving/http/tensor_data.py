"""Reads the data of a tensor: JSON numbers, booleans, texts and nulls as an array of exactly the declared datatype."""

from __future__ import annotations

from itertools import chain, compress
from types import NoneType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import BadRequest
from streamb.models.columns.values import describe
from streamb.models.dtypes import bfloat16_of, number_limits
from streamb.serving.answer import leaves
from streamb.serving.http.tensors import BF16, DTYPES, Tensor

_TAKEN: Final = {
    "b": frozenset({bool}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "f": frozenset({int, float}),
    "O": frozenset({str}),
}
"""Kind of a NumPy type -> the Python types of JSON values that it takes, beside null."""
_LONG: Final = 256
_SPOKEN: Final = {bool: "booleans", int: "whole numbers", float: "fractions", str: "strings"}


def tensor_from_json(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> Tensor:
    """Return a tensor from the `data` of a JSON input, flat or nested, in the declared type.

    Null is NaN in a tensor of floats. Among other values it makes an array of Python objects with None.

    Raises:
        BadRequest: the data has another type or number of elements than declared, or a number that does not fit.
    """
    kind = DTYPES[datatype].kind
    quick = _plain_numbers(data) if kind in "iuf" and _is_long(data) else None
    if quick is not None and (datatype == "FP64" or quick.dtype == DTYPES[datatype]):
        check_size(name, shape, quick.size)
        return shaped(name, quick.astype(DTYPES[datatype], copy=False), shape, datatype)
    flat = _flat(name, data)
    check_size(name, shape, len(flat))
    types = set(map(type, flat))
    if not types <= _TAKEN[kind] and not types <= _TAKEN[kind] | {NoneType}:
        raise _wrong_type(name, datatype, shape, flat)
    if kind == "f":
        return shaped(name, _floats(name, datatype, shape, flat), shape, datatype)
    missing = NoneType in types
    try:
        values = np.array([0 if value is None else value for value in flat] if missing else flat, DTYPES[datatype])
    except OverflowError:
        limits = np.iinfo(DTYPES[datatype])
        wrong = next(i for i, value in enumerate(flat) if value is not None and not limits.min <= value <= limits.max)
        raise _no_fit(name, datatype, shape, wrong, flat[wrong]) from None
    if missing:
        values = np.empty(len(flat), dtype=object)
        values[:] = flat
    return shaped(name, values, shape, datatype)


def check_size(name: str, shape: tuple[int, ...], size: int) -> None:
    """Raise `BadRequest` if the number of elements, `size`, does not match the shape."""
    wanted = 1
    for length in shape:
        wanted *= length
    if wanted != size:
        raise BadRequest(f"input {name!r} has shape {list(shape)}, so {wanted} elements, but {size} in its data")


def shaped(name: str, values: NDArray[Any], shape: tuple[int, ...], datatype: str) -> Tensor:
    """Return a tensor of as many values as the shape says; raises `BadRequest` for a shape that no array can have."""
    try:
        return Tensor(name, values.reshape(shape), datatype)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"input {name!r} has {len(shape)} axes, or one that is too long: {error}") from None


def place(shape: tuple[int, ...], index: int) -> str:
    """Return where in a tensor an element is, for messages: its row, and its place in the row."""
    per_row = max(1, int(np.prod(shape[1:], dtype=object))) if len(shape) > 1 else 1
    row, column = divmod(index, per_row)
    return f"row {row}" if per_row == 1 else f"row {row}, column {column}"


def _is_long(data: Any) -> bool:
    """Whether data has so many elements that looking at each in Python is slower than letting NumPy look."""
    if type(data) is not list or not data:
        return False
    return (len(data) * len(data[0]) if type(data[0]) is list else len(data)) > _LONG


def _plain_numbers(data: Any) -> NDArray[Any] | None:
    """Long data of numbers alone as an array of int64 or float64; None where its elements need a look one by one."""
    try:
        values = np.asarray(data)
    except (ValueError, OverflowError):
        return None
    if values.dtype.char not in "ld":
        return None
    perhaps = (values == 0) | (values == 1)  # NumPy takes false and true for these
    if perhaps.any() and bool in set(map(type, compress(leaves(data, values.ndim), perhaps.tobytes()))):
        return None
    return values


def _flat(name: str, data: Any) -> list[Any]:
    """The elements of data, nested to any depth."""
    values = data if type(data) is list else [data]
    while values and type(values[0]) is list:
        if set(map(type, values)) != {list} or len(set(map(len, values))) > 1:
            raise BadRequest(f"the data of input {name!r} is not a tensor: it has nested lists of different lengths")
        values = list(chain.from_iterable(values))
    return values


def _floats(name: str, datatype: str, shape: tuple[int, ...], flat: list[Any]) -> NDArray[Any]:
    values = np.array(flat, np.float64)  # null becomes NaN
    if datatype == "FP64":
        return values
    low, high = number_limits("bfloat16" if datatype == BF16 else DTYPES[datatype].name)
    beyond = (values < low) | (values > high)
    if beyond.any():
        wrong = int(beyond.argmax())
        raise _no_fit(name, datatype, shape, wrong, flat[wrong])
    return bfloat16_of(values) if datatype == BF16 else values.astype(DTYPES[datatype])


def _no_fit(name: str, datatype: str, shape: tuple[int, ...], index: int, value: Any) -> BadRequest:
    where = place(shape, index)
    return BadRequest(f"input {name!r} has elements that do not fit in {datatype}: {where} is {describe(value)}")


def _wrong_type(name: str, datatype: str, shape: tuple[int, ...], flat: list[Any]) -> BadRequest:
    taken = _TAKEN[DTYPES[datatype].kind] | {NoneType}
    index = next(i for i, value in enumerate(flat) if type(value) not in taken)
    value, where = flat[index], place(shape, index)
    if datatype == "BYTES":
        return BadRequest(
            f"input {name!r} has datatype BYTES, so every element of its data must be a string; {where} is "
            f"{describe(value)}"
        )
    spoken = _SPOKEN.get(type(value), describe(value))
    return BadRequest(
        f"input {name!r} has datatype {datatype}, but its data holds {spoken}: {where} is {describe(value)}"
    )
