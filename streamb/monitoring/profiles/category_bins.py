"""The classes of a categorical column: frequent values of the baseline by name, other known values, unseen values.

The counters: each named value | other known values | unseen ones | missing | 64 sums of bits. The last add up, over
all unseen values, the bits of their first eight bytes. Where most of the unseen rows hold the same new value, the
majority of each bit is its name: sums that merge like every other counter still say what the new category is called.

Which values are frequent, and which are known at all, is read from a sample; counted over the same sample, these
classes would be fuller than they are (Good 1953). So unless every value of the baseline has a class, the classes are
learned from every other row and the baseline is counted over the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.metrics.predictions import label_of
from streamb.monitoring.profiles.blocks import Block
from streamb.monitoring.profiles.vocabulary import Vocabulary, word_hashes

MOST_NAMED: Final = 32
LEAST_OF_NAMED: Final = 10
"""The number of rows that a value needs, in the half that classes are learned from, for its own class."""
LEAST_OF_ALL: Final = 3
"""If each value has so many rows of the baseline, probably no value is missing, and each gets its own class."""
_LONGEST: Final = 24
_ALL_NAMES: Final = 400
"""Bytes of all names of a column together."""
_BUCKETS: Final = 1_024
NAME_BYTES: Final = 8
_NAME_BITS: Final = 8 * NAME_BYTES
_AT_ONCE: Final = 16_384
_CLEAR: Final = 0.6
"""The share of the rows that must agree on every bit of a new category's name."""


@dataclass(frozen=True)
class CategoryBins:
    """The classes of one categorical column.

    Attributes:
        named: values with their own class, the most frequent first.
        vocabulary: the other values of the baseline.
    """

    named: tuple[str, ...]
    vocabulary: Vocabulary

    kind = "category"

    @cached_property
    def _index(self) -> Mapping[str, int]:
        return {name: index for index, name in enumerate(self.named)}

    @classmethod
    def learn(cls, counts: Mapping[str, int], least: int = LEAST_OF_NAMED) -> CategoryBins:
        """Return the classes for rows counted by name (`name_of`); a value needs `least` rows for its own class."""
        frequent = sorted((name for name, rows in counts.items() if rows >= least), key=lambda n: (-counts[n], n))
        named = _that_fit(frequent)
        others = [name for name in counts if name not in set(named)]
        rows = np.array([counts[name] for name in others], np.int64)
        hits = np.bincount(word_hashes(others) % _BUCKETS, weights=rows, minlength=_BUCKETS)
        return cls(named, Vocabulary.learn(hits.astype(np.int64)))

    @property
    def size(self) -> int:
        """The number of counters."""
        return len(self.named) + 3 + _NAME_BITS

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The histograms among the counters."""
        return (Block(0, len(self.named) + 3, ordered=False, known_and_not=(self.other, self.unseen)),)

    @property
    def other(self) -> int:
        """The class of known values without their own class."""
        return len(self.named)

    @property
    def unseen(self) -> int:
        """The class of values that the baseline did not know."""
        return len(self.named) + 1

    @property
    def missing(self) -> int:
        """The class of missing values."""
        return len(self.named) + 2

    def count(self, counts: Mapping[str, int], missing: int) -> NDArray[np.int64]:
        """Return the counters of rows: `counts` are the rows by name (`name_of`), `missing` those without a value."""
        counters = np.zeros(self.size, np.int64)
        counters[self.missing] = missing
        strange: list[str] = []
        for name, rows in counts.items():
            index = self._index.get(name)
            if index is None:
                strange.append(name)
            else:
                counters[index] += rows
        if strange:
            self._count_strange(counters, strange, counts)
        return counters

    def _count_strange(self, counters: NDArray[np.int64], names: list[str], counts: Mapping[str, int]) -> None:
        rows = np.array([counts[name] for name in names], np.int64)
        known = self.vocabulary.known[word_hashes(names) % _BUCKETS]
        counters[self.other] += rows[known].sum()
        counters[self.unseen] += rows[~known].sum()
        unseen = [names[index].encode()[:NAME_BYTES] for index in np.flatnonzero(~known).tolist()]
        weights = rows[~known].astype(np.float64)  # for BLAS; the sums are whole numbers all the same
        for start in range(0, len(unseen), _AT_ONCE):
            some = [name.ljust(NAME_BYTES, b"\0") for name in unseen[start : start + _AT_ONCE]]
            bits = np.unpackbits(np.frombuffer(b"".join(some), np.uint8).reshape(-1, NAME_BYTES), axis=1)
            counters[-_NAME_BITS:] += (weights[start : start + len(some)] @ bits.astype(np.float64)).astype(np.int64)

    def new_name(self, counters: NDArray[np.int64]) -> str | None:
        """Return the start (at most 8 bytes) of the value that most unseen rows have; None if there is none."""
        unseen = int(counters[self.unseen])
        ones = counters[-_NAME_BITS:]
        if unseen <= 0 or bool((np.maximum(ones, unseen - ones) < _CLEAR * unseen).any()):
            return None
        name = np.packbits(ones * 2 > unseen).tobytes().rstrip(b"\0").decode("utf-8", "ignore")
        return name if name and name.isprintable() else None

    def to_plain(self) -> list[Any]:
        """Return the classes as plain values, for `from_plain`."""
        return [list(self.named), self.vocabulary.bits]

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> CategoryBins:
        """Return the classes from the result of `to_plain`."""
        return cls(tuple(plain[0]), Vocabulary(bytes(plain[1])))


def name_of(value: object) -> str:
    """Return the short name that a category is counted under: the same for 2 and 2.0, different for long values.

    >>> name_of("setosa"), name_of(2.0), name_of("x" * 100)
    ('setosa', '2', 'xxxxxxxxxxxxxxx~5e0e5d8f')
    """
    text = value if isinstance(value, str) else label_of(value)
    if len(text) <= _LONGEST and text.isascii():
        return text
    letters = text.encode("utf-8", "surrogatepass")
    if len(letters) <= _LONGEST:
        return _written(text)
    return f"{letters[:15].decode('utf-8', 'ignore')}~{int(word_hashes([text])[0]):08x}"


def _written(text: str) -> str:
    """The same text where UTF-8 can hold it; half of a surrogate pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _that_fit(names: Sequence[str]) -> tuple[str, ...]:
    chosen: list[str] = []
    room = _ALL_NAMES
    for name in names[:MOST_NAMED]:
        room -= len(name.encode())
        if room < 0:
            break
        chosen.append(name)
    return tuple(chosen)
