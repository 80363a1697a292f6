"""Makes arrays of lists of numbers or texts where that changes no value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_EXACT_IN_FLOAT: Final = 2**53
_LEAF_KINDS: Final = ((bool | np.bool_, "b"), (str, "U"), (int | float | np.integer | np.floating, "f"))


def as_array(values: Any, *, mixed: bool = True) -> Any:
    """Return a list or tuple of booleans, of numbers or of texts as an array, if that changes no value.

    Nested lists of equal lengths become arrays of several dimensions. Everything else is returned as it is.

    Args:
        values: a list, a tuple, or anything else.
        mixed: whether whole numbers may become fractions, or numbers without a sign, because of others beside them.

    >>> as_array([1, 2.5]), as_array([[1], [2, 3]]), as_array([1, "a"])
    (array([1. , 2.5]), [[1], [2, 3]], [1, 'a'])
    """
    if not isinstance(values, list | tuple) or not values:
        return values
    leaves = values if {float}.issuperset(map(type, values)) else list(_leaves(values))
    kinds = {_leaf_kind(kind) for kind in set(map(type, leaves))}
    if kinds == {"array"}:
        kinds = {{"i": "f", "u": "f"}.get(leaf.dtype.kind, leaf.dtype.kind) for leaf in leaves}
    if len(kinds) != 1 or not kinds <= {"b", "U", "f"}:
        return values
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):  # lists of different lengths, or a number that no array holds
        return values
    if not mixed and array.dtype.kind == "f" and not all(map(_is_fraction, leaves)):
        return values
    if array.dtype.kind in "biufU" and _is_exact(array, leaves):
        return array
    try:  # of whole numbers, some of them above those of 64 bits with a sign, NumPy makes fractions
        return np.asarray(values, np.uint64) if mixed and all(type(leaf) is int for leaf in leaves) else values
    except (ValueError, OverflowError):
        return values


def _leaves(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _leaves(value)
        else:
            yield value


def _leaf_kind(kind: type) -> str:
    if issubclass(kind, np.ndarray):
        return "array"
    return next((letter for types, letter in _LEAF_KINDS if issubclass(kind, types)), "")


def _is_fraction(leaf: Any) -> bool:
    return isinstance(leaf, float | np.floating) or (isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f")


def _is_exact(array: NDArray[Any], leaves: Sequence[Any]) -> bool:
    """Whether an array holds the same values as the list that it was made of."""
    if array.dtype.kind == "U":  # NumPy drops null characters at the end of texts
        return not any(str(leaf).endswith("\0") for leaf in leaves)
    if array.dtype.kind != "f":
        return True
    return all(_largest_whole(leaf) <= _EXACT_IN_FLOAT for leaf in leaves if not isinstance(leaf, float))


def _largest_whole(leaf: Any) -> int:
    """The largest absolute whole number in a number or an array; 0 if it has fractions."""
    if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "iu" and leaf.size:
        return max(abs(int(leaf.min())), abs(int(leaf.max())))
    return abs(int(leaf)) if isinstance(leaf, int | np.integer) else 0
