"""Compares two versions' answers to the same row, and says whether they agree, differ, or are of another type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamb.metrics.predictions import label_of
from streamb.models.named_outputs import row_values

SAME_WITHIN: Final = 0.1
"""Numbers agree if they differ by at most this share of the largest of: either number, and their typical size."""

MOST_PLACES: Final = 4_096
"""For so many places inside of an answer a typical size is kept; further ones share one."""

_WALKED: Final = 64
"""Arrays with more values for each row are compared as a whole: their values share one typical size."""

_Place: TypeAlias = tuple[str | int, ...]

_KINDS: Final[dict[type, str]] = {bool: "boolean", int: "number", float: "number", str: "text"}


class Pair(NamedTuple):
    """The comparison of two answers to one row.

    Attributes:
        agrees: whether they say the same.
        retyped: whether the other answer is of another type or shape, or a class that the first version does not have.
        difference: by how much numbers differ: the largest difference as a share of the size (see `SAME_WITHIN`);
            None if there are no numbers, or they are classes.
    """

    agrees: bool
    retyped: bool = False
    difference: float | None = None


_RETYPED: Final = Pair(agrees=False, retyped=True)


class PairComparer:
    """Compares the answers of one version with those of the others, pair by pair.

    It remembers how large numbers typically are in each place of an answer (the mean of their absolute values in the
    first version's answers), so that 0.001 and 0.002 are the same where numbers of about 100 are usual.
    """

    def __init__(self) -> None:
        self._sizes: dict[_Place, tuple[float, int]] = {}

    def compare(self, said: NDArray[Any], other: NDArray[Any], task: str, classes: Sequence[Any] | None = None) -> Pair:
        """Compare two answers to one row.

        Args:
            said: the first version's predictions for the row, an array of shape (1, …).
            other: the other version's predictions for the same row.
            task: the task of the first version; classes ("classification") must be equal, numbers nearly so.
            classes: the classes that the first version has; None if they are unknown.

        >>> def pair(one, other, task="regression"):
        ...     return PairComparer().compare(np.array([one]), np.array([other]), task)
        >>> pair(10.0, 9.5)
        Pair(agrees=True, retyped=False, difference=0.05)
        >>> pair("a", "b", "classification"), pair(1.0, "a").retyped
        (Pair(agrees=False, retyped=False, difference=None), True)
        """
        if said.shape != other.shape:
            return _RETYPED
        exact = task == "classification"
        if said.size > _WALKED and said.dtype.kind in "iuf" and other.dtype.kind in "iuf" and not exact:
            return self._arrays(said.astype(np.float64), other.astype(np.float64))
        one, two = row_values(said)[0], row_values(other)[0]
        pair = self._values((), one, two, exact=exact)
        flat = exact and classes and not isinstance(classes[0], list | tuple) and not isinstance(two, list | dict)
        if flat and not pair.agrees and label_of(two) not in map(label_of, classes or ()):
            return _RETYPED
        return pair

    def _values(self, place: _Place, one: Any, two: Any, *, exact: bool) -> Pair:
        """Compare two values of JSON."""
        if isinstance(one, dict) and isinstance(two, dict):
            if one.keys() != two.keys():
                return _RETYPED
            return _all([self._values((*place, str(key)), one[key], two[key], exact=exact) for key in one])
        if isinstance(one, list) and isinstance(two, list):
            if len(one) != len(two):
                return _RETYPED
            parts = enumerate(zip(one, two, strict=True))
            return _all([self._values((*place, index), *both, exact=exact) for index, both in parts])
        if one is None or two is None:  # a missing value fits every type
            return Pair(one is two)
        kind = _KINDS.get(type(one))
        if kind is None or kind != _KINDS.get(type(two)):
            return _RETYPED
        if kind != "number" or exact:
            return Pair(one == two or (one != one and two != two))
        difference = _apart(one, two, self._typical(place, abs(_as_float(one))))
        return Pair(difference <= SAME_WITHIN, difference=difference)

    def _arrays(self, one: NDArray[np.float64], two: NDArray[np.float64]) -> Pair:
        """Compare many numbers at once."""
        absent = np.isnan(one)
        if (absent != np.isnan(two)).any():
            return Pair(agrees=False, difference=math.inf)
        left, right = one[~absent], two[~absent]
        typical = self._typical((), float(np.abs(left).mean()) if left.size else 0.0)
        size = np.maximum(np.maximum(np.abs(left), np.abs(right)), typical)
        with np.errstate(over="ignore", invalid="ignore"):
            apart = np.divide(np.abs(left - right), size, out=np.zeros_like(size), where=left != right)
        difference = float(np.where(np.isnan(apart), math.inf, apart).max(initial=0.0))
        return Pair(difference <= SAME_WITHIN, difference=difference)

    def _typical(self, place: _Place, size: float) -> float:
        """Count the size of a number in its place; return the mean of all so far."""
        if place not in self._sizes and len(self._sizes) >= MOST_PLACES:
            place = ()
        total, count = self._sizes.get(place, (0.0, 0))
        if math.isfinite(total + size):
            total, count = total + size, count + 1
            self._sizes[place] = total, count
        return total / count if count else 0.0


def _apart(one: float, two: float, typical: float) -> float:
    left, right = _as_float(one), _as_float(two)
    if one == two or (math.isnan(left) and math.isnan(right)):
        return 0.0
    if not (math.isfinite(left) and math.isfinite(right)):
        return math.inf
    return abs(left - right) / (max(abs(left), abs(right), typical) or math.inf)


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer beyond the range of a float
        return math.inf


def _all(pairs: list[Pair]) -> Pair:
    """The comparison of a whole: it agrees if all its parts do."""
    if any(pair.retyped for pair in pairs):
        return _RETYPED
    known = [pair.difference for pair in pairs if pair.difference is not None]
    return Pair(all(pair.agrees for pair in pairs), difference=max(known, default=None))
