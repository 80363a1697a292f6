"""The distances of many pairs of histograms at once, each as the equivalent shift of a normal mean.

Notation: `b` and `w` count `m` and `n` observations of baseline and window over the same classes, `q = b / m`, `p = w
/ n`. `J` is their Jensen-Shannon divergence in nats (Lin 1991, eq. 4.1). Two samples of one distribution do not give
0. Given the total `k` of a class, its count in `w` is then binomial with `r = n / (n + m)` (nearly: hypergeometric),
so what chance gives is the mean of the class's term over that binomial; for large `k` it is `(1/n + 1/m) / 8 * (1 - k
/ (n + m))`. The sum over all classes is subtracted: unlike the usual `(classes - 1) / 8 * (1/n + 1/m)`, it is right
for rare classes also.

A normal distribution whose mean moves by `d` standard deviations has `J = d**2 / 8` for small `d` (half the Fisher
information, quartered). So `d = sqrt(8 J)` is the **equivalent shift**: it means the same for every column, whatever it
counts. Since `J <= ln 2` it never passes 2.36.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

LARGEST_SHIFT: Final = float(np.sqrt(8.0 * np.log(2.0)))
_EXACT: Final = 64
"""Up to this total of a class, the mean over the binomial is computed exactly; above it the limit is within 2 %."""


def equivalent_shift(baseline: NDArray[np.int64], window: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the equivalent shift of each pair of histograms, less what chance gives.

    Args:
        baseline: counts, shape (histograms, classes); the rows may have different totals.
        window: counts, shape (histograms, classes).

    Returns:
        shape (histograms,), in standard deviations, 0 to 2.36; 0 if one side has no observations.

    >>> calm, moved = [[100, 200, 100]], [[60, 190, 150]]
    >>> equivalent_shift(np.array(calm), np.array(calm)), equivalent_shift(np.array(calm), np.array(moved)).round(2)
    (array([0.]), array([0.3]))
    """
    m, n = baseline.sum(axis=1), window.sum(axis=1)
    known = (m > 0) & (n > 0)
    q, p = _shares(baseline, m), _shares(window, n)
    excess = _terms(p, q).sum(axis=1) - _chance(baseline + window, m, n)
    return np.where(known, np.sqrt(8.0 * np.clip(excess, 0.0, np.log(2.0))), 0.0)


def _shares(counts: NDArray[np.int64], totals: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(counts / np.maximum(totals, 1)[:, None], np.float64)


def _terms(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what each class adds to the divergence, in nats; never negative."""
    middle = (p + q) / 2.0
    safe = np.where(middle > 0.0, middle, 1.0)
    return (x_log_x(p, safe) + x_log_x(q, safe)) / 2.0


def x_log_x(x: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """`x ln(x / reference)`; 0 where `x` is 0."""
    return np.asarray(x * np.log(np.where(x > 0.0, x, reference) / reference))


def _chance(totals: NDArray[np.int64], m: NDArray[np.int64], n: NDArray[np.int64]) -> NDArray[np.float64]:
    found = np.zeros(len(totals))
    for one_m, one_n in {(int(a), int(b)) for a, b in zip(m, n, strict=True) if a and b}:  # mostly a single pair
        rows = (m == one_m) & (n == one_n)
        exact = _mean_terms(one_m, one_n)
        limit = (1.0 / one_m + 1.0 / one_n) / 8.0
        each = np.where(totals[rows] <= _EXACT, exact[np.minimum(totals[rows], _EXACT)], limit)
        found[rows] = (each * (1.0 - totals[rows] / (one_m + one_n))).sum(axis=1)
    return found


@lru_cache(maxsize=256)
def _mean_terms(m: int, n: int) -> NDArray[np.float64]:
    """Return the mean term of a class with a total of 0, 1, … observations, over the binomial of its window count."""
    ratio = n / (n + m)
    choices = np.zeros((_EXACT + 1, _EXACT + 1))
    choices[0, 0] = 1.0
    for k in range(1, _EXACT + 1):  # one more observation is in the window, or it is not
        choices[k] = choices[k - 1] * (1.0 - ratio)
        choices[k, 1:] += choices[k - 1, :-1] * ratio
    inside = np.arange(_EXACT + 1)[None, :]
    outside = np.maximum(np.arange(_EXACT + 1)[:, None] - inside, 0)
    return np.asarray((choices * _terms(inside / n + 0.0 * outside, outside / m)).sum(axis=1))
