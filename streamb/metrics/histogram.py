"""A latency histogram with logarithmic buckets: any quantile within 1 %, and merging is integer addition.

Notation: `g` is the ratio between the bounds of a bucket, `s` the smallest duration told apart. Bucket `i` holds the
durations `d` with `s * g**i <= d < s * g**(i + 1)` and speaks for `2 * s * g**(i + 1) / (1 + g)`, whose relative error
is at most `(g - 1) / (g + 1)` (DDSketch, Masson et al. 2019, lemma 2). With `g = 1.02` that is 0.99 %.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from streamb.stats.percentile import quantile_bin

GROWTH: Final = 1.02
SMALLEST_S: Final = 1e-6
BUCKETS: Final = 1047
"""Number of buckets: enough for more than 1,000 seconds; longer durations count in the last bucket."""

_SCALE: Final = 1.0 / math.log(GROWTH)
_OFFSET: Final = -math.log(SMALLEST_S) * _SCALE
_LAST: Final = BUCKETS - 1


def bucket_of(seconds: float) -> int:
    """Return the bucket that counts a duration; durations below a microsecond count in bucket 0."""
    if seconds <= SMALLEST_S:
        return 0
    index = int(math.log(seconds) * _SCALE + _OFFSET)
    return index if index < _LAST else _LAST


def bucket_value(index: int) -> float:
    """Return the duration, in seconds, that represents a bucket."""
    return 2.0 * SMALLEST_S * math.exp((index + 1) / _SCALE) / (1.0 + GROWTH)


@dataclass(frozen=True, slots=True)
class LatencyHistogram:
    """The number of durations in each bucket.

    Attributes:
        buckets: `(bucket, count)` pairs, ascending, without empty ones.
        total_ns: the sum of all durations in whole nanoseconds (an integer, so that sums do not depend on their order).
    """

    buckets: tuple[tuple[int, int], ...] = ()
    total_ns: int = 0

    @classmethod
    def of(cls, seconds: Iterable[float]) -> LatencyHistogram:
        """Return the histogram of some durations, given in seconds.

        >>> histogram = LatencyHistogram.of([0.010] * 99 + [2.0])
        >>> round(histogram.quantile(0.5), 3), histogram.count
        (0.01, 100)
        """
        durations = list(seconds)
        counts = Counter(map(bucket_of, durations))
        return cls(tuple(sorted(counts.items())), sum(int(duration * 1e9) for duration in durations))

    @classmethod
    def merge(cls, histograms: Iterable[LatencyHistogram]) -> LatencyHistogram:
        """Return the histogram of all their durations together; neither order nor grouping changes the result."""
        counts: Counter[int] = Counter()
        total_ns = 0
        for histogram in histograms:
            total_ns += histogram.total_ns
            for index, count in histogram.buckets:
                counts[index] += count
        return cls(tuple(sorted(counts.items())), total_ns)

    def minus(self, earlier: LatencyHistogram) -> LatencyHistogram:
        """Return the histogram of the durations that were added after `earlier`.

        Raises:
            ValueError: `earlier` contains counts that this histogram does not.
        """
        counts = Counter(dict(self.buckets))
        counts.subtract(dict(earlier.buckets))
        total_ns = self.total_ns - earlier.total_ns
        if total_ns < 0 or any(count < 0 for count in counts.values()):
            raise ValueError("this histogram does not contain the earlier one")
        return LatencyHistogram(tuple(sorted((index, count) for index, count in counts.items() if count)), total_ns)

    @property
    def count(self) -> int:
        """The number of durations."""
        return sum(count for _, count in self.buckets)

    @property
    def total_s(self) -> float:
        """The sum of all durations in seconds."""
        return self.total_ns / 1e9

    @property
    def mean_s(self) -> float | None:
        """The mean duration in seconds; None if there are no durations."""
        return self.total_s / count if (count := self.count) else None

    def quantile(self, q: float) -> float | None:
        """Return the `q`-quantile of the durations in seconds, within 1 %; None if there are no durations.

        Raises:
            ValueError: `q` is not between 0 and 1.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile must be 0 to 1, not {q}")
        index = quantile_bin(self.buckets, q)
        return None if index is None else bucket_value(index)

    def at_most(self, seconds: float) -> int:
        """Return how many durations are at most `seconds`, by whole buckets (so within 1 % of `seconds`)."""
        return sum(count for index, count in self.buckets if bucket_value(index) <= seconds)
