"""Transforms values for the surrogate: centred, scaled, and bent where a few of them dwarf the rest.

Notation: `y` values to minimize, `z` what the surrogate learns. `z = (bend(y) - mean) / deviation`, with Yeo and
Johnson's (2000) power `lam` between 0 and 2 around the median, in units of the spread of the middle half; `lam = 1`
is a straight line. The power is the likeliest one if the bent values were normal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from streamb.hpo.parameters import Array

_POWERS: Final = np.linspace(0.0, 2.0, 21)
_ENOUGH: Final = 8
_LARGEST: Final = 1e150
"""Values beyond this are clipped, and differences below its inverse count as 0: squares stay finite and above 0."""


@dataclass(frozen=True, slots=True)
class Warping:
    """A monotone map from values to standardised ones.

    Attributes:
        centre: median of the values; width: spread of their middle half (before bending).
        power: `lam`.
        mean: mean of the bent values; deviation: their standard deviation.
    """

    centre: float
    width: float
    power: float
    mean: float
    deviation: float

    def apply(self, values: Array) -> Array:
        """Return the values, standardised."""
        bent = _bend((_bounded(values) - self.centre) / self.width, self.power)
        return np.asarray((bent - self.mean) / self.deviation)

    def slope(self, values: Array) -> Array:
        """Return the derivative of `apply` at the values, by which standard deviations are multiplied."""
        u = (_bounded(values) - self.centre) / self.width
        lam = self.power
        rise = np.where(u >= 0.0, (np.abs(u) + 1.0) ** (lam - 1.0), (np.abs(u) + 1.0) ** (1.0 - lam))
        return np.asarray(rise / (self.width * self.deviation))

    def invert(self, standardised: float) -> float:
        """Return the value that `apply` maps to `standardised`; bounded where the bend never reaches it."""
        bent = standardised * self.deviation + self.mean
        lam = self.power
        if bent >= 0.0:
            u = math.expm1(bent) if lam == 0.0 else max(1.0 + lam * bent, 1e-12) ** (1.0 / lam) - 1.0
        else:
            mirrored = 2.0 - lam
            u = -math.expm1(-bent) if mirrored == 0.0 else 1.0 - max(1.0 - mirrored * bent, 1e-12) ** (1.0 / mirrored)
        return u * self.width + self.centre


def fit_warping(values: Array, *, bend: bool = True) -> Warping:
    """Fit the map that makes values most nearly normal; linear for few values, or with `bend=False`.

    >>> fit_warping(np.array([3.0, 3.0])).apply(np.array([3.0])).tolist()
    [0.0]
    """
    values = _bounded(values)
    centre = float(np.median(values))
    width = _width(values)
    u = (values - centre) / width
    power = _likeliest(u) if bend and len(values) >= _ENOUGH else 1.0
    bent = _bend(u, power)
    deviation = float(bent.std())
    if not deviation > 1e-12 * max(1.0, float(np.abs(bent).max())):
        deviation = 1.0
    return Warping(centre, width, power, float(bent.mean()), deviation)


def _bounded(values: Array) -> Array:
    return np.clip(values, -_LARGEST, _LARGEST)


def _width(values: Array) -> float:
    low, high = np.quantile(values, [0.25, 0.75])
    for width in (float(high - low), float(values.max() - values.min()) / 2.0):
        if width > max(1e-13 * float(np.abs(values).max()), 1.0 / _LARGEST):
            return width
    return max(abs(float(values[0])), 1.0)  # constant: any unit will do


def _bend(u: Array, lam: float) -> Array:
    """Yeo and Johnson (2000), equation 2.1."""
    if lam == 1.0:
        return u
    above, below = np.maximum(u, 0.0), np.maximum(-u, 0.0)
    rising = np.log1p(above) if lam == 0.0 else ((above + 1.0) ** lam - 1.0) / lam
    mirrored = 2.0 - lam
    falling = np.log1p(below) if mirrored == 0.0 else ((below + 1.0) ** mirrored - 1.0) / mirrored
    return np.asarray(rising - falling)


def _likeliest(u: Array) -> float:
    """The power with the highest normal likelihood (their equation 3.1)."""
    signed = np.sign(u) * np.log1p(np.abs(u))
    best, power = -math.inf, 1.0
    for lam in _POWERS:
        lam = round(float(lam), 1)
        variance = float(_bend(u, lam).var())
        if variance <= 0.0:
            continue
        score = -0.5 * len(u) * math.log(variance) + (lam - 1.0) * float(signed.sum())
        if score > best:
            best, power = score, lam
    return power
