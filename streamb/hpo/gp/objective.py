"""The function maximized to find the next trial: the acquisition plus the log-probability that all constraints hold.

Notation: `A(x)` the acquisition over the objective's surrogate, `P_c(x)` the probability that constraint `c <= 0`
holds at `x` under its own surrogate. The function is `A(x) + sum_c ln P_c(x)`: for expected improvement, the
logarithm of the constrained expected improvement (Gardner et al. 2014, equation 7). While nothing feasible is known
there is no incumbent, and only the second term is maximized.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streamb.hpo.gp.acquisition import Acquisition, ProbabilityOfImprovement
from streamb.hpo.gp.surrogate import Surrogate
from streamb.hpo.parameters import Array

_FEASIBLE = ProbabilityOfImprovement(margin=0.0)


@dataclass(frozen=True, slots=True)
class Promise:
    """Rates how promising points are, with gradients.

    Attributes:
        surrogate: the surrogate of the objective.
        acquisition: rates a point by the surrogate's mean and deviation there.
        best: the incumbent, standardised; None while nothing feasible is known.
        constraints: surrogates of values and their limits (standardised 0); each value must be at most its limit.
    """

    surrogate: Surrogate
    acquisition: Acquisition
    best: float | None
    constraints: tuple[tuple[Surrogate, float], ...] = ()

    def values(self, points: Array) -> Array:
        """Return the rating of each point (b); more is better."""
        total = np.zeros(len(points))
        for acquisition, surrogate, best in self._terms():
            total += acquisition(*surrogate.predict(points), best)[0]
        return total

    def hills(self, points: Array) -> tuple[Array, Array]:
        """Return the ratings (b) and their gradients with respect to the numeric parameters (b, d)."""
        total, gradient = np.zeros(len(points)), np.zeros_like(points)
        for acquisition, surrogate, best in self._terms():
            mean, deviation, mean_gradient, deviation_gradient = surrogate.predict_with_gradients(points)
            value, by_mean, by_deviation = acquisition(mean, deviation, best)
            total += value
            gradient += by_mean[:, None] * mean_gradient + by_deviation[:, None] * deviation_gradient
        return total, gradient

    def _terms(self) -> Iterator[tuple[Acquisition, Surrogate, float]]:
        if self.best is not None:
            yield self.acquisition, self.surrogate, self.best
        for surrogate, limit in self.constraints:
            yield _FEASIBLE, surrogate, limit
