"""What a column's counters look like from outside: blocks, in each of which a row is counted exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BINS: Final = 20
"""Quantile bins of a column of numbers."""


@dataclass(frozen=True, slots=True)
class Block:
    """Counters that hold every row of a table once: one histogram.

    Attributes:
        start: where it begins among the column's counters.
        classes: how many counters.
        ordered: whether the classes ascend, so that cumulative shares mean something.
        known_and_not: the classes of what the baseline knew and of what it did not, where they are told apart only if
            the latter has grown: rows that were seen before, as in the baseline's own data, are no drift.
        rising: whether only a shift to higher classes is drift.
    """

    start: int
    classes: int
    ordered: bool
    known_and_not: tuple[int, int] | None = None
    rising: bool = False

    @property
    def part(self) -> slice:
        """The places of these counters among the column's."""
        return slice(self.start, self.start + self.classes)
