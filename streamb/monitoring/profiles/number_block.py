"""Counts all numeric columns of a table at once: the hot loop of monitoring.

Rows are taken in pieces that fit the processor's cache. Per value: subtract, multiply, cut off to a cell, look up its
class, count. Whatever is added up is an integer held in a float64 below 2**53, so the result does not depend on how
rows are grouped, although BLAS does the adding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamb.monitoring.profiles.cells import CELLS
from streamb.monitoring.profiles.joint import Joint
from streamb.monitoring.profiles.number_bins import CUT, MOST_CLASSES, NumberBins

_PIECE: Final = 1 << 16
"""The number of values in one piece."""

Numbers = NDArray[np.float64]


class NumberBlock:
    """The look-up tables of several numeric columns, side by side.

    Args:
        bins: the bins of each column.
        joint: the joint counting of some of them; None: there is none.
        members: the indices of the columns that take part in it.
    """

    def __init__(self, bins: Sequence[NumberBins], joint: Joint | None, members: Sequence[int]) -> None:
        self._bins = bins
        self._centres = np.array([one.centre for one in bins], np.float64)[:, None]
        self._factors = np.array([one.factor for one in bins], np.float64)[:, None]
        self._table = np.concatenate([one.table() for one in bins]) if bins else np.zeros(0, np.uint8)
        self._cells = (np.arange(len(bins), dtype=np.int64) * CELLS)[:, None]
        self._classes = (np.arange(len(bins), dtype=np.int64) * MOST_CLASSES)[:, None]
        self._joint = joint
        in_a_row = list(members) == list(range(len(members)))
        self._members = slice(0, len(members)) if in_a_row else np.array(members, np.int64)
        self._scores = np.zeros(len(bins) * MOST_CLASSES)
        for member, scores in zip(members, joint.scores if joint else (), strict=True):
            self._scores[member * MOST_CLASSES : (member + 1) * MOST_CLASSES] = scores

    def count(self, columns: Sequence[Numbers] | Numbers) -> tuple[list[NDArray[np.int64]], NDArray[np.int64] | None]:
        """Return the counters of each column, and the joint counters (None if there are none).

        Args:
            columns: the values of each column, shape (rows,); or one array of shape (columns, rows).
        """
        width, rows = len(self._bins), len(columns[0]) if len(columns) else 0
        counts = np.zeros(width * MOST_CLASSES, np.int64)
        sums = np.zeros((2, width), np.int64)
        together = np.zeros(self._joint.size, np.int64) if self._joint else None
        step = min(max(256, _PIECE // max(1, width)), max(1, rows))
        scratch = _Scratch(width, step)
        for start in range(0, rows if width else 0, step):
            piece = scratch if start + step <= rows else _Scratch(width, rows - start)
            self._standardise(columns, start, piece)
            self._classify(piece)
            counts += np.bincount(piece.classes.ravel(), minlength=counts.size)
            _add_sums(piece.z, sums)
            if self._joint is not None and together is not None:
                self._joint.add(self._scores.take(piece.classes[self._members], mode="clip"), together)
        return [
            np.concatenate([counts[i * MOST_CLASSES : i * MOST_CLASSES + one.classes], sums[:, i]])
            for i, one in enumerate(self._bins)
        ], together

    def classes(self, columns: Sequence[Numbers]) -> NDArray[np.int64]:
        """Return the class of each value, shape (columns, rows)."""
        scratch = _Scratch(len(columns), len(columns[0]))
        self._standardise(columns, 0, scratch)
        self._classify(scratch)
        return scratch.classes - self._classes

    def _standardise(self, columns: Sequence[Numbers] | Numbers, start: int, piece: _Scratch) -> None:
        z, stop = piece.z, start + piece.z.shape[1]
        with np.errstate(over="ignore", invalid="ignore"):
            if isinstance(columns, np.ndarray):
                np.subtract(columns[:, start:stop], self._centres, out=z)
            else:
                for index, values in enumerate(columns):
                    np.subtract(values[start:stop], self._centres[index, 0], out=z[index])
            z *= self._factors

    def _classify(self, piece: _Scratch) -> None:
        """The class of each value, counted through over all columns."""
        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(piece.short, piece.z, casting="unsafe")
        np.add(piece.short.view("<u2")[:, 1::2], self._cells, out=piece.classes)
        self._table.take(piece.classes, out=piece.small, mode="clip")
        np.add(piece.small, self._classes, out=piece.classes)


class _Scratch:
    """Arrays of shape (columns, rows) that one piece after another is worked out in."""

    def __init__(self, width: int, rows: int) -> None:
        self.z = np.empty((width, rows))
        self.short = np.empty((width, rows), "<f4")
        self.small = np.empty((width, rows), np.uint8)
        self.classes = np.empty((width, rows), np.int64)


def _add_sums(z: Numbers, sums: NDArray[np.int64]) -> None:
    np.clip(z, -CUT, CUT, out=z)
    np.rint(z, out=z)
    first = z.sum(axis=1)
    if np.isnan(first).any():
        np.nan_to_num(z, copy=False, nan=0.0)
        first = z.sum(axis=1)
    sums[0] += first.astype(np.int64)
    sums[1] += np.einsum("ij,ij->i", z, z).astype(np.int64)
