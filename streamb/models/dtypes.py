"""Names of NumPy and pandas types: the NumPy type behind a name, and the numbers that it can hold. Needs no pandas."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any, Final

import numpy as np

OBJECT: Final = "object"
STRINGS: Final = frozenset({"str", "string"})
DATE: Final = "date"
"""The type name of a column of `datetime.date` objects."""
EXACT: Final = 2**53
"""A float64 holds every whole number up to here."""

_MASKED: Final = re.compile(r"(?:U?Int(?:8|16|32|64)|Float(?:32|64))")
_NUMPY: Final = re.compile(r"(?:u?int(?:8|16|32|64)|float(?:16|32|64)|bool)")
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
    dtype = numpy_dtype(name)
    if dtype is not None and dtype.kind in "iu":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if dtype is not None and dtype.kind == "f" and dtype.itemsize < 8:  # float64 is checked for infinity alone
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    return -math.inf, math.inf


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
