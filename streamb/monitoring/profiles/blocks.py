"""Blocks, the histograms among a column's counters: each block counts every row exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BINS: Final = 20
"""The number of quantile bins of a numeric column."""


@dataclass(frozen=True, slots=True)
class Block:
    """One histogram: counters that together count every row of a table once.

    Attributes:
        start: the index of its first counter among the column's counters.
        classes: the number of its counters.
        ordered: whether the classes ascend, so that cumulative shares are meaningful.
        known_and_not: the classes of values that the baseline knew and did not know, which are compared only if the
            latter has grown, since more known values are not drift; None: there are no such classes.
        rising: whether only a shift to higher classes is drift.
    """

    start: int
    classes: int
    ordered: bool
    known_and_not: tuple[int, int] | None = None
    rising: bool = False

    @property
    def part(self) -> slice:
        """The slice of the column's counters that this block covers."""
        return slice(self.start, self.start + self.classes)
