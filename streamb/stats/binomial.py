"""The exact upper bound and tail of one proportion, for a single look at the data (Clopper and Pearson 1934).

Notation: `k` of `n` requests failed, each with unknown probability `p`. The upper bound at `confidence = 1 - alpha` is
the `p` at which `P(X <= k) = alpha`: the 1 - alpha quantile of Beta(k + 1, n - k). It is wrong with probability
alpha at most. For repeated looks at growing data use `stats.sequential`.
"""

from __future__ import annotations

from typing import Final

from streamb.stats.special import beta_cdf

_HALVINGS: Final = 60


def binomial_upper(k: int, n: int, confidence: float) -> float:
    """Return the upper bound of a proportion after `k` of `n`, 0 to 1; `confidence` is 0 to 1.

    >>> round(binomial_upper(0, 100, 0.95), 4), binomial_upper(7, 7, 0.95)  # the first: the "rule of three"
    (0.0295, 1.0)
    """
    _check(k, n)
    if k == n:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if beta_cdf(middle, k + 1, n - k) < confidence:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def binomial_tail(k: int, n: int, p: float) -> float:
    """Return `P(X >= k)`, the probability of `k` or more of `n` failures if `p` is the true proportion.

    >>> round(binomial_tail(4, 10, 0.05), 5)
    0.00103
    """
    _check(k, n)
    return beta_cdf(p, k, n - k + 1) if k else 1.0


def _check(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a proportion")
