"""The surrogate's log marginal likelihood for its hyperparameters, with a weak prior, and the gradient of both.

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

The prior matters where the data say nothing, and is weak: ten trials outweigh it. `ln w_j` is centred on a length of
half the range, with a deviation of `WEIGHT_SPREAD` towards longer lengths and of `SHORT_SPREAD` towards shorter ones
(halves of two normal densities that meet at the mode); `ln s` is normal around 0 with `SCALE_SPREAD`. Nearly maximum
likelihood did best with 50 trials, with one exception: lengths much shorter than the distances between trials
fit any noise, and leave a surrogate that knows nothing in between. Only clear evidence may lead there.
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
"""Noise variance for a deterministic objective, in standardised units: it keeps the Cholesky factor well conditioned.

With 1e-6 the surrogate stays uncertain at points it has seen, and keeps suggesting points around the incumbent.
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
    """The trials that a surrogate is fitted to, as arrays.

    Attributes:
        rows: the trials' rows (n, d).
        values: their standardised values (n).
        known: the known variance of each value, in the units of `values` squared (n).
        categorical: whether each column is categorical (d).
        noisy: whether a noise variance is learned in addition.
    """

    rows: Array
    values: Array
    known: Array
    categorical: NDArray[np.bool_]
    noisy: bool

    def kernel(self, theta: Array) -> Kernel:
        """Return the kernel with the weights in `theta`."""
        d = self.rows.shape[1]
        return Kernel(np.exp(theta[:d]), np.flatnonzero(~self.categorical), np.flatnonzero(self.categorical))

    def noise(self, theta: Array) -> Array:
        """Return the noise variance of each trial, which is added to the diagonal (n)."""
        return self.known + (math.exp(theta[-1]) if self.noisy else LEAST_NOISE)

    def scale(self, theta: Array) -> float:
        """Return the kernel's scale `s` from `theta`."""
        return math.exp(theta[self.rows.shape[1]])


def starting_point(evidence: Evidence) -> Array:
    """Return the centre of the prior, from which a fit starts when no earlier fit is known."""
    weights = np.where(evidence.categorical, CENTRE_CATEGORY, CENTRE_WEIGHT)
    return np.concatenate([weights, [0.0], [CENTRE_NOISE] if evidence.noisy else []])


def limits(evidence: Evidence) -> tuple[Array, Array]:
    """Return the lowest and highest `theta` that a fit may reach: lengths from 0.005 to 400 ranges."""
    d = evidence.rows.shape[1]
    low, high = np.full(d, -12.0), np.full(d, 10.6)
    high[evidence.categorical] = 4.0
    low, high = np.append(low, -7.0), np.append(high, 9.0)
    if evidence.noisy:
        low, high = np.append(low, math.log(LEAST_NOISE)), np.append(high, math.log(4.0))
    return low, high


def log_posterior(evidence: Evidence, theta: Array) -> tuple[float, Array]:
    """Return `ln p(y | theta) + ln p(theta)` up to a constant, and its gradient; `-inf` where `K` has no factor."""
    value, gradient = log_likelihood(evidence, theta)
    off = theta - starting_point(evidence)
    spread = _spread(evidence, off)
    off /= spread
    return value - 0.5 * float(off @ off), gradient - off / spread


def _spread(evidence: Evidence, off: Array) -> Array:
    """The prior's standard deviation on that side of its centre on which `theta` lies."""
    d = evidence.rows.shape[1]
    short = ~evidence.categorical & (off[:d] > 0.0)
    weights = np.where(short, SHORT_SPREAD, WEIGHT_SPREAD)
    return np.concatenate([weights, [SCALE_SPREAD], [NOISE_SPREAD] if evidence.noisy else []])


def log_likelihood(evidence: Evidence, theta: Array) -> tuple[float, Array]:
    """Return `ln p(y | theta)` and its gradient with respect to `theta`."""
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
    """Return the best-fitting mean `m` and the vector `a`, from `K^-1` and the values."""
    ones = inverse.sum(axis=1)
    total = float(ones.sum())
    mean = float(ones @ values) / total if total > 0.0 else float(values.mean())
    return mean, inverse @ (values - mean)
