"""Tests and bounds that stay valid for any number of looks and any time of stopping ("always valid").

Notation: an *e-process* `E` is a sequence of numbers, never negative, whose mean at every stopping time is at most 1
while the hypothesis holds. By Ville's inequality the probability that it ever reaches `1 / alpha` is at most `alpha`.
The functions named `…_evidence` return `ln E`: reject once it is at least `ln(1 / alpha)`. The `…_bounds` enclose the
values that are not rejected: each bound is wrong at any look with probability `alpha` at most, over all looks together.

**One proportion**, `k` of `n`: the likelihood ratio, mixed over the alternatives (Robbins 1970; the "prior-posterior
ratio" of Waudby-Smith and Ramdas 2020) with the prior Beta(1/2, 1/2):

    E(p) = B(k + 1/2, n - k + 1/2) / B(1/2, 1/2) / (p**k * (1 - p)**(n - k))

**Two proportions**, `k_a` of `n_a` and `k_b` of `n_b`, hypothesis `p_a <= p_b + d`. With a factor `f > 1` for each
event of a, and `g = 1 - (f - 1) * n_a / n_b` for each of b,

    E(f) = f**k_a * g**k_b * exp(-d * n_a * (f - 1))

Its mean is at most `exp(n_a (f - 1) p_a + n_b (g - 1) p_b - d n_a (f - 1)) = exp(n_a (f - 1) (p_a - p_b - d)) <= 1`,
since `1 + x <= exp(x)`. Neither `p` needs to stay the same over time: at each moment `p_a <= p_b + d` is enough, so a
bad minute that hits both sides is no evidence. The share of a in the traffic has to stay (a step of a rollout). With
`d = 0` it is the limit for rare events of the e-variables of Turner, Ly and Grünwald (2024, theorem 1). With `f < 1`
the same expression tests `p_a >= p_b + d`. `f` is not known beforehand: a mean over a fixed grid is taken, by the ratio
`rho` of the rates that it is best at, `f = rho / (r rho + 1 - r)` with `r = n_a / (n_a + n_b)`. A mean of e-processes
is one.

**One proportion against a limit**: `E` is a mean, over the same grid, of the likelihood ratios of `p_1` to `p`, where
`rho` is the ratio of their odds. For `rho > 1` such a ratio shrinks on average under any smaller proportion too, so
`excess_evidence` is exact against "at most `p`", and near `p` stronger than the mixture over all alternatives.

**A mean of values that depend on their neighbours**: the scale-invariant mixture of Lai (1976; Wang and Ramdas 2024,
"Anytime-valid t-tests", theorem 4.7) with `n` replaced by the effective number `m = n (1 - r) / (1 + r)`, where `r` is
the correlation of neighbours less its bias `-(1 + 3 r) / n` (Kendall 1954). With `t**2 = m mean**2 / s**2` and `g` the
square of the expected effect in standard deviations,

    E = 2 * ((1 + t**2 / (m - 1)) / (1 + t**2 / ((m - 1) (1 + g m))))**(m / 2) / sqrt(1 + g m)      (one-sided: 2)

It is an approximation, as `r` is estimated: `benchmarks.rollout_statistics` measures it.

**A mean** of `n` values with the standard deviation `s`: the asymptotic confidence sequence of Waudby-Smith, Arbour,
Sinha, Kennedy and Ramdas (2024, theorem 2.2), `mean ± s * sqrt(2 (v + 1) / (n v) * ln(sqrt(v + 1) / alpha))` with
`v = n rho**2`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from streamb.stats.special import log_beta

_RISES: Final = (1.15, 1.3, 1.5, 1.8, 2.25, 3.0, 4.5, 8.0, 20.0, 100.0)
_FALLS: Final = tuple(1.0 / rho for rho in _RISES)
_LOG_POINTS: Final = math.log(len(_RISES))
_LOG_BETA_HALF: Final = log_beta(0.5, 0.5)
_HALVINGS: Final = 40
_LEAST_BLOCKS: Final = 6
_LEAST_EFFECTIVE: Final = 3.0
_MOST_CORRELATED: Final = 0.95
_TUNED_FOR: Final = 500
"""The number of observations at which the bounds of a mean are tightest."""


def proportion_evidence(k: int, n: int, p: float) -> float:
    """Return `ln E` against "the proportion is `p`"; if `k / n > p` it is also evidence against "at most `p`".

    >>> round(proportion_evidence(10, 10, 0.05), 1), proportion_evidence(0, 0, 0.05)
    (28.2, 0.0)
    """
    if (p <= 0.0 and k) or (p >= 1.0 and k < n):
        return math.inf
    likelihood = (k * math.log(p) if k else 0.0) + ((n - k) * math.log1p(-p) if k < n else 0.0)
    return log_beta(k + 0.5, n - k + 0.5) - _LOG_BETA_HALF - likelihood


def excess_evidence(k: int, n: int, p: float) -> float:
    """Return `ln E` against "the proportion is at most `p`", after `k` of `n`.

    >>> round(excess_evidence(50, 1000, 0.02), 1), excess_evidence(1, 9, 0.0), excess_evidence(20, 1000, 0.02) < 0
    (14.2, inf, True)
    """
    if p <= 0.0:
        return math.inf if k else 0.0
    if p >= 1.0 or not n:
        return 0.0
    # The likelihood ratio of odds that are rho times as high: rho**k / (1 - p + rho p)**n.
    return _log_mean([k * math.log(rho) - n * math.log1p((rho - 1.0) * p) for rho in _RISES])


def serial_evidence(values: Sequence[float], effect: float = 0.5, resolution: float = 0.0) -> float:
    """Return `ln E` against "the mean is at most 0", for values in the order of time that depend on their neighbours.

    Args:
        values: one value per block of time.
        effect: `g`, the square of the effect that is looked for, in standard deviations.
        resolution: the least standard deviation, for values that are rounded.

    >>> steady, trend = [1.0, 1.4, 0.7, 1.1] * 4, [0.1 * step for step in range(16)]
    >>> round(serial_evidence(steady), 1), round(serial_evidence(trend), 1)
    (14.3, 0.0)
    """
    n = len(values)
    mean = sum(values) / n if n else 0.0
    if n < _LEAST_BLOCKS or mean <= 0.0:
        return 0.0
    off = [value - mean for value in values]
    squares = max(sum(one * one for one in off), resolution * resolution * (n - 1), 1e-300)
    r = sum(one * other for one, other in pairwise(off)) / squares
    r = min(_MOST_CORRELATED, max(0.0, r + (1.0 + 3.0 * r) / n))
    m = n * (1.0 - r) / (1.0 + r)
    if m < _LEAST_EFFECTIVE:
        return 0.0
    spread, t = 1.0 + effect * m, m * mean * mean / (squares / (n - 1))
    ratio = (1.0 + t / (m - 1.0)) / (1.0 + t / ((m - 1.0) * spread))
    return math.log(2.0) + m / 2.0 * math.log(ratio) - math.log(spread) / 2.0


def rise_evidence(k_a: int, n_a: int, k_b: int, n_b: int, margin: float = 0.0) -> float:
    """Return `ln E` against "`p_a` is at most `p_b + margin`", after `k_a` of `n_a` and `k_b` of `n_b`.

    >>> round(rise_evidence(40, 1000, 60, 3000), 2), round(rise_evidence(80, 2000, 120, 6000), 2)  # 4 % against 2 %
    (3.98, 9.03)
    >>> rise_evidence(20, 1000, 60, 3000) < 0
    True
    """
    return _evidence(_RISES, k_a, n_a, k_b, n_b, margin)


def fall_evidence(k_a: int, n_a: int, k_b: int, n_b: int, margin: float = 0.0) -> float:
    """Return `ln E` against "`p_a` is at least `p_b + margin`", after `k_a` of `n_a` and `k_b` of `n_b`.

    >>> round(fall_evidence(0, 1000, 0, 3000, margin=0.01), 2)  # no failure in 1,000: is it below 1 %?
    8.22
    """
    return _evidence(_FALLS, k_a, n_a, k_b, n_b, margin)


def difference_bounds(k_a: int, n_a: int, k_b: int, n_b: int, alpha: float) -> tuple[float, float]:
    """Return bounds of `p_a - p_b` from `k_a` of `n_a` and `k_b` of `n_b`, each wrong with probability at most `alpha`.

    >>> [round(bound, 4) for bound in difference_bounds(160, 4000, 240, 12000, 0.001)]
    [0.0068, 0.0356]
    """
    enough = -math.log(alpha)
    middle = k_a / n_a - k_b / n_b if n_a and n_b else 0.0
    lower = _boundary(-1.0, middle, lambda d: rise_evidence(k_a, n_a, k_b, n_b, d) >= enough)
    upper = _boundary(1.0, middle, lambda d: fall_evidence(k_a, n_a, k_b, n_b, d) >= enough)
    return lower, upper


def mean_bounds(n: int, mean: float, deviation: float, alpha: float) -> tuple[float, float]:
    """Return asymptotic bounds of a mean, from mean and deviation of `n` values; needs some 30 values.

    >>> [round(bound, 3) for bound in mean_bounds(1000, 5.0, 1.0, 0.05)]
    [4.903, 5.097]
    """
    if n < 2:
        return -math.inf, math.inf
    spread = n / _TUNED_FOR * (-2.0 * math.log(alpha) + math.log(-2.0 * math.log(alpha) + 1.0))
    half = deviation * math.sqrt(2.0 * (spread + 1.0) / (n * spread) * math.log(math.sqrt(spread + 1.0) / alpha))
    return mean - half, mean + half


def _evidence(ratios: Sequence[float], k_a: int, n_a: int, k_b: int, n_b: int, margin: float) -> float:
    if not n_a or not n_b:
        return 0.0
    share = n_a / (n_a + n_b)
    logs = []
    for rho in ratios:
        scale = share * rho + 1.0 - share
        # g = 1 / scale and f = rho / scale
        logs.append(k_a * math.log(rho) - (k_a + k_b) * math.log(scale) - margin * n_a * (rho / scale - 1.0))
    return _log_mean(logs)


def _log_mean(logs: Sequence[float]) -> float:
    greatest = max(logs)
    return greatest + math.log(sum(math.exp(one - greatest) for one in logs)) - _LOG_POINTS


def _boundary(rejected: float, kept: float, rejects: Callable[[float], bool]) -> float:
    """Return where between two values the rejected ones end; `rejected` itself if it is not rejected either."""
    if not rejects(rejected):
        return rejected
    for _ in range(_HALVINGS):
        middle = (rejected + kept) / 2.0
        if rejects(middle):
            rejected = middle
        else:
            kept = middle
    return rejected
