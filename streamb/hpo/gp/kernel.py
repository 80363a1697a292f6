"""The surrogate's covariance: Matérn-5/2 with a length scale per numeric parameter and a weight per categorical one.

| notation | meaning |
| --- | --- |
| `x`, `x'` | rows of a space: unit positions, numbers of categories |
| `w_j` | weight of parameter `j`: one over its squared length for a numeric one |
| `r2` | `sum_j w_j (x_j - x'_j)**2` over numeric, `sum_j w_j [x_j != x'_j]` over categorical parameters |
| `k` | `s (1 + sqrt(5 r2) + 5/3 r2) exp(-sqrt(5 r2))`, with the scale `s` |

Matérn-5/2: Rasmussen and Williams (2006), equation 4.17; a length per dimension: equation 5.1. How similar two
categories are is learned from the data, and they have no order: `[x != x']` is half the squared distance of indicator
vectors, so `r2` stays a squared distance and `k` positive definite. (A factor `exp(-sum w [x != x'])` beside the
Matérn of the others was worse on tables with categories alone: it falls too steeply from the first difference on.) A
parameter that is not active is put in the middle of its range: two points that both lack it do not differ in it, and
the category that activates it distinguishes them from the others.

The derivative by `r2` has no square root in a denominator: `dk/dr2 = -5/6 s (1 + sqrt(5 r2)) exp(-sqrt(5 r2))`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamb.hpo.parameters import Array

_FIVE_SIXTHS: Final = 5.0 / 6.0


@dataclass(frozen=True, slots=True)
class Kernel:
    """Computes the correlation (`k` with `s = 1`) between rows, for one set of weights.

    Attributes:
        weights: `w`, one for each parameter (d).
        numeric: the indices of the columns of numeric parameters.
        categorical: the indices of the columns of categorical parameters.
    """

    weights: Array
    numeric: NDArray[np.intp]
    categorical: NDArray[np.intp]

    def between(self, left: Array, right: Array) -> tuple[Array, Array]:
        """Return the correlations (n, m) and their derivatives with respect to `r2` (n, m)."""
        root = squared_distances(left[:, self.numeric], right[:, self.numeric], self.weights[self.numeric])
        for j in self.categorical:
            root += self.weights[j] * (left[:, j, None] != right[None, :, j])
        root *= 5.0
        np.sqrt(root, out=root)
        decay = np.exp(-root)
        slope = (root + 1.0) * decay
        root *= root
        root *= 1.0 / 3.0
        correlation = slope + root * decay  # 5/3 r2 = (5 r2) / 3
        slope *= -_FIVE_SIXTHS
        return correlation, slope

    def weight_gradient(self, rows: Array, by_correlation: Array, slope: Array) -> Array:
        """Return the derivative of `sum(by_correlation * k(rows, rows))` by the logarithms of the weights (d).

        `by_correlation` must be symmetric. Squares are expanded, so no array of shape (n, n, d) is ever allocated.
        """
        gradient = np.empty(len(self.weights))
        numeric = rows[:, self.numeric]
        pull = by_correlation * slope
        spread = 2.0 * (pull.sum(axis=1) @ (numeric * numeric)) - 2.0 * np.einsum("ij,ij->j", numeric, pull @ numeric)
        gradient[self.numeric] = self.weights[self.numeric] * spread
        for j in self.categorical:
            gradient[j] = self.weights[j] * float(pull[rows[:, j, None] != rows[None, :, j]].sum())
        return gradient

    def point_gradient(self, points: Array, rows: Array, pull: Array) -> Array:
        """Return the derivative of `sum_i pull_bi r2(points_b, rows_i)` by the points (b, d); 0 for categories."""
        gradient = np.zeros_like(points)
        near = points[:, self.numeric]
        moved = near * pull.sum(axis=1)[:, None] - pull @ rows[:, self.numeric]
        gradient[:, self.numeric] = 2.0 * self.weights[self.numeric] * moved
        return gradient


def squared_distances(left: Array, right: Array, weights: Array) -> Array:
    """Return `r2` between all pairs of rows (n, m); never below 0.

    >>> squared_distances(np.array([[0.0, 1.0]]), np.array([[0.5, 1.0]]), np.array([4.0, 1.0])).tolist()
    [[1.0]]
    """
    root = np.sqrt(weights)
    # centred first: the expanded square loses digits with the distance from the origin
    centre = right.mean(axis=0) if len(right) else 0.0
    a, b = (left - centre) * root, (right - centre) * root
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    return np.asarray(np.maximum(squared, 0.0, out=squared))
