"""Which of many sources differ from the rest, as one proportion each: those of a small share that may be hostile.

Notation: source `i` has `k_i` events in `n_i` trials. Under the hypothesis that it is like the rest, whose rate is `p`,
`P(K >= k) <= exp(-n D(k/n || p))` for `k/n > p`, and the same for `P(K <= k)` below `p` (Chernoff 1952, Hoeffding 1963,
theorem 1), with the relative entropy `D(q || p) = q ln(q/p) + (1 - q) ln((1 - q)/(1 - p))`. So `n D >= ln(1/alpha)`
shows that the binomial probability is below `alpha`, whatever `n`, without a table or a tail sum.

The rest may hold other outliers, some with more trials than all honest sources together. Therefore no source weighs
more in `p` than twice the median number of trials, and outliers are taken out one after the other, the most striking
first, each time with a new `p` (as in the sequential rejection of Grubbs' test; Rosner 1983).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from statistics import median
from typing import Final

ALPHA: Final = 0.001
_LEAST_WEIGHT: Final = 20.0

Proportions = Mapping[str, tuple[int, int]]
"""Events and trials by source."""


def striking(proportions: Proportions, without: Collection[str] = ()) -> tuple[str, float]:
    """Return the source that differs most from the rest, and `n D`; `("", 0.0)` if there are fewer than two.

    Args:
        proportions: events and trials by source.
        without: sources that are taken out already.

    >>> name, evidence = striking({"a": (0, 50), "b": (1, 50), "c": (0, 40), "d": (9, 10)})
    >>> name, evidence > math.log(1 / ALPHA)
    ('d', True)
    """
    kept = {name: counts for name, counts in proportions.items() if counts[1] and name not in without}
    if len(kept) < 2:
        return "", 0.0
    most = max(_LEAST_WEIGHT, 2.0 * median(n for _, n in kept.values()))
    weights = {name: min(1.0, most / n) for name, (_, n) in kept.items()}
    events = sum(k * weights[name] for name, (k, _) in kept.items())
    trials = sum(n * weights[name] for name, (_, n) in kept.items())
    best, found = "", 0.0
    for name, (k, n) in kept.items():
        weight = weights[name]
        p = (events - k * weight + 0.5) / (trials - n * weight + 1.0)
        evidence = n * relative_entropy(k / n, p)
        if evidence > found:
            best, found = name, evidence
    return best, found


def relative_entropy(q: float, p: float) -> float:
    """Return `D(q || p)` of two proportions, in nats; `p` is above 0 and below 1.

    >>> relative_entropy(0.5, 0.5), round(relative_entropy(1.0, 0.1), 4)
    (0.0, 2.3026)
    """
    first = q * math.log(q / p) if q > 0.0 else 0.0
    second = (1.0 - q) * math.log((1.0 - q) / (1.0 - p)) if q < 1.0 else 0.0
    return first + second
