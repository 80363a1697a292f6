"""Compares a percentile of two histograms, by an always-valid comparison of two proportions.

Notation: both histograms share their ordered bins and are given as `(bin, count)` pairs, ascending. `q` is the share
of values up to the percentile (0.95), `b*` the bin of b's percentile. If the percentiles are equal, so are the shares
above `b*`: so "a is slower" is tested as "a has more above `b*` than b" (`rise_evidence`). And if "a is slower by
`shift` bins or more", a has at least as much above `b* + shift` as b has beyond its percentile, `1 - q`: the evidence
against it is `fall_evidence`. (Testing one group at another's quantile: the control median test of Gart 1963.)

`b*` is estimated from the same data, so the guarantee is not exact; `python -m benchmarks.rollout_statistics` measures
that it holds nonetheless.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from streamb.stats.sequential import fall_evidence, rise_evidence

Bins = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class PercentileComparison:
    """The comparison of one percentile of the histograms a and b.

    Attributes:
        bin_a: the bin of a's percentile.
        bin_b: the bin of b's percentile.
        slower: `ln E` against "a's percentile is at most b's".
        tolerable: `ln E` against "a's percentile is `shift` bins above b's, or more".
    """

    bin_a: int
    bin_b: int
    slower: float
    tolerable: float


def quantile_bin(bins: Bins, q: float) -> int | None:
    """Return the bin that holds the percentile `q` (0 to 1); None if the histogram is empty.

    >>> quantile_bin([(3, 90), (7, 5), (9, 5)], 0.95)
    7
    """
    return _bin_of_rank(bins, max(1, math.ceil(q * _total(bins))))


def _total(bins: Bins) -> int:
    return sum([count for _, count in bins])  # a list is one and a half times as fast here as a generator


def _bin_of_rank(bins: Bins, rank: int) -> int | None:
    for index, count in bins:
        rank -= count
        if rank <= 0:
            return index
    return None


def count_above(bins: Bins, bin_: int) -> int:
    """Return the number of values in bins above `bin_`.

    >>> count_above([(3, 90), (7, 5), (9, 5)], 7)
    5
    """
    return sum([count for index, count in bins if index > bin_])


def compare_percentile(a: Bins, b: Bins, q: float, shift: int) -> PercentileComparison | None:
    """Compare a percentile of two histograms; None if one of them is empty.

    Args:
        a, b: the histograms.
        q: the percentile, as a share of 0 to 1.
        shift: the difference that is tolerated, in bins.

    >>> a, b = [(10, 900), (20, 100)], [(10, 2850), (20, 150)]  # 10 % of a's are slow, 5 % of b's
    >>> result = compare_percentile(a, b, 0.95, shift=5)
    >>> result.bin_a, result.bin_b, round(result.slower, 1), round(result.tolerable, 1)
    (20, 10, 11.6, -8.0)
    """
    n_a, n_b = _total(a), _total(b)
    rank_b = max(1, math.ceil(q * n_b))
    bin_a, bin_b = _bin_of_rank(a, max(1, math.ceil(q * n_a))), _bin_of_rank(b, rank_b)
    if bin_a is None or bin_b is None:
        return None
    return PercentileComparison(
        bin_a,
        bin_b,
        slower=rise_evidence(count_above(a, bin_b), n_a, count_above(b, bin_b), n_b),
        tolerable=fall_evidence(count_above(a, bin_b + shift), n_a, n_b - rank_b, n_b),
    )
