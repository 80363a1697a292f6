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
"""Remembered for recent units: a hash is a twentieth of all that a gateway does for a small request."""

_LONGEST_REMEMBERED: Final = 128
"""Longer units are hashed each time: whoever asks chooses them, and 16,384 of any length would fill the memory."""

_STRIDE: Final = 6181
"""Prime to the length of the line and near its golden section: steps of it meet every place once, evenly spread."""


@dataclass(frozen=True, slots=True)
class Split:
    """Which version answers which unit.

    The first version owns its share of the line `[0, 10000)`, the next follows. A version that grows at
    the start of the line takes units only from its neighbour, so raising a share never moves a unit twice.

    Attributes:
        versions: the versions, in the order in which they lie on the line.
        bounds: the end of each version's stretch (cumulative shares); the last is 10,000.
    """

    versions: tuple[str, ...]
    bounds: tuple[int, ...]

    @classmethod
    def all_to(cls, version: str) -> Split:
        """Every unit to one version.

        >>> Split.all_to("1.0.0").choose("user-1", salt="s")
        '1.0.0'
        """
        return cls((version,), (BASIS_POINTS,))

    @classmethod
    def by_shares(cls, shares: Sequence[tuple[str, int]]) -> Split:
        """A split from `(version, share in ten-thousandths)` pairs that add up to 10,000.

        >>> Split.by_shares([("2.0.0", 1000), ("1.0.0", 9000)]).bounds
        (1000, 10000)
        """
        versions = [version for version, _ in shares]
        sizes = [size for _, size in shares]
        if not shares or min(sizes) < 0 or sum(sizes) != BASIS_POINTS or len(set(versions)) != len(versions):
            raise InvalidInput(
                f"a split shares {BASIS_POINTS} ten-thousandths out to distinct versions, unlike {list(shares)}"
            )
        return cls(tuple(versions), tuple(accumulate(sizes)))

    def choose(self, unit: str, *, salt: str) -> str:
        """The version that answers `unit`; the same one every time while the shares stand."""
        if len(self.versions) == 1:
            return self.versions[0]
        place = _place if len(unit) <= _LONGEST_REMEMBERED else bucket
        return self.versions[bisect_right(self.bounds, place(unit, salt))]

    def deal(self, number: int) -> str:
        """The version for the `number`-th request of those that name no unit: nothing to stick to, so they take turns.

        Any 10,000 in a row are shared out exactly, and any few in a row nearly so.

        >>> split = Split.by_shares([("2.0.0", 1000), ("1.0.0", 9000)])
        >>> sum(split.deal(number) == "2.0.0" for number in range(10_000))
        1000
        """
        if len(self.versions) == 1:
            return self.versions[0]
        return self.versions[bisect_right(self.bounds, number * _STRIDE % BASIS_POINTS)]
