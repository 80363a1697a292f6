"""The sketch of a column without a baseline: at most a kilobyte in a push, and enough to choose bins from.

Notation: a number is `±2**e * m` with `1 <= m < 2`. At **level** 0 each octave `2**e` has `2**20` cells, cut
at equal steps of `m`, so a cell is read straight from the leading bits of the float64. One level up, two neighbouring
cells are one. A column is kept at the lowest level at which at most 128 of its cells hold a number: fine for numbers
that lie close together, whatever their size, and coarse for those that spread over many octaves.

That level depends only on the numbers, not on who saw them in which order: cells that are occupied in a part are
occupied in the whole, so no part is ever coarser than the whole. Sums of sketches are therefore exact for numbers.
Labels are the most frequent ones by Misra and Gries (1982), merged as by Agarwal et al. (2012, theorem 2.1): exact up
to 16 of them, and with more no count falls short by more than a 17th of all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

MOST_CELLS: Final = 128
MOST_LABELS: Final = 16
LONGEST_LABEL: Final = 48
"""The number of bytes of a label that are kept."""
_PARTS: Final = 20
_SHIFT: Final = np.int64(52 - _PARTS)
_MAGNITUDE: Final = np.int64(0x7FFF_FFFF_FFFF_FFFF)
_LEVELS: Final = 31
"""At the highest level all numbers of one sign are in one cell."""
_TINY: Final = 2.0**-32
"""Smaller magnitudes count as zero, so that rounding errors do not occupy octaves."""

_Keys: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ColumnSketch:
    """A summary of one column.

    Attributes:
        level: how often neighbouring cells were joined.
        keys: the occupied cells, ascending: 0 for zero, `k > 0` for the `k`-th above it, `-k` for its mirror image.
        counts: the number of values in each of these cells.
        fractions: the number of values that are not whole numbers.
        infinite: the number of infinities, which are in no cell.
        missing: the number of missing values (None, NaN).
        labels: the number of occurrences of each frequent text.
        others: the number of texts without a label.
    """

    level: int = 0
    keys: _Keys = field(default_factory=lambda: np.empty(0, np.int64))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    fractions: int = 0
    infinite: int = 0
    missing: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)
    others: int = 0

    @property
    def numbers(self) -> int:
        """The number of finite numbers."""
        return int(self.counts.sum())

    @classmethod
    def of_numbers(cls, values: NDArray[np.float64]) -> ColumnSketch:
        """Return the sketch of numbers, shape (n,); NaN counts as missing."""
        finite = values[np.isfinite(values)]
        missing = int(np.isnan(values).sum())
        level, keys, counts = _bounded(0, np.sort(_keys_of(finite)))
        fractions = int(np.count_nonzero(finite != np.floor(finite)))
        return cls(level, keys, counts, fractions, values.size - finite.size - missing, missing)

    @classmethod
    def of_values(cls, values: Sequence[Any]) -> ColumnSketch:
        """Return the sketch of JSON values: numbers and booleans as numbers, texts as labels, others as missing."""
        labels, others = _frequent(Counter(_label(value) for value in values if isinstance(value, str)))
        numbers = np.array([_number(value) for value in values if not isinstance(value, str)], np.float64)
        return cls(labels=labels, others=others).plus(cls.of_numbers(numbers))

    def plus(self, other: ColumnSketch) -> ColumnSketch:
        """Return the sketch of both columns together."""
        level = max(self.level, other.level)
        keys = np.concatenate([_joined(one.keys, level - one.level) for one in (self, other)])
        order = np.argsort(keys, kind="stable")
        counts = np.concatenate([self.counts, other.counts])
        labels, folded = _frequent(Counter(self.labels) + Counter(other.labels))
        return ColumnSketch(
            *_bounded(level, keys[order], counts[order]),
            self.fractions + other.fractions,
            self.infinite + other.infinite,
            self.missing + other.missing,
            labels,
            self.others + other.others + folded,
        )

    def values(self, count: int) -> list[Any]:
        """Return `count` artificial values with the column's distribution, ascending, missing ones (None) first.

        Numbers are spread evenly within their cell, and are whole if all were whole. Infinities and rare texts are left
        out.
        """
        texts = sum(self.labels.values())
        seen = self.numbers if self.numbers >= texts else texts
        if not seen:
            return [None] * count
        absent = round(count * self.missing / (seen + self.missing))
        shares = (np.arange(count - absent) + 0.5) / max(1, count - absent)
        found = self._numbers_at(shares) if self.numbers >= texts else self._labels_at(shares)
        return [None] * absent + found

    def _numbers_at(self, shares: NDArray[np.float64]) -> list[Any]:
        ends = np.cumsum(self.counts)
        ranks = shares * ends[-1]
        cells = np.minimum(np.searchsorted(ends, ranks, side="right"), ends.size - 1)
        within = (ranks - (ends - self.counts)[cells]) / self.counts[cells]
        near, far = _bounds(self.keys[cells], self.level)
        sizes = near + (far - near) * np.where(self.keys[cells] < 0, 1.0 - within, within)
        if not self.fractions:
            sizes = np.clip(np.round(sizes), np.ceil(near), np.maximum(np.ceil(far) - 1.0, 0.0))
        listed: list[Any] = (np.sign(self.keys[cells]) * sizes).tolist()
        return listed

    def _labels_at(self, shares: NDArray[np.float64]) -> list[Any]:
        names = sorted(self.labels)
        ends = np.cumsum([self.labels[name] for name in names])
        places = np.minimum(np.searchsorted(ends, shares * ends[-1], side="right"), len(names) - 1)
        return [names[place] for place in places.tolist()]

    def to_plain(self) -> list[Any]:
        """Return the sketch as plain values, for `from_plain`."""
        return [
            *(self.level, np.diff(self.keys, prepend=0).astype("<i8").tobytes(), self.counts.astype("<i8").tobytes()),
            *(self.fractions, self.infinite, self.missing, dict(self.labels), self.others),
        ]

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> ColumnSketch:
        """Return the sketch from the result of `to_plain`."""
        level, steps, counts, *rest = plain
        return cls(level, np.cumsum(np.frombuffer(steps, "<i8")), np.frombuffer(counts, "<i8"), *rest)


def _number(value: Any) -> float:
    """Convert a number to a float; NaN for anything else."""
    try:
        return float(value) if isinstance(value, (bool, int, float, np.generic)) else math.nan
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return math.nan


def _label(text: str) -> str:
    return text.encode(errors="replace")[:LONGEST_LABEL].decode(errors="ignore")


def _keys_of(finite: NDArray[np.float64]) -> _Keys:
    """The level-0 cell of each number."""
    magnitude = (np.ascontiguousarray(finite).view(np.int64) & _MAGNITUDE) >> _SHIFT
    keys = np.where(finite < 0, -(magnitude + 1), magnitude + 1)
    keys[np.abs(finite) < _TINY] = 0
    return keys


def _joined(keys: _Keys, levels: int) -> _Keys:
    """Cells so many levels up; zero stays by itself."""
    higher = ((np.abs(keys) - 1) >> levels) + 1
    return np.where(keys == 0, 0, np.sign(keys) * higher)


def _bounds(keys: _Keys, level: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The end of each cell that is nearer to zero, which is in it, and the other one, which is not; as magnitudes."""
    places = np.abs(keys) - 1
    last = np.int64(0x7FEF_FFFF_FFFF_FFFF)
    near = (np.maximum(places, 0) << (_SHIFT + level)).view(np.float64)
    far = np.minimum((np.maximum(places, 0) + 1) << (_SHIFT + level), last).view(np.float64)
    return np.where(keys == 0, 0.0, near), np.where(keys == 0, 0.0, far)


def _bounded(level: int, keys: _Keys, counts: NDArray[np.int64] | None = None) -> tuple[int, _Keys, NDArray[np.int64]]:
    """Cells, ascending and perhaps repeated, at the lowest level from `level` on that needs no more than `MOST_CELLS`.

    Joining keeps their order, so what becomes one lies side by side, and the level can be found by bisection.
    """
    if not keys.size:
        return 0, keys, np.empty(0, np.int64)
    low, high = 0, _LEVELS
    while low < high:
        middle = (low + high) // 2
        if np.count_nonzero(np.diff(_joined(keys, middle))) < MOST_CELLS:
            high = middle
        else:
            low = middle + 1
    joined = _joined(keys, low)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(joined)) + 1])
    if counts is None:
        return level + low, joined[starts], np.diff(np.append(starts, keys.size))
    return level + low, joined[starts], np.add.reduceat(counts, starts)


def _frequent(counts: Counter[str]) -> tuple[dict[str, int], int]:
    """The most frequent labels and how many texts are left out; all of them while there are no more than 16."""
    if len(counts) <= MOST_LABELS:
        return dict(counts), 0
    total = counts.total()
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    less = ordered[MOST_LABELS][1]
    kept = {label: count - less for label, count in ordered[:MOST_LABELS] if count > less}
    return kept, total - sum(kept.values())
