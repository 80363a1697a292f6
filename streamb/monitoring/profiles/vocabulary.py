"""The words of a baseline in a bounded number of bits, so that unknown words can be counted.

Notation: a word falls into one bucket by its CRC-32. A bucket is **known** when at least `r` rows of the baseline hit
it; `r` is the smallest number for which at most half of the buckets are known, 1 where there are few words.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

_FULLEST: Final = 0.5


@dataclass(frozen=True)
class Vocabulary:
    """The buckets of the words in a baseline.

    Attributes:
        bits: one bit for each bucket, packed; 1 if the bucket is known.
    """

    bits: bytes

    @classmethod
    def learn(cls, hits: NDArray[np.int64]) -> Vocabulary:
        """Return the vocabulary for the number of rows that hit each bucket, shape (size,)."""
        most = int(_FULLEST * hits.size)
        needed = 1
        if int((hits >= 1).sum()) > most:
            needed = int(np.partition(hits, hits.size - most - 1)[hits.size - most - 1]) + 1
        return cls(np.packbits(hits >= needed).tobytes())

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Whether each bucket is known, shape (size,)."""
        return np.unpackbits(np.frombuffer(self.bits, np.uint8)).astype(np.bool_)


def word_hashes(words: Iterable[str]) -> NDArray[np.int64]:
    """Return the CRC-32 of each word, the same on every machine."""
    return np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], np.int64)
