"""A sticky split of units over versions by shares in ten-thousandths."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Final

from streamb.errors import InvalidInput
from streamb.hashing import BASIS_POINTS, bucket

_place = lru_cache(maxsize=16_384)(bucket)
"""`bucket`, cached for recent units: hashing takes a twentieth of a gateway's time for a small request."""

_LONGEST_REMEMBERED: Final = 128
"""Longer units are not cached: clients choose them, and 16,384 long ones could fill the memory."""

_STRIDE: Final = 6181
"""Coprime to 10,000 and near its golden section: multiples of it visit every place once, evenly spread."""


@dataclass(frozen=True, slots=True)
class Split:
    """Assigns units to versions.

    The first version owns the start of the line `[0, 10000)` up to its share, the next one follows. A first version
    that grows takes units only from its neighbour, so raising its share never moves a unit twice.

    Attributes:
        versions: the versions, in their order on the line.
        bounds: the end of each version's part of the line (cumulative shares); the last is 10,000.
    """

    versions: tuple[str, ...]
    bounds: tuple[int, ...]

    @classmethod
    def all_to(cls, version: str) -> Split:
        """Return a split that assigns every unit to one version.

        >>> Split.all_to("1.0.0").choose("user-1", salt="s")
        '1.0.0'
        """
        return cls((version,), (BASIS_POINTS,))

    @classmethod
    def by_shares(cls, shares: Sequence[tuple[str, int]]) -> Split:
        """Return a split from `(version, share in ten-thousandths)` pairs that add up to 10,000.

        >>> Split.by_shares([("2.0.0", 1000), ("1.0.0", 9000)]).bounds
        (1000, 10000)
        """
        versions = [version for version, _ in shares]
        sizes = [size for _, size in shares]
        if not shares or min(sizes) < 0 or sum(sizes) != BASIS_POINTS or len(set(versions)) != len(versions):
            raise InvalidInput(
                f"the shares of a split must add up to {BASIS_POINTS}, for distinct versions, unlike {list(shares)}"
            )
        return cls(tuple(versions), tuple(accumulate(sizes)))

    def choose(self, unit: str, *, salt: str) -> str:
        """Return the version for `unit`; always the same one while the shares do not change."""
        if len(self.versions) == 1:
            return self.versions[0]
        place = _place if len(unit) <= _LONGEST_REMEMBERED else bucket
        return self.versions[bisect_right(self.bounds, place(unit, salt))]

    def deal(self, number: int) -> str:
        """Return the version for the `number`-th request without a unit; such requests are dealt out in turn.

        Any 10,000 consecutive requests follow the shares exactly, and any few nearly so.

        >>> split = Split.by_shares([("2.0.0", 1000), ("1.0.0", 9000)])
        >>> sum(split.deal(number) == "2.0.0" for number in range(10_000))
        1000
        """
        if len(self.versions) == 1:
            return self.versions[0]
        return self.versions[bisect_right(self.bounds, number * _STRIDE % BASIS_POINTS)]
