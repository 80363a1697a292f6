"""Acquisition functions: expected improvement, probability of improvement, and the confidence bound.

| notation | meaning |
| --- | --- |
| `mu`, `sd` | mean and standard deviation of the surrogate at a point (values are minimized) |
| `best` | the incumbent's value |
| `u` | `(best - mu) / sd` |
| `phi`, `Phi` | density and distribution function of the standard normal |
| `h(u)` | `phi(u) + u Phi(u)` |

Expected improvement is `sd h(u)` (Jones, Schonlau and Welch 1998, equation 15), probability of improvement `Phi(u)`
(Kushner 1964), the bound `-(mu - sqrt(beta) sd)` (Srinivas et al. 2010, equation 6). The first two are computed as
logarithms: far from the incumbent they and their gradients would underflow to 0, and the search for the maximum could
not start (Ament et al. 2023, section 4.1).

To add one, write a class here and an entry in `ACQUISITIONS`: options, commands, checks and the contract test read it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from streamb.errors import InvalidInput
from streamb.hpo.parameters import Array

_HALF_LOG_TAU: Final = 0.5 * math.log(2.0 * math.pi)
_ROOT_HALF_PI: Final = math.sqrt(0.5 * math.pi)
_FAR: Final = -60.0
"""Below this the first terms of the expansion of `h` are exact to double precision."""


class Acquisition(Protocol):
    """Rates a point by the surrogate's mean and standard deviation there; a higher value is more promising."""

    def __call__(self, mean: Array, deviation: Array, best: float) -> tuple[Array, Array, Array]:
        """Return the value (b) and its derivatives with respect to the mean (b) and the deviation (b)."""
        ...


@dataclass(frozen=True, slots=True)
class ExpectedImprovement:
    """The logarithm of the expected improvement over the incumbent by more than `margin` standardised units.

    >>> value, by_mean, by_deviation = ExpectedImprovement()(np.array([0.0]), np.array([1.0]), 0.0)
    >>> round(float(np.exp(value[0])), 6)  # phi(0)
    0.398942
    """

    margin: float = 0.0

    def __call__(self, mean: Array, deviation: Array, best: float) -> tuple[Array, Array, Array]:
        u = (best - self.margin - mean) / deviation
        value, slope = log_h(u)
        return value + np.log(deviation), -slope / deviation, (1.0 - u * slope) / deviation


@dataclass(frozen=True, slots=True)
class ProbabilityOfImprovement:
    """The logarithm of the probability of being better than the incumbent by `margin` standardised units.

    >>> value, _, _ = ProbabilityOfImprovement(margin=0.0)(np.array([0.0]), np.array([1.0]), 0.0)
    >>> round(float(np.exp(value[0])), 6)
    0.5
    """

    margin: float = 0.01

    def __call__(self, mean: Array, deviation: Array, best: float) -> tuple[Array, Array, Array]:
        u = (best - self.margin - mean) / deviation
        from scipy.special import log_ndtr

        value = log_ndtr(u)
        slope = 1.0 / _mills(u)
        return value, -slope / deviation, -u * slope / deviation


@dataclass(frozen=True, slots=True)
class ConfidenceBound:
    """The negated lower confidence bound: `sqrt(beta)` deviations below the mean, with the sign reversed.

    >>> ConfidenceBound(beta=4.0)(np.array([1.0]), np.array([0.5]), 0.0)[0].tolist()
    [0.0]
    """

    beta: float = 4.0

    def __call__(self, mean: Array, deviation: Array, best: float) -> tuple[Array, Array, Array]:  # noqa: ARG002
        width = math.sqrt(self.beta)
        return width * deviation - mean, -np.ones_like(mean), np.full_like(mean, width)


ACQUISITIONS: Final[Mapping[str, tuple[Acquisition, ...]]] = {
    "auto": (ExpectedImprovement(), ExpectedImprovement(margin=0.02)),
    "ei": (ExpectedImprovement(),),
    "pi": (ProbabilityOfImprovement(),),
    "ucb": (ConfidenceBound(),),
}
"""For each name, the acquisitions that successive suggestions use in turn.

"auto" alternates plain expected improvement with an improvement of at least 0.02 standard deviations. Plain expected
improvement keeps refining around the incumbent, where a small gain is always expected. Requiring more sends every
other trial to regions where larger gains are possible, at little cost to the refinement.
"""


def acquisition_for(name: str, turn: int) -> Acquisition:
    """Return the acquisition for suggestion number `turn` (0, 1, 2, …).

    Raises:
        InvalidInput: no acquisition has this name.
    """
    if name not in ACQUISITIONS:
        raise InvalidInput(f"acquisition {name!r} is not known; use one of {', '.join(ACQUISITIONS)}")
    return ACQUISITIONS[name][turn % len(ACQUISITIONS[name])]


def log_h(u: Array) -> tuple[Array, Array]:
    """Return `ln h(u)` and its derivative `Phi(u) / h(u)`; finite for every finite `u`, and never decreasing.

    Three branches (Ament et al. 2023, equation 9): directly above -1; through the scaled complementary error
    function, which does not underflow, below; and where even that cancels, `h(u) = phi(u) (u^-2 - 3 u^-4 + 15 u^-6 -
    ...)`.

    >>> value, slope = log_h(np.array([0.0, -1e4]))
    >>> round(float(value[0]), 4), round(float(value[1]), 1), round(float(slope[1]))
    (-0.9189, -50000019.3, 10000)
    """
    from scipy.special import log_ndtr

    value, slope = np.empty_like(u), np.empty_like(u)
    near, far = u > -1.0, u < _FAR
    between = ~(near | far)
    if near.any():
        x = u[near]
        density, below = np.exp(-0.5 * x * x - _HALF_LOG_TAU), np.exp(log_ndtr(x))
        h = density + x * below
        value[near], slope[near] = np.log(h), below / h
    if between.any():
        x = u[between]
        mills = _mills(x)
        rest = 1.0 + x * mills
        value[between], slope[between] = -0.5 * x * x - _HALF_LOG_TAU + np.log(rest), mills / rest
    if far.any():
        x = u[far]
        inverse = 1.0 / (x * x)
        series = inverse * (1.0 - inverse * (3.0 - inverse * (15.0 - 105.0 * inverse)))
        value[far] = -0.5 * x * x - _HALF_LOG_TAU + np.log(series)
        slope[far] = _mills(x) / series
    return value, slope


def _mills(u: Array) -> Array:
    """`Phi(u) / phi(u)`, without underflow below 0; infinite only where `phi` underflows to 0."""
    from scipy.special import erfcx  # imported here, as above: the names of acquisitions are read without scipy

    return np.asarray(_ROOT_HALF_PI * erfcx(-u / math.sqrt(2.0)))
