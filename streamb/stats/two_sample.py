"""Tests whether two histograms are samples of one distribution: three tests for different changes, many pairs at once.

Notation: `b` and `w` count `m` and `n` observations over the same classes; `k = b + w`, `r = n / (n + m)`.

- **Kolmogorov-Smirnov** (ordered classes): the largest difference of the two cumulative shares, whose chance is that
  of the Kolmogorov distribution at `sqrt(n m / (n + m))` times it (Smirnov 1948). On classes it is at most what it
  would be on the values, so the p-value errs on the safe side.
- **G-test** (twice the log-likelihood ratio of homogeneity) over classes that expect at least five in both samples;
  the rarer ones are counted together. Divided by Williams' factor (1976), `1 + (N sum 1/k - 1) (N/n + N/m - 1) / (6 N
  (c - 1))` for `N = n + m` and `c` classes, it is close to chi-square far into the tail, where Pearson's statistic is
  not: with bins of 50 rows of the baseline each and a long window, that passes the 1e-5 point four times as often as
  it should.
- **Single classes** (a value never seen before): while the distributions are the same, `w` is hypergeometric given `k`,
  and `P(W >= w) <= exp(-k KL(w / k || r))` (Hoeffding 1963, theorem 4 with theorem 1): valid for any count, no limit
  theorem.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamb.stats.divergence import x_log_x
from streamb.stats.special import chi_square_tail

Counts = NDArray[np.int64]
PValues = NDArray[np.float64]

_LEAST_EXPECTED: Final = 5.0
_TERMS: Final = 16
_SINGLE: Final = 0.1


def combined_p_values(baseline: Counts, window: Counts, ordered: NDArray[np.bool_]) -> PValues:
    """Return one p-value for each pair of histograms: the smallest p-value of the tests after weighting (Bonferroni).

    For an ordered histogram the first two tests have 45 % of the weight each, for others the second has 90 %; the test
    of single classes has 10 %.

    Args:
        baseline: shape (histograms, classes).
        window: shape (histograms, classes).
        ordered: shape (histograms,).
    """
    general = np.where(ordered, (1.0 - _SINGLE) / 2.0, 1.0 - _SINGLE)
    smallest = np.minimum(g_test_p_values(baseline, window) / general, single_p_values(baseline, window) / _SINGLE)
    smallest = np.where(ordered, np.minimum(smallest, ks_p_values(baseline, window) / general), smallest)
    return np.asarray(np.minimum(1.0, smallest), np.float64)


def kolmogorov_tail(x: NDArray[np.float64]) -> PValues:
    """Return the probability that a Kolmogorov variable exceeds `x`: `2 sum (-1)**(k-1) exp(-2 k**2 x**2)`.

    >>> kolmogorov_tail(np.array([0.0, 1.3581, 9.0])).round(4)
    array([1.  , 0.05, 0.  ])
    """
    orders = np.arange(1, _TERMS + 1)
    powers = np.exp(-2.0 * (orders**2) * np.square(np.asarray(x, np.float64))[..., None])
    total = 2.0 * (np.where(orders % 2, 1.0, -1.0) * powers).sum(axis=-1)
    return np.where(np.asarray(x) < 0.3, 1.0, np.clip(total, 0.0, 1.0))  # below 0.3 the tail is 1 to five digits


def ks_p_values(baseline: Counts, window: Counts) -> PValues:
    """Return the p-values of the Kolmogorov-Smirnov test of each pair of histograms.

    Args:
        baseline: shape (histograms, classes), classes in ascending order of the values.
        window: shape (histograms, classes).

    Returns:
        shape (histograms,); 1 where one side has no observations.
    """
    m, n = baseline.sum(axis=1), window.sum(axis=1)
    below = window.cumsum(axis=1) / np.maximum(n, 1)[:, None] - baseline.cumsum(axis=1) / np.maximum(m, 1)[:, None]
    weight = np.sqrt(m * (n / np.maximum(m + n, 1)))
    tail = kolmogorov_tail(weight * np.abs(below).max(axis=1, initial=0.0))
    return np.where((m > 0) & (n > 0), tail, 1.0)


def g_test_p_values(baseline: Counts, window: Counts) -> PValues:
    """Return the p-values of the G-test of homogeneity of each pair of histograms, with Williams' correction.

    Args:
        baseline: shape (histograms, classes).
        window: shape (histograms, classes).

    Returns:
        shape (histograms,); 1 if fewer than two classes are left, or one side has no observations.
    """
    m, n = baseline.sum(axis=1, dtype=np.float64)[:, None], window.sum(axis=1, dtype=np.float64)[:, None]
    b, w = _pooled(baseline, window)
    used = b + w > 0
    k, total = np.where(used, b + w, 1.0), np.maximum(m + n, 1.0)
    ratio = x_log_x(b, k * np.maximum(m, 1.0) / total) + x_log_x(w, k * np.maximum(n, 1.0) / total)
    freedom = used.sum(axis=1) - 1
    testable = (freedom >= 1) & (m[:, 0] > 0) & (n[:, 0] > 0)
    spread = np.where(used, total / k, 0.0).sum(axis=1) - 1.0
    sides = (total / np.maximum(m, 1.0) + total / np.maximum(n, 1.0))[:, 0] - 1.0
    statistic = 2.0 * ratio.sum(axis=1) / (1.0 + spread * sides / (6.0 * total[:, 0] * np.maximum(freedom, 1)))
    return np.array(
        [
            chi_square_tail(x, float(degrees)) if asked else 1.0
            for x, degrees, asked in zip(statistic.tolist(), freedom.tolist(), testable.tolist(), strict=True)
        ]
    )


def _pooled(baseline: Counts, window: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the counts with rare classes merged into a new last class; if that is rare too, into the smallest other.

    Rare classes are found from the totals, on which the test is conditional anyway: a rule based on one side would
    keep classes that are full there by chance, and give too many false alarms.
    """
    totals = baseline + window
    rare = ~_enough(totals, baseline, window)
    rest = np.where(rare, totals, 0).sum(axis=1)
    few = np.flatnonzero(~_enough(rest[:, None], baseline, window)[:, 0] & ~rare.all(axis=1))
    least = np.where(rare, np.iinfo(np.int64).max, totals).argmin(axis=1)[few]
    both = []
    for counts in (baseline, window):
        kept = np.where(rare, 0, counts).astype(np.float64)
        last = np.where(rare, counts, 0).sum(axis=1).astype(np.float64)
        kept[few, least] += last[few]
        last[few] = 0.0
        both.append(np.concatenate([kept, last[:, None]], axis=1))
    return both[0], both[1]


def _enough(totals: Counts, baseline: Counts, window: Counts) -> NDArray[np.bool_]:
    """Return whether classes with these totals have expected counts that are large enough in both samples."""
    m, n = baseline.sum(axis=1)[:, None], window.sum(axis=1)[:, None]
    return np.asarray(totals * (np.minimum(m, n) / np.maximum(m + n, 1)) >= _LEAST_EXPECTED)


def single_p_values(baseline: Counts, window: Counts) -> PValues:
    """Return the p-values of "no class has more in the window than by chance", corrected for the number of classes.

    Args:
        baseline: shape (histograms, classes).
        window: shape (histograms, classes).

    Returns:
        shape (histograms,); 1 where one side has no observations.

    >>> single_p_values(np.array([[5000, 0]]), np.array([[194, 6]]))  # 2 (200 / 5200)**6
    array([6.47425659e-09])
    """
    used = baseline + window > 0
    k = np.where(used, baseline + window, 1).astype(np.float64)
    m, n = baseline.sum(axis=1, dtype=np.float64)[:, None], window.sum(axis=1, dtype=np.float64)[:, None]
    r = n / np.maximum(n + m, 1.0)
    share = window / k
    more = (share > r) & (r > 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = share * np.log(share / r)
        outside = np.where(share < 1.0, (1.0 - share) * np.log((1.0 - share) / (1.0 - r)), 0.0)
    exponent = np.where(more & (r < 1.0), -k * (inside + outside), 0.0).min(axis=1, initial=0.0)
    return np.asarray(np.minimum(1.0, np.exp(exponent) * np.maximum(used.sum(axis=1), 1)), np.float64)


def benjamini_hochberg(p_values: ArrayLike, q: float) -> NDArray[np.bool_]:
    """Return which of many tests are significant, with a limited share of false discoveries.

    With the p-values `p(1) <= … <= p(m)` ascending: those up to the largest `i` with `p(i) <= q i / m` (Benjamini and
    Hochberg 1995). On average at most a share `q` of the significant tests is wrong. If all hypotheses are true, the
    probability of any significant test is `q` at most.

    Args:
        p_values: shape (tests,).
        q: the accepted share of false discoveries, between 0 and 1.

    Returns:
        shape (tests,).

    >>> benjamini_hochberg([0.001, 0.02, 0.03, 0.5], q=0.05)
    array([ True,  True,  True, False])
    """
    given = np.asarray(p_values, np.float64)
    if not given.size:
        return np.zeros(0, np.bool_)
    ascending = np.sort(given)
    passing = np.flatnonzero(ascending <= q * np.arange(1, given.size + 1) / given.size)
    return given <= ascending[passing[-1]] if passing.size else np.zeros(given.size, np.bool_)
