"""How well hyperparameters explain the trials: the log marginal likelihood, a very weak prior, and their gradient.

| notation | meaning |
| --- | --- |
| `X`, `y` | the n rows, and their standardised values |
| `theta` | `(ln w_1 .. ln w_d, ln s, ln e)`: weights, scale, noise variance; without `ln e` where the noise is given |
| `C`, `N` | correlations of the rows; known variances of the values on a diagonal |
| `K` | `s C + e I + N` |
| `m` | the constant mean that fits best: `1^T K^-1 y / 1^T K^-1 1` |
| `a` | `K^-1 (y - m)` |

    ln p(y | theta) = -1/2 (y - m)^T a - 1/2 ln |K| - n/2 ln 2 pi      (Rasmussen and Williams 2006, 5.8)
    d ln p / d theta_i = 1/2 tr((a a^T - K^-1) dK/d theta_i)           (5.9)

`m` is profiled out: at its best value the likelihood does not change with it, so (5.9) needs no further term.

The prior is there for what the data say nothing of, and weak: ten trials outweigh it. `ln w_j` lies around a length of
half the range, with a deviation of `WEIGHT_SPREAD` towards longer lengths and of `SHORT_SPREAD` towards shorter ones
(halves of two normal densities that meet at the top); `ln s` is normal around 0 with `SCALE_SPREAD`. Near maximum
likelihood is what does best on 50 trials, but for one thing: lengths much shorter than the distances between trials
explain any ripples, and leave a surrogate that knows nothing in between. Only clear evidence may lead there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamb.hpo.gp.factorization import IllConditioned, cholesky, inverse_from_factor
from streamb.hpo.gp.kernel import Kernel
from streamb.hpo.parameters import Array

LEAST_NOISE: Final = 1e-8
"""Noise variance of a deterministic objective, in standardised units: what keeps the factor well conditioned.

With 1e-6 the surrogate is never quite sure of what it has seen, and goes on asking around the incumbent.
"""

CENTRE_WEIGHT: Final = math.log(4.0)
CENTRE_CATEGORY: Final = math.log(0.5)
WEIGHT_SPREAD: Final = 3.0
SHORT_SPREAD: Final = 1.5
SCALE_SPREAD: Final = 2.0
CENTRE_NOISE: Final = math.log(1e-3)
NOISE_SPREAD: Final = 3.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """The trials that a surrogate learns from, made ready.

    Attributes:
        rows: (n, d).
        values: standardised (n).
        known: variance of each value that is known beforehand, in the units of `values` squared (n).
        categorical: which columns are categories (d).
        noisy: whether a noise variance is learned besides.
    """

    rows: Array
    values: Array
    known: Array
    categorical: NDArray[np.bool_]
    noisy: bool

    def kernel(self, theta: Array) -> Kernel:
        """The kernel for the weights of `theta`."""
        d = self.rows.shape[1]
        return Kernel(np.exp(theta[:d]), np.flatnonzero(~self.categorical), np.flatnonzero(self.categorical))

    def noise(self, theta: Array) -> Array:
        """The variance on the diagonal, by trial (n)."""
        return self.known + (math.exp(theta[-1]) if self.noisy else LEAST_NOISE)

    def scale(self, theta: Array) -> float:
        """`s`."""
        return math.exp(theta[self.rows.shape[1]])


def starting_point(evidence: Evidence) -> Array:
    """The centre of the prior: where a fit without a better idea begins."""
    weights = np.where(evidence.categorical, CENTRE_CATEGORY, CENTRE_WEIGHT)
    return np.concatenate([weights, [0.0], [CENTRE_NOISE] if evidence.noisy else []])


def limits(evidence: Evidence) -> tuple[Array, Array]:
    """The lowest and highest `theta` that a fit may reach: lengths from 0.005 to 400 ranges."""
    d = evidence.rows.shape[1]
    low, high = np.full(d, -12.0), np.full(d, 10.6)
    high[evidence.categorical] = 4.0
    low, high = np.append(low, -7.0), np.append(high, 9.0)
    if evidence.noisy:
        low, high = np.append(low, math.log(LEAST_NOISE)), np.append(high, math.log(4.0))
    return low, high


def log_posterior(evidence: Evidence, theta: Array) -> tuple[float, Array]:
    """`ln p(y | theta) + ln p(theta)` up to a constant, and its gradient; `-inf` where `K` has no factor."""
    value, gradient = log_likelihood(evidence, theta)
    off = theta - starting_point(evidence)
    spread = _spread(evidence, off)
    off /= spread
    return value - 0.5 * float(off @ off), gradient - off / spread


def _spread(evidence: Evidence, off: Array) -> Array:
    """The deviations of the prior on the side of its centre on which `theta` lies."""
    d = evidence.rows.shape[1]
    short = ~evidence.categorical & (off[:d] > 0.0)
    weights = np.where(short, SHORT_SPREAD, WEIGHT_SPREAD)
    return np.concatenate([weights, [SCALE_SPREAD], [NOISE_SPREAD] if evidence.noisy else []])


def log_likelihood(evidence: Evidence, theta: Array) -> tuple[float, Array]:
    """`ln p(y | theta)` and its gradient by `theta`."""
    rows, n, d = evidence.rows, len(evidence.rows), evidence.rows.shape[1]
    kernel, scale = evidence.kernel(theta), evidence.scale(theta)
    correlation, slope = kernel.between(rows, rows)
    covariance = scale * correlation
    covariance[np.diag_indices(n)] += evidence.noise(theta)
    try:
        lower, _ = cholesky(covariance)
    except IllConditioned:
        return -math.inf, np.zeros_like(theta)
    inverse = inverse_from_factor(lower)
    mean, alpha = fitted_mean(inverse, evidence.values)
    half_log_det = float(np.log(np.diagonal(lower)).sum())
    value = -0.5 * float((evidence.values - mean) @ alpha) - half_log_det - 0.5 * n * math.log(2.0 * math.pi)
    pull = np.outer(alpha, alpha)
    pull -= inverse
    pull *= 0.5
    gradient = np.empty_like(theta)
    gradient[:d] = scale * kernel.weight_gradient(rows, pull, slope)
    gradient[d] = scale * float(np.vdot(pull, correlation))
    if evidence.noisy:
        gradient[d + 1] = math.exp(theta[-1]) * float(np.trace(pull))
    return value, gradient


def fitted_mean(inverse: Array, values: Array) -> tuple[float, Array]:
    """`m` and `a`, from `K^-1`."""
    ones = inverse.sum(axis=1)
    total = float(ones.sum())
    mean = float(ones @ values) / total if total > 0.0 else float(values.mean())
    return mean, inverse @ (values - mean)
