"""The classes of a numeric column: quantile bins that are fixed with the baseline, and sums in fixed point.

The counters of a column with `b` bins: minus infinity | below the baseline's range | the bins | above it | infinity |
not a number (text where numbers were) | missing | the sum of `z` | the sum of `z**2`, with `z` in 1,024ths of the
baseline's standard deviation and cut at 64 of these. A value that makes up more than a bin's share has a bin of its
own, so a column that is mostly zero, or holds few whole numbers, is counted by value.

The range of the baseline ends before its single lowest and single highest value: one row of the baseline is then
below and one above, as many as a new row has a chance to be (any row is as likely as another to be the lowest).

Where no value of the baseline lies between two bins, the border is half-way: a value that comes rounded otherwise (in
32 bits, through JSON, from a sum) stays in its bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.monitoring.profiles.blocks import BINS, Block
from streamb.monitoring.profiles.cells import (
    CELLS,
    NEGATIVE_INFINITY,
    POSITIVE_INFINITY,
    UNITS,
    by_key,
    cell_keys,
    place_start,
    places,
    standardise,
)

CUT: Final = 64.0 * UNITS
"""The largest `z` in the sums: 2**16, whose square over 2**21 rows still adds up exactly in a float64."""
MOST_CLASSES: Final = 64
"""The most classes of a column."""
_BEFORE: Final = 2
"""Classes before the first bin: minus infinity and below."""
_AFTER: Final = 4
"""Classes after the last bin: above, infinity, not a number, missing."""
_ROWS_PER_BIN: Final = 10
_WIDEST: Final = 50.0
_SAMPLE: Final = 20_000
_ROUNDING: Final = 2.0**-20
"""The tolerance for rounding, relative to the value: 16 times the error of rounding to 32 bits."""


@dataclass(frozen=True, slots=True)
class NumberBins:
    """The bins of one numeric column.

    Attributes:
        centre: the baseline's median.
        scale: the baseline's standard deviation, without far outliers; that of a constant is its size, at least 1.
        starts: the place of the first cell of each bin.
        end: the place of the first cell above the last bin.
    """

    centre: float
    scale: float
    starts: tuple[int, ...]
    end: int

    kind = "number"

    @classmethod
    def learn(cls, values: NDArray[np.float64]) -> NumberBins:
        """Return the bins for a baseline's values, shape (rows,); NaN and infinities are ignored."""
        finite = values[np.isfinite(values)]
        centre, scale = _location(finite)
        counts = np.bincount(places(cell_keys(standardise(finite, centre, UNITS / scale))), minlength=CELLS)
        counts[: NEGATIVE_INFINITY + 1] = 0  # too far out for a cell of their own
        counts[POSITIVE_INFINITY:] = 0
        starts, end = _cut(counts)
        return cls(centre, scale, *_apart(counts, starts, end, UNITS * (1.0 + abs(centre / scale))))

    @property
    def classes(self) -> int:
        """The number of classes that a value may fall into."""
        return len(self.starts) + _BEFORE + _AFTER

    @property
    def size(self) -> int:
        """The number of counters."""
        return self.classes + 2

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The histograms among the counters."""
        return (Block(0, self.classes, ordered=True),)

    @property
    def factor(self) -> float:
        """The factor from the unit of the values to that of `z`."""
        return UNITS / self.scale

    @property
    def below(self) -> int:
        """The class of values below the baseline's range."""
        return _BEFORE - 1

    @property
    def above(self) -> int:
        """The class of values above the baseline's range."""
        return _BEFORE + len(self.starts)

    @property
    def invalid(self) -> int:
        """The class of values that are not numbers."""
        return self.classes - 2

    @property
    def missing(self) -> int:
        """The class of missing values."""
        return self.classes - 1

    @property
    def infinite(self) -> tuple[int, int]:
        """The classes of minus infinity and infinity."""
        return 0, self.above + 1

    def table(self) -> NDArray[np.uint8]:
        """Return the class of each cell, shape (65,536,)."""
        edges = [NEGATIVE_INFINITY, NEGATIVE_INFINITY + 1, *self.starts, self.end, POSITIVE_INFINITY]
        lengths = np.diff([*edges, POSITIVE_INFINITY + 1])
        inside = np.repeat(np.arange(len(lengths), dtype=np.uint8), lengths)
        by_place = np.full(CELLS, self.missing, np.uint8)  # what is left over is NaN
        by_place[NEGATIVE_INFINITY : POSITIVE_INFINITY + 1] = inside
        return by_key(by_place)

    def count_classes(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the number of values in each class; `values` has shape (rows,)."""
        keys = cell_keys(standardise(values, self.centre, self.factor))
        return np.bincount(self.table()[keys], minlength=self.classes)

    def edges(self) -> list[float]:
        """Return the lower ends of the bins and the upper end of the last one, in the unit of the values."""
        return [self.centre + place_start(place) / UNITS * self.scale for place in (*self.starts, self.end)]

    def to_plain(self) -> list[Any]:
        """Return the bins as plain values, for `from_plain`."""
        return [self.centre, self.scale, np.array([*self.starts, self.end], "<u2").tobytes()]

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> NumberBins:
        """Return the bins from the result of `to_plain`."""
        ends = np.frombuffer(plain[2], "<u2").tolist()
        return cls(float(plain[0]), float(plain[1]), tuple(ends[:-1]), ends[-1])


def _location(finite: NDArray[np.float64]) -> tuple[float, float]:
    """Median and standard deviation, the latter without what is 50 half-widths of the middle two thirds away."""
    if not finite.size:
        return 0.0, 1.0
    seen = finite[:: -(-finite.size // _SAMPLE)]  # where the middle is need not be known exactly
    low, centre, high = np.quantile(seen, [0.16, 0.5, 0.84], method="lower").tolist()
    with np.errstate(over="ignore", invalid="ignore"):
        half = (high - low) / 2.0
        near = finite[np.abs(finite - centre) <= _WIDEST * half] if 0.0 < half < np.inf else finite
        scale = float(np.std(near))
    if not np.isfinite(scale):
        scale = float(np.abs(finite / 2.0 - centre / 2.0).max())
    least = max(abs(centre) * 1e-12, 1e-280)  # below this, differences are rounding errors
    return centre, scale if scale > least else max(1.0, abs(centre))


def _cut(counts: NDArray[np.int64]) -> tuple[tuple[int, ...], int]:
    """Where bins of about equal counts begin among the places, and where the last one ends."""
    used = np.flatnonzero(counts)
    if not used.size:
        used = np.array([CELLS // 2])
    elif used.size > 2:
        used = used[int(counts[used[0]] == 1) : used.size - int(counts[used[-1]] == 1)]
    held = counts[used]
    if used.size <= BINS:
        return tuple(used.tolist()), int(used[-1]) + 1
    cumulative = held.cumsum()
    target = max(cumulative[-1] / BINS, _ROWS_PER_BIN)
    starts, at, done = [], 0, 0
    while at < used.size:
        starts.append(int(used[at]))
        last = int(np.searchsorted(cumulative, done + target - 0.5))  # the cell that completes the bin
        if at < last < used.size and held[last] >= target:  # a value as frequent as a bin gets its own
            last -= 1
        if last >= used.size or cumulative[-1] - cumulative[last] < target / 2.0:  # what is left is no bin
            last = used.size - 1
        at, done = last + 1, int(cumulative[last])
    return tuple(starts), int(used[-1]) + 1


def _apart(counts: NDArray[np.int64], starts: tuple[int, ...], end: int, size: float) -> tuple[tuple[int, ...], int]:
    """The same bins, with the borders half-way between the cells that are used, the outer ones a rounding further out.

    Args:
        size: of the column's values, in the unit of `z`.
    """
    used = np.flatnonzero(counts)
    inside = used[(used >= starts[0]) & (used < end)]
    middle = []
    for start in starts[1:]:
        before = int(inside[np.searchsorted(inside, start) - 1])
        middle.append(_place((place_start(before + 1) + place_start(start)) / 2.0) if start - before > 1 else start)
    low, high = place_start(starts[0]), place_start(end)
    first = _place(low - _ROUNDING * (size + abs(low)))
    last = _place(high + _ROUNDING * (size + abs(high))) + 1
    lower, higher = used[used < starts[0]], used[used >= end]  # a single outlier stays outside
    first = max(first, NEGATIVE_INFINITY + 1, int(lower[-1]) + 1 if lower.size else 0)
    last = min(last, POSITIVE_INFINITY, int(higher[0]) if higher.size else CELLS)
    return (first, *middle), last


def _place(z: float) -> int:
    return int(places(cell_keys(np.array([z])))[0])
