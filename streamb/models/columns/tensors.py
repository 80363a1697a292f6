"""Checks tensors against their feature: shape, type, and the cast to the type that the model gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.models.dtypes import BFLOAT16, EXACT, STRINGS, bfloat16_of, number_limits, numpy_dtype
from streamb.models.features import Feature

_FROM: Final = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}  # kinds of values that a type can take by themselves
_SPOKEN: Final = {"b": "booleans", "i": "whole numbers", "u": "whole numbers", "f": "numbers", "U": "strings"}


CUT: Final = "a text that ends with a null character, which the model's array of strings cannot hold"


class WrongTensor(ValueError):
    """Values that are no tensor of the wanted shape and type; the message describes what they are.

    Attributes:
        row: the row that is wrong, where one alone is.
    """

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


def check_tensor(feature: Feature, value: Any) -> NDArray[Any]:
    """Return the tensor of one row in the feature's type.

    Raises:
        WrongTensor: its shape or its values do not fit.
    """
    tensor = _as_array(value)
    if len(tensor.shape) != len(feature.shape) or not _fits(tensor.shape, feature.shape):
        raise WrongTensor(f"shape {list(tensor.shape)}")
    return _cast(feature, tensor)


def check_tensors(feature: Feature, values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    """Return the tensors of all rows as one array of the feature's type: shape (rows, *shape).

    Raises:
        WrongTensor: a row does not fit, or two rows have different shapes.
    """
    try:
        tensors = _as_array(values)
        if len(tensors.shape) == len(feature.shape) + 1 and _fits(tensors.shape[1:], feature.shape):
            return _cast(feature, tensors)
    except WrongTensor:
        pass  # some row: find out which one
    rows = []
    for index, value in enumerate(values):
        try:
            rows.append(check_tensor(feature, value))
        except WrongTensor as error:
            raise WrongTensor(str(error), index) from None
    for index, row in enumerate(rows):
        if row.shape != rows[0].shape:
            differing = f"shape {list(row.shape)} while row 0 has {list(rows[0].shape)}; send them in separate requests"
            raise WrongTensor(differing, index)
    return np.stack(rows)


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return all(length == want for length, want in zip(shape, wanted, strict=True) if want is not None)


def _as_array(value: Any) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        raise WrongTensor("nested lists of different lengths") from None
    if array.dtype.kind == "O":
        array = _with_gaps(array)
    elif array.dtype.kind == "f" and not isinstance(value, np.ndarray) and (np.abs(array) > EXACT).any():
        array = _large(value, array)
    elif array.dtype.kind == "U" and not isinstance(value, np.ndarray):
        _refuse_cut(np.asarray(value, dtype=object).ravel().tolist())
    if array.dtype.kind not in "biufU":
        raise WrongTensor(f"values of the type {array.dtype}")
    return array


def _large(value: Any, floats: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers of which NumPy makes floats, as some are beyond 2**63, as uint64; else the floats."""
    leaves = np.asarray(value, dtype=object).ravel().tolist()
    is_whole = all(type(leaf) is int and 0 <= leaf < 2**64 for leaf in leaves)
    return np.array(value, np.uint64) if is_whole else floats


def _with_gaps(array: NDArray[Any]) -> NDArray[Any]:
    """Numbers among which are nulls, as floats with NaN; strings that NumPy holds as objects, as strings."""
    values = array.ravel().tolist()
    if values and all(isinstance(value, str) for value in values):
        _refuse_cut(values)
        return array.astype(str)
    if not all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        raise WrongTensor("values of several types, or nested lists of different lengths")
    if any(type(value) is int and abs(value) > EXACT for value in values):
        raise WrongTensor("null among whole numbers beyond 2**53")
    return array.astype(np.float64)


def _refuse_cut(texts: list[Any]) -> None:
    if any(str(text).endswith("\0") for text in texts):
        raise WrongTensor(CUT)


def _cast(feature: Feature, tensor: NDArray[Any]) -> NDArray[Any]:
    if feature.dtype in STRINGS:
        if tensor.dtype.kind != "U":
            raise WrongTensor(_SPOKEN[tensor.dtype.kind])
        return tensor
    if tensor.dtype.kind == "f":
        _check_finite(feature, tensor)
    if feature.dtype == BFLOAT16:
        return bfloat16_of(_cast_to(np.dtype(np.float32), _in_bfloat16(tensor)))
    return _cast_to(numpy_dtype(feature.dtype) or np.dtype(np.float64), tensor)


def _cast_to(target: np.dtype[Any], tensor: NDArray[Any]) -> NDArray[Any]:
    if not tensor.size or tensor.dtype == target:
        return tensor.astype(target, copy=False)
    if target.kind in "iu" and tensor.dtype.kind == "f":
        tensor = _whole(tensor, target)
    if tensor.dtype.kind not in _FROM[target.kind]:
        raise WrongTensor(f"{_SPOKEN[tensor.dtype.kind]} where {target.name} is wanted")
    if target.kind in "iu":
        lowest, highest = np.iinfo(target).min, np.iinfo(target).max
        if int(tensor.min()) < lowest or int(tensor.max()) > highest:
            raise WrongTensor(f"a number that does not fit {target.name} ({lowest} to {highest})")
    with np.errstate(over="ignore"):
        cast = tensor.astype(target)
    if target.kind == "f" and target.itemsize < tensor.dtype.itemsize and np.isinf(cast).any():
        raise WrongTensor(f"a number that does not fit {target.name}")
    return cast


def _in_bfloat16(tensor: NDArray[Any]) -> NDArray[Any]:
    _, highest = number_limits(BFLOAT16)
    if tensor.dtype.kind in "iuf" and (np.isfinite(tensor) & (np.abs(tensor.astype(np.float64)) > highest)).any():
        raise WrongTensor(f"a number that does not fit {BFLOAT16}")
    return tensor


def _check_finite(feature: Feature, tensor: NDArray[Any]) -> None:
    accepted = np.isfinite(tensor)
    if feature.nullable:
        accepted |= np.isnan(tensor)
    if not accepted.all():
        raise WrongTensor("null, NaN or infinity among its values")


def _whole(tensor: NDArray[Any], target: np.dtype[Any]) -> NDArray[Any]:
    tensor = tensor.astype(np.float64)
    if (tensor != np.trunc(tensor)).any() or np.isnan(tensor).any():
        raise WrongTensor(f"fractions where {target.name} is wanted")
    if (np.abs(tensor) >= 2.0**63).any():
        raise WrongTensor(f"a number that does not fit {target.name}")
    return tensor.astype(np.int64)
