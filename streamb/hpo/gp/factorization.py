"""Cholesky factors of covariance matrices, with the least jitter that makes them positive definite; row updates.

Notation: `K = L L^T`, `L` lower triangular. Only the lower triangle of a factor is meaningful.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri, dtrtri

from streamb.errors import StreambError
from streamb.hpo.parameters import Array

_JITTERS: Final = (0.0, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


class IllConditioned(StreambError):
    """A covariance matrix has no Cholesky factor even with jitter: it holds NaN or infinity."""

    code = "ill_conditioned"


def cholesky(covariance: Array) -> tuple[Array, float]:
    """Return `L` and the jitter that was added to the diagonal, relative to the diagonal's mean.

    Raises:
        IllConditioned: the matrix has no factor even with the largest jitter.

    >>> lower, jitter = cholesky(np.array([[4.0, 0.0], [2.0, 5.0]]))
    >>> lower.tolist(), jitter
    ([[2.0, 0.0], [1.0, 2.0]], 0.0)
    """
    size = float(np.mean(np.diagonal(covariance)))
    for jitter in _JITTERS:
        shifted = covariance
        if jitter:
            shifted = covariance.copy()
            shifted[np.diag_indices_from(shifted)] += jitter * size
        lower, wrong = dpotrf(shifted, lower=1, clean=1)
        if wrong == 0 and np.all(np.isfinite(np.diagonal(lower))):
            return lower, jitter
    raise IllConditioned("the covariance matrix of the surrogate has no Cholesky factor; are there NaN in the trials?")


def inverse_of_factor(lower: Array) -> Array:
    """Return `L^-1` for the factor `L`."""
    inverse, _ = dtrtri(lower, lower=1)
    return np.asarray(inverse)


def inverse_from_factor(lower: Array) -> Array:
    """Return `K^-1` for the factor `L`, with both triangles filled."""
    inverse, _ = dpotri(lower, lower=1)
    inverse = np.tril(inverse)
    return np.asarray(inverse + np.tril(inverse, -1).T)


def extend_inverse(inverse: Array, cross: Array, own: float) -> Array:
    """Return `L^-1` extended by one row and column, in O(n^2) instead of O(n^3).

    Args:
        inverse: `L^-1` (n, n).
        cross: the covariances of the new point with the others (n).
        own: the variance of the new point, noise included.

    With `v = L^-1 cross` and `c = sqrt(own - v.v)` the new row of `L` is `(v, c)`, that of `L^-1` is `(-v^T L^-1, 1)
    / c`.
    """
    n = len(inverse)
    solved = inverse @ cross
    corner = np.sqrt(max(own - float(solved @ solved), 1e-12 * own))
    longer = np.zeros((n + 1, n + 1))
    longer[:n, :n] = inverse
    longer[n, :n] = -(solved @ inverse) / corner
    longer[n, n] = 1.0 / corner
    return longer
