"""Compares two answers to the same rows, as JSON values: labels and texts exactly, numbers within a tolerance."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

TOLERANCE: Final = 1e-9
"""The relative tolerance of a model that computes in double precision: one batch or single rows, another processor."""

SINGLE_TOLERANCE: Final = 1e-5
"""The same for single and half precision."""

_SINGLE: Final = {"float32", "float16", "bfloat16"}
_SINGLE_LIBRARIES: Final = ("torch", "onnxruntime", "xgboost", "catboost", "tensorflow", "jax")
_LONGEST_VALUE: Final = 100


class Difference(NamedTuple):
    """The first row whose answers differ."""

    row: int
    expected: Any
    got: Any

    def __str__(self) -> str:
        return f"row {self.row}: expected {_short(self.expected)}, got {_short(self.got)}"


def tolerance_of(dtypes: Iterable[str]) -> float:
    """Return the relative tolerance for answers of these NumPy types, given in this process.

    A process that has imported a library of neural networks may compute in single precision whatever it returns.
    """
    single = not _SINGLE.isdisjoint(dtypes) or any(library in sys.modules for library in _SINGLE_LIBRARIES)
    return SINGLE_TOLERANCE if single else TOLERANCE


def first_difference(expected: Sequence[Any], got: Sequence[Any], tolerance: float) -> Difference | None:
    """Return the first row that differs; None if all agree.

    Args:
        expected, got: one answer for each row; sequences of different lengths differ.
        tolerance: relative to the larger of the two numbers, or to the largest number of all rows, so that a number
            near zero may differ as much as its neighbours.

    >>> first_difference([0.1, 3.0], [0.1, 3.0 + 1e-15], 1e-9)
    >>> first_difference(["duty", "free"], ["duty", "duty"], 1e-9)
    Difference(row=1, expected='free', got='duty')
    """
    slack = tolerance * max(map(abs, _numbers(expected)), default=0.0)
    for row, (one, other) in enumerate(zip(expected, got, strict=False)):
        if not _equal(one, other, tolerance, slack):
            return Difference(row, one, other)
    if len(expected) != len(got):
        row = min(len(expected), len(got))
        return Difference(row, f"{len(expected)} answers", f"{len(got)} answers")
    return None


def _equal(one: Any, other: Any, tolerance: float, slack: float) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key], tolerance, slack) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            _equal(first, second, tolerance, slack) for first, second in zip(one, other, strict=True)
        )
    if isinstance(one, bool) or isinstance(other, bool) or not (_is_number(one) and _is_number(other)):
        return bool(one == other)
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    return bool(abs(one - other) <= max(tolerance * max(abs(one), abs(other)), slack))


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, float):
        yield value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
