"""The special functions of the distributions, in plain Python: importing scipy takes a second and 60 MB.

Notation: `I_x(a, b)` is the regularized incomplete beta function (DLMF 8.17.2), `Q(a, x)` the regularized upper
incomplete gamma function (DLMF 8.2.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

_TINY: Final = 1e-300
_PRECISION: Final = 1e-15
_MAX_TERMS: Final = 100_000


def log_beta(a: float, b: float) -> float:
    """Return the logarithm of the beta function, `ln B(a, b)`.

    >>> round(math.exp(-log_beta(2, 3)), 9)
    12.0
    """
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return `I_x(a, b)`, the probability that a Beta(a, b) variable is at most `x`. Continued fraction DLMF 8.17.22.

    >>> round(beta_cdf(0.5, 2, 2), 9), round(beta_cdf(0.1, 1, 10), 6)  # the second: 1 - 0.9**10
    (0.5, 0.651322)
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta(a, b))
    if x < (a + 1.0) / (a + b + 2.0):  # the fraction converges fast on this side; the other is its mirror
        return front / a / _beta_fraction(x, a, b)
    return 1.0 - front / b / _beta_fraction(1.0 - x, b, a)


def _beta_fraction(x: float, a: float, b: float) -> float:
    def term(n: int) -> float:
        m = n // 2
        if n % 2:
            return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))

    return _continued_fraction(1.0, term, lambda _: 1.0)


def chi_square_tail(x: float, freedom: float) -> float:
    """Return the probability that a chi-square variable exceeds `x`: `Q(freedom / 2, x / 2)` (DLMF 8.11.4, 8.9.2).

    >>> round(chi_square_tail(3.841, 1), 4), round(chi_square_tail(18.307, 10), 4)
    (0.05, 0.05)
    """
    a, z = freedom / 2.0, x / 2.0
    if z <= 0.0:  # also where half of the smallest number underflows to 0
        return 1.0
    front = math.exp(a * math.log(z) - z - math.lgamma(a))
    if z < a + 1.0:
        term = total = 1.0 / a
        for n in range(1, _MAX_TERMS):
            term *= z / (a + n)
            total += term
            if term < total * _PRECISION:
                break
        return max(0.0, 1.0 - front * total)
    return front / _continued_fraction(z + 1.0 - a, lambda n: -n * (n - a), lambda n: z + 1.0 - a + 2 * n)


def _continued_fraction(first: float, numerator: Callable[[int], float], denominator: Callable[[int], float]) -> float:
    """Return `first + n(1) / (d(1) + n(2) / (d(2) + …))` by the modified Lentz algorithm (DLMF 3.10(iii))."""
    value = c = first or _TINY
    d = 0.0
    for n in range(1, _MAX_TERMS):
        above, below = numerator(n), denominator(n)
        d = 1.0 / ((below + above * d) or _TINY)
        c = (below + above / c) or _TINY
        value *= c * d
        if abs(c * d - 1.0) < _PRECISION:
            break
    return value
