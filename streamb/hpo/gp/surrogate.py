"""The surrogate: a Gaussian process fitted to the trials; its mean and deviation at any point, and their gradients.

| notation | meaning |
| --- | --- |
| `k(x)` | covariances of a point with the n trials |
| `L^-1` | inverse of the Cholesky factor of `K`; `v = L^-1 k(x)` |
| `mu(x)` | `m + k(x)^T a` |
| `var(x)` | `s - v^T v` |

Rasmussen and Williams (2006), equations 2.25 and 2.26 around the mean `m` of `likelihood`. `L^-1` is kept rather than
`L`, so that every prediction is a matrix product; `v` is used rather than `K^-1`, so that `var` does not lose
precision twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from streamb.hpo.gp.ascent import climb
from streamb.hpo.gp.factorization import cholesky, extend_inverse, inverse_of_factor
from streamb.hpo.gp.kernel import Kernel
from streamb.hpo.gp.likelihood import LEAST_NOISE, Evidence, limits, log_posterior, starting_point
from streamb.hpo.parameters import Array

_LEAST_VARIANCE: Final = 1e-12
_FIT_STEPS: Final = 40


@dataclass(frozen=True, slots=True)
class Surrogate:
    """A Gaussian process with its hyperparameters fixed, conditioned on trials.

    Attributes:
        theta: hyperparameters, as in `likelihood`.
        rows: (n, d) trials it is conditioned on.
        values: their standardised values (n).
        noise: the variance on the diagonal (n).
        inverse: `L^-1` (n, n).
        mean: `m`.
        alpha: `a` (n).
    """

    theta: Array
    kernel: Kernel
    scale: float
    rows: Array
    values: Array
    noise: Array
    inverse: Array
    mean: float
    alpha: Array

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Return the mean and standard deviation (without noise) at points (b, d), standardised."""
        mean, variance, *_ = self._moments(points)
        return mean, np.sqrt(np.maximum(variance, _LEAST_VARIANCE * self.scale))

    def predict_with_gradients(self, points: Array) -> tuple[Array, Array, Array, Array]:
        """Return mean, deviation, and the gradients of both with respect to the points (b, d); 0 for categories."""
        mean, variance, solved, slope = self._moments(points)
        slope *= self.scale
        floor = _LEAST_VARIANCE * self.scale
        deviation = np.sqrt(np.maximum(variance, floor))
        by_mean = self.kernel.point_gradient(points, self.rows, slope * self.alpha)
        by_variance = self.kernel.point_gradient(points, self.rows, slope * (solved @ self.inverse))
        by_deviation = -by_variance / deviation[:, None]  # d var = -2 (K^-1 k) dk, d sd = d var / (2 sd)
        by_deviation[variance <= floor] = 0.0
        return mean, deviation, by_mean, by_deviation

    def _moments(self, points: Array) -> tuple[Array, Array, Array, Array]:
        """`mu`, `var` (which rounding may take below 0), `v`, and the derivative of the correlations by `r2`."""
        correlation, slope = self.kernel.between(points, self.rows)
        correlation *= self.scale
        solved = correlation @ self.inverse.T
        return self.mean + correlation @ self.alpha, self.scale - np.einsum("bn,bn->b", solved, solved), solved, slope

    def with_point(self, row: Array, value: float, noise: float = LEAST_NOISE) -> Surrogate:
        """Return the surrogate conditioned on one more point, in O(n^2); the mean `m` stays."""
        cross = self.scale * self.kernel.between(row[None, :], self.rows)[0][0]
        inverse = extend_inverse(self.inverse, cross, self.scale + noise)
        values = np.append(self.values, value)
        return replace(
            self,
            rows=np.vstack([self.rows, row]),
            values=values,
            noise=np.append(self.noise, noise),
            inverse=inverse,
            alpha=inverse.T @ (inverse @ (values - self.mean)),
        )


def condition(evidence: Evidence, theta: Array) -> Surrogate:
    """Return the Gaussian process with the hyperparameters `theta`, conditioned on the trials in `evidence`."""
    kernel, scale, noise = evidence.kernel(theta), evidence.scale(theta), evidence.noise(theta)
    covariance = scale * kernel.between(evidence.rows, evidence.rows)[0]
    covariance[np.diag_indices(len(noise))] += noise
    lower, jitter = cholesky(covariance)
    inverse = inverse_of_factor(lower)
    whitened = inverse @ np.ones(len(noise))
    mean = float(whitened @ (inverse @ evidence.values)) / float(whitened @ whitened)
    alpha = inverse.T @ (inverse @ (evidence.values - mean))
    added = jitter * float(np.mean(np.diagonal(covariance)))
    return Surrogate(theta, kernel, scale, evidence.rows, evidence.values, noise + added, inverse, mean, alpha)


def fit(evidence: Evidence, starts: list[Array]) -> Array:
    """Return the most likely hyperparameters that an ascent from `starts` and the prior's centre reaches."""
    low, high = limits(evidence)
    size = len(low)
    usable = [start for start in starts if len(start) == size]
    first = np.clip(np.array([*usable, starting_point(evidence)]), low, high)

    def hills(thetas: Array) -> tuple[Array, Array]:
        found = [log_posterior(evidence, theta) for theta in thetas]
        return np.array([value for value, _ in found]), np.array([gradient for _, gradient in found])

    tops, heights = climb(hills, first, low, high, steps=_FIT_STEPS, first_step=1.0, tolerance=1e-5)
    return np.asarray(tops[int(np.argmax(heights))])
