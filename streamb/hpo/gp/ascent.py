"""Maximizes a function from many starts at once by projected BFGS; each step of all starts is one call of the function.

Notation: `x` a point, `f` the function to maximize, `g` its gradient, `H` an approximation of the inverse Hessian of
`-f`, `s` and `y` the last changes of `x` and of `-g`. The update is Nocedal and Wright (2006), equation 6.17. Bounds: a
coordinate that lies on one and would leave is fixed (Bertsekas 1982); the step is projected back into the box; the step
length is halved until Armijo's condition holds.

One call for all starts is what makes this fast in numpy: the cost of a call hardly grows with the number of starts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamb.hpo.parameters import Array

Hills = Callable[[Array], tuple[Array, Array]]
"""A function that maps points (b, d) to values (b) and gradients (b, d)."""

_ARMIJO: Final = 1e-4
_HALVINGS: Final = 12
_CURVED: Final = 1e-10


def climb(
    hills: Hills,
    starts: Array,
    low: Array,
    high: Array,
    *,
    free: NDArray[np.bool_] | None = None,
    steps: int = 50,
    first_step: float = 0.1,
    tolerance: float = 1e-7,
) -> tuple[Array, Array]:
    """Return the local maximum reached from each start (b, d), and the function's value there (b).

    Args:
        hills: the function to maximize.
        starts: points inside the box (b, d).
        low: lower bounds (d); high: upper bounds (d).
        free: which coordinates of each start may move (b, d); all by default.
        steps: the largest number of steps.
        first_step: length of the first step along its longest coordinate, before the curvature is known.
        tolerance: a start has converged when a step gains less than this, relative to the value (at least 1).
    """
    x = np.clip(starts, low, high)
    free = np.ones(x.shape, dtype=bool) if free is None else free
    f, g = hills(x)
    f, g = _tamed(f, g)
    d = x.shape[1]
    inverse = np.broadcast_to(np.eye(d), (len(x), d, d)).copy()
    fresh = np.ones(len(x), dtype=bool)
    moving = np.arange(len(x))
    for _ in range(steps):
        held = _held(x[moving], g[moving], low, high) | ~free[moving]
        slope = np.where(held, 0.0, g[moving])
        alive = np.abs(slope).max(axis=1, initial=0.0) > 1e-9
        moving, held, slope = moving[alive], held[alive], slope[alive]
        if not len(moving):
            break
        way = _direction(inverse[moving], slope, held, fresh[moving], first_step)
        moved, height, gradient = _search(hills, x[moving], f[moving], slope, way, low, high)
        gain = height - f[moving]
        _learn(inverse, fresh, moving, moved - x[moving], g[moving] - gradient, held)
        x[moving], f[moving], g[moving] = moved, height, gradient
        moving = moving[gain > tolerance * np.maximum(1.0, np.abs(height))]
        if not len(moving):
            break
    return x, f


def _tamed(f: Array, g: Array) -> tuple[Array, Array]:
    """Replace values that are NaN or infinite by -inf, with a gradient of 0."""
    bad = ~np.isfinite(f)
    if bad.any():
        f, g = np.where(bad, -np.inf, f), np.where(bad[:, None], 0.0, g)
    return f, np.nan_to_num(g, nan=0.0, posinf=0.0, neginf=0.0) if not np.isfinite(g).all() else g


def _held(x: Array, g: Array, low: Array, high: Array) -> NDArray[np.bool_]:
    held: NDArray[np.bool_] = ((x <= low) & (g < 0.0)) | ((x >= high) & (g > 0.0))
    return held


def _direction(
    inverse: Array, slope: Array, held: NDArray[np.bool_], fresh: NDArray[np.bool_], first_step: float
) -> Array:
    way: Array = np.einsum("bij,bj->bi", inverse, slope)
    way[held] = 0.0
    uphill = np.einsum("bi,bi->b", way, slope)
    lost = fresh | (uphill <= 0.0)
    if lost.any():
        longest = np.abs(slope[lost]).max(axis=1, keepdims=True)
        way[lost] = slope[lost] * np.minimum(first_step / longest, 1.0)
    return way


def _search(
    hills: Hills, x: Array, f: Array, slope: Array, way: Array, low: Array, high: Array
) -> tuple[Array, Array, Array]:
    """Take a step along `way` that gains enough, for each start; a start without such a step stays where it is."""
    reached, height, gradient = x.copy(), f.copy(), slope.copy()
    length = np.ones(len(x))
    left = np.arange(len(x))
    for _ in range(_HALVINGS):
        tried = np.clip(x[left] + length[left, None] * way[left], low, high)
        value, steepness = _tamed(*hills(tried))
        enough = value >= f[left] + _ARMIJO * np.einsum("bi,bi->b", slope[left], tried - x[left])
        took = left[enough]
        reached[took], height[took], gradient[took] = tried[enough], value[enough], steepness[enough]
        left = left[~enough]
        if not len(left):
            break
        length[left] *= 0.4
    return reached, height, gradient


def _learn(
    inverse: Array, fresh: NDArray[np.bool_], moving: NDArray[np.intp], s: Array, y: Array, held: NDArray[np.bool_]
) -> None:
    """Update the inverse Hessians `inverse` in place from the last step (BFGS)."""
    s, y = np.where(held, 0.0, s), np.where(held, 0.0, y)
    sy = np.einsum("bi,bi->b", s, y)
    yy = np.einsum("bi,bi->b", y, y)
    use = sy > _CURVED * np.sqrt(np.einsum("bi,bi->b", s, s) * yy)
    use &= sy > 0.0
    if not use.any():
        return
    chosen, s, y, sy, yy = moving[use], s[use], y[use], sy[use], yy[use]
    h = inverse[chosen]
    young = fresh[chosen]
    h[young] *= (sy / yy)[young, None, None]  # Nocedal and Wright, equation 6.20: the size of the first H
    hy = np.einsum("bij,bj->bi", h, y)
    factor = (1.0 + np.einsum("bi,bi->b", y, hy) / sy) / sy
    cross = np.einsum("bi,bj->bij", hy, s) / sy[:, None, None]
    h += factor[:, None, None] * np.einsum("bi,bj->bij", s, s) - cross - np.swapaxes(cross, 1, 2)
    inverse[chosen] = h
    fresh[chosen] = False
