"""The classes of a text column: the lengths of texts, the share of words unknown to the baseline, and the words.

A row is counted once in each of three histograms. **Length**: its number of words, in quantile bins. **Unknown
words**: the share of its words that the baseline did not know. **Vocabulary**: one of 32 buckets, that of the word of
the row with the smallest hash. This picks each of its words with equal chance (Broder 1997), but one only, so that
rows, which are independent, are counted, and not words, which are not.

The vocabulary is learned from half of the baseline's rows, and its share of unknown words counted over the rest: a row
knows its own words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.monitoring.profiles.blocks import Block
from streamb.monitoring.profiles.halves import first_half
from streamb.monitoring.profiles.number_bins import NumberBins
from streamb.monitoring.profiles.vocabulary import Vocabulary, word_hashes

_BUCKETS: Final = 4_096
_WORD_BUCKETS: Final = 32
_SHARES: Final = (0.0, 0.05, 0.15, 0.3, 0.5, 0.75)
"""Upper ends of the classes of the share of unknown words; one more is above them, one is for texts without words."""
_MOST_CHARS: Final = 10_000
_MOST_WORDS: Final = 1_000
_WORD: Final = re.compile(r"\w+")

_Rows = Sequence[NDArray[np.int64] | None]


@dataclass(frozen=True, slots=True)
class TextBins:
    """The classes of one text column.

    Attributes:
        lengths: the bins of the number of words.
        vocabulary: the words of the baseline.
    """

    lengths: NumberBins
    vocabulary: Vocabulary

    kind = "text"

    @classmethod
    def learn(cls, texts: Sequence[str | None]) -> tuple[TextBins, NDArray[np.int64]]:
        """Return the classes for a baseline's texts, and their counters; None is a missing text."""
        rows = [None if text is None else _words_of(text) for text in texts]
        hits = np.zeros(_BUCKETS, np.int64)
        first = first_half(len(rows)).tolist()
        for words, chosen in zip(rows, first, strict=True):
            if words is not None and chosen:
                hits[np.unique(words % _BUCKETS)] += 1
        sizes = [words.size for words in rows if words is not None]
        bins = cls(NumberBins.learn(np.array(sizes, np.float64)), Vocabulary.learn(hits))
        counters = bins._count_rows(rows)
        later = bins._count_rows([words for words, chosen in zip(rows, first, strict=True) if not chosen])
        part = bins.blocks[1].part
        counters[part] = later[part]
        return bins, counters

    @property
    def size(self) -> int:
        """The number of counters."""
        return sum(block.classes for block in self.blocks)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The histograms among the counters; the last class of each is that of missing values."""
        shares = len(_SHARES) + 3
        return (
            Block(0, self.lengths.classes, ordered=True),
            Block(self.lengths.classes, shares, ordered=True, rising=True),
            Block(self.lengths.classes + shares, _WORD_BUCKETS + 2, ordered=False),
        )

    def count(self, texts: Sequence[str | None]) -> NDArray[np.int64]:
        """Return the counters of some rows; None is a missing text."""
        return self._count_rows([None if text is None else _words_of(text) for text in texts])

    def _count_rows(self, rows: _Rows) -> NDArray[np.int64]:
        present = [words for words in rows if words is not None]
        length, unknown, vocabulary = self.blocks
        sizes = np.array([words.size for words in present], np.float64)
        counters = np.zeros(self.size, np.int64)
        counters[: length.classes] = self.lengths.count_classes(sizes)
        for words in present:
            if words.size:
                share = 1.0 - np.count_nonzero(self.vocabulary.known[words % _BUCKETS]) / words.size
                counters[unknown.start + int(np.searchsorted(_SHARES, share))] += 1
                # Not the low bits, which say how small it is.
                counters[vocabulary.start + int(words.min()) * 0x9E3779B1 % 2**32 // 2**27] += 1
            else:
                counters[unknown.start + unknown.classes - 2] += 1
                counters[vocabulary.start + vocabulary.classes - 2] += 1
        for block in self.blocks:
            counters[block.start + block.classes - 1] += len(rows) - len(present)
        return counters

    def unknown_share(self, counters: NDArray[np.int64]) -> float:
        """Return the mean share of unknown words, 0 to 1, computed from its classes; 0 without texts."""
        rows = counters[self.blocks[1].part][:-2]
        middles = np.array([0.0, *((a + b) / 2.0 for a, b in zip(_SHARES, (*_SHARES[1:], 1.0), strict=True))])
        return float(rows @ middles / rows.sum()) if rows.sum() else 0.0

    def to_plain(self) -> list[Any]:
        """Return the classes as plain values, for `from_plain`."""
        return [self.lengths.to_plain(), self.vocabulary.bits]

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> TextBins:
        """Return the classes from the result of `to_plain`."""
        return cls(NumberBins.from_plain(plain[0]), Vocabulary(bytes(plain[1])))


def _words_of(text: str) -> NDArray[np.int64]:
    """The hashes of a text's different words; of a very long one, those of its beginning."""
    words = sorted(set(_WORD.findall(text[:_MOST_CHARS].lower())[:_MOST_WORDS]))
    return word_hashes(words)
