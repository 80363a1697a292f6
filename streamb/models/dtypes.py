"""Names of NumPy and pandas types: the NumPy type behind a name, and the numbers that it can hold. Needs no pandas.

NumPy has no bfloat16: its values, which are float32 with 16 bits less, are held by float32.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

OBJECT: Final = "object"
STRINGS: Final = frozenset({"str", "string"})
DATE: Final = "date"
"""The type name of a column of `datetime.date` objects."""
BFLOAT16: Final = "bfloat16"
"""The type name of numbers of torch that NumPy does not have; arrays of float32 hold them."""
EXACT: Final = 2**53
"""A float64 holds every whole number up to here."""
_BFLOAT16_MAX: Final = float(2**128 - 2**120)
_BFLOAT16_EXACT: Final = 2**8

_MASKED: Final = re.compile(r"(?:U?Int(?:8|16|32|64)|Float(?:32|64))")
_NUMPY: Final = re.compile(r"(?:u?int(?:8|16|32|64)|float(?:16|32|64)|bfloat16|bool)")
_ARROW: Final = {"double": "float64", "float": "float32", "halffloat": "float16"}
_DATETIME: Final = re.compile(r"datetime64\[(s|ms|us|ns)\]")


@lru_cache(maxsize=256)
def numpy_dtype(name: str) -> np.dtype[Any] | None:
    """Return the NumPy type of numbers or booleans behind a NumPy or pandas type name; None if there is none.

    >>> numpy_dtype("Int8"), numpy_dtype("double[pyarrow]"), numpy_dtype("boolean"), numpy_dtype("object")
    (dtype('int8'), dtype('float64'), dtype('bool'), None)
    """
    if name == "boolean":
        return np.dtype(bool)
    if name == BFLOAT16:
        return np.dtype(np.float32)
    if name.endswith("[pyarrow]"):
        name = name.removesuffix("[pyarrow]")
        name = _ARROW.get(name, name)
    elif _MASKED.fullmatch(name):
        name = name.lower()
    return np.dtype(name) if _NUMPY.fullmatch(name) else None


def is_masked(name: str) -> bool:
    """Return whether a column of this type holds nulls beside numbers or booleans (a type of pandas, not of NumPy)."""
    return bool(name) and numpy_dtype(name) is not None and not _NUMPY.fullmatch(name)


@lru_cache(maxsize=256)
def number_limits(name: str) -> tuple[float, float]:
    """Return the lowest and highest finite number of a type; infinities where float64 is the limit.

    >>> number_limits("int8"), number_limits("float64"), number_limits("")
    ((-128, 127), (-inf, inf), (-inf, inf))
    """
    if name == BFLOAT16:
        return -_BFLOAT16_MAX, _BFLOAT16_MAX
    dtype = numpy_dtype(name)
    if dtype is not None and dtype.kind in "iu":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if dtype is not None and dtype.kind == "f" and dtype.itemsize < 8:  # float64 is checked for infinity alone
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    return -math.inf, math.inf


@lru_cache(maxsize=256)
def exact_whole(name: str) -> int:
    """Return up to which size a type of numbers holds every whole number; of others than float types, 2**64.

    >>> exact_whole("float32"), exact_whole("bfloat16"), exact_whole("int8") == 2**64
    (16777216, 256, True)
    """
    if name == BFLOAT16:
        return _BFLOAT16_EXACT
    dtype = numpy_dtype(name)
    if dtype is None or dtype.kind != "f":
        return 2**64
    return int(2 ** (np.finfo(dtype).nmant + 1))


def bfloat16_of(numbers: NDArray[Any]) -> NDArray[np.float32]:
    """Return numbers rounded to bfloat16 as torch rounds them (to the nearest, ties to even), as float32.

    >>> bfloat16_of(np.array([1.0, 0.1, 257.0])).tolist()
    [1.0, 0.10009765625, 256.0]
    """
    single = np.ascontiguousarray(numbers, np.float32)
    bits = single.view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(single), single, rounded.view(np.float32))


def bfloat16_from_bits(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the numbers whose bfloat16 has these bits, as float32: the upper half of it."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


@lru_cache(maxsize=64)
def datetime_unit(name: str) -> str | None:
    """Return the unit of a datetime type: "s", "ms", "us", "ns", "D" for dates; None for other types.

    >>> datetime_unit("datetime64[ns]"), datetime_unit("date"), datetime_unit("object"), datetime_unit("int64")
    ('ns', 'D', 'us', None)
    """
    if name in ("", OBJECT):
        return "us"
    if name == DATE:
        return "D"
    found = _DATETIME.fullmatch(name)
    return found[1] if found else None
