"""Finds the most promising point: many candidates, gradient ascent from the best of them, and a neighbourhood search.

1. Candidates: points spread evenly over the space, and copies of the best trials moved a little, at several scales.
2. Starts: the best candidates of each kind, and some drawn by their rating, so that several maxima are approached.
3. Climb: projected BFGS over the active numeric parameters, all starts at once; integers count as continuous here.
4. Snap to the space; then, for discrete parameters, move to the best neighbour while that is better; climb the rest
   again.
5. Return the best of all evaluated points that has not been tried.

In a small discrete space every point is evaluated instead.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final

import numpy as np

from streamb.hpo.gp.ascent import climb
from streamb.hpo.gp.objective import Promise
from streamb.hpo.parameters import Array
from streamb.hpo.space import Space, something_new

_EVEN: Final = 1024
_LOCAL: Final = 256
_STARTS_EVEN: Final = 6
_STARTS_LOCAL: Final = 4
_STEPS: Final = 60
_ROUNDS: Final = 12
_WALKERS: Final = 5
_MANY_TRIALS: Final = 150
_ROOT_ROUNDS: Final = 40


def propose(space: Space, promise: Promise, best: Array, taken: Set[object], rng: np.random.Generator) -> Array:
    """Return the row to try next.

    Args:
        space: the search space.
        promise: rates points.
        best: the rows of the best trials so far (k, d), best first, of which moved copies become candidates.
        taken: keys of the points that must not be suggested.
        rng: the source of randomness.

    Raises:
        SpaceExhausted: every point of the space is taken.
    """
    if space.every is not None:
        return _first_new(space, space.every, promise.values(space.every), taken, rng)
    even, local = candidates(space, best, len(promise.surrogate.rows), rng)
    pool = np.concatenate([even, local])
    scores = promise.values(pool)
    starts = _starts(pool, scores, len(even), rng)
    tops, heights = _climbed(space, promise, starts)
    if space.discrete.any():
        tops, heights = _walked(space, promise, tops, heights)
    return _first_new(space, np.concatenate([tops, pool]), np.concatenate([heights, scores]), taken, rng)


def candidates(space: Space, best: Array, trials: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return points from all over the space, and points near the best trials."""
    amount = _EVEN if trials <= _MANY_TRIALS else _EVEN // 2
    even = space.spread(kronecker(amount, len(space), rng))
    if not len(best):
        return even, np.empty((0, len(space)))
    local = best[np.minimum(rng.geometric(0.5, size=_LOCAL) - 1, len(best) - 1)]
    base = local.copy()
    scale = 10.0 ** rng.uniform(-3.5, -0.5, size=(_LOCAL, 1))
    moved = rng.random(local.shape) < rng.choice([0.3, 1.0], size=(_LOCAL, 1))
    local += np.where(moved & ~space.categorical, scale * rng.normal(size=local.shape), 0.0)
    other = space.spread(rng.random(local.shape))
    swapped = (rng.random(local.shape) < 1.0 / max(1, len(space))) & space.discrete
    local[swapped] = other[swapped]
    if space.conditional:  # a parameter that a swap activates has had no value to be moved from
        fresh = space.active(local) & ~space.active(space.snap(base))
        local[fresh] = other[fresh]
    # a coordinate beyond a bound is reflected, not clipped: the bounds are not more promising than other points
    reflected = np.abs(local)
    local = np.where(space.categorical, local, np.where(reflected > 1.0, 2.0 - reflected, reflected))
    return even, space.snap(local)


def _starts(pool: Array, scores: Array, evenly: int, rng: np.random.Generator) -> Array:
    order = np.argsort(-scores[:evenly])
    near = evenly + np.argsort(-scores[evenly:])[:_STARTS_LOCAL]
    chosen = [*order[:2], *near]
    # the others at random in proportion to their rating (Balandat et al. 2020, appendix F), to try other maxima
    spread = float(np.std(scores[:evenly])) or 1.0
    drawn = scores[:evenly] / spread + rng.gumbel(size=evenly)
    chosen += list(np.argsort(-drawn)[: _STARTS_EVEN - 2])
    return np.asarray(pool[np.unique(np.array(chosen, dtype=int))])


def _climbed(space: Space, promise: Promise, starts: Array) -> tuple[Array, Array]:
    low, high = np.zeros(len(space)), np.ones(len(space))
    low[space.categorical], high[space.categorical] = -1.0, np.inf
    free = space.active(starts) & ~space.categorical
    if not free.any():
        return starts, promise.values(starts)
    tops, heights = climb(promise.hills, starts, low, high, free=free, steps=_STEPS)
    if not space.discrete.any():
        return tops, heights
    tops = space.snap(tops)
    return tops, promise.values(tops)


def _walked(space: Space, promise: Promise, tops: Array, heights: Array) -> tuple[Array, Array]:
    """Move each maximum to its best neighbour until none is better, then climb again with discrete parameters fixed."""
    _, different = np.unique(np.round(tops, 6), axis=0, return_index=True)
    kept = different[np.argsort(-heights[different], kind="stable")][:_WALKERS]
    tops, heights = tops[kept], heights[kept]
    for _ in range(_ROUNDS):
        neighbourhoods = [space.neighbours(top) for top in tops]
        scores = promise.values(np.concatenate(neighbourhoods))
        better, at = False, 0
        for b, around in enumerate(neighbourhoods):
            found = scores[at : at + len(around)]
            at += len(around)
            if len(found) and found.max() > heights[b] + 1e-9:
                tops[b], heights[b], better = around[int(np.argmax(found))], float(found.max()), True
        if not better:
            break
    free = space.active(tops) & ~space.discrete
    if not free.any():
        return tops, heights
    low, high = np.minimum(tops.min(axis=0), 0.0), np.maximum(tops.max(axis=0), 1.0)
    return climb(promise.hills, tops, low, high, free=free, steps=_STEPS)


def _first_new(space: Space, rows: Array, scores: Array, taken: Set[object], rng: np.random.Generator) -> Array:
    for index in np.argsort(-scores, kind="stable"):
        if space.key(rows[index]) not in taken:
            return np.asarray(rows[index])
    return something_new(space, taken, rng)


def kronecker(n: int, d: int, rng: np.random.Generator) -> Array:
    """Return `n` points (n, d) that fill `[0, 1)` evenly, shifted at random: another set for each state of `rng`.

    The Kronecker sequence of the plastic constant: point `n` is `(shift + n (g^-1, .., g^-d)) mod 1`, where `g` is the
    positive root of `g**(d + 1) = g + 1` (Roberts 2018, the golden ratio in `d` dimensions), found by iteration.

    >>> points = kronecker(64, 2, np.random.default_rng(0))
    >>> counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=4, range=((0, 1), (0, 1)))
    >>> int(counts.min()), int(counts.max())  # of 4 each, were they perfectly even
    (3, 5)
    """
    root = 2.0
    for _ in range(_ROOT_ROUNDS):
        root = (1.0 + root) ** (1.0 / (d + 1))
    steps = root ** -np.arange(1.0, d + 1)
    return np.asarray((rng.random(d) + np.arange(1, n + 1)[:, None] * steps) % 1.0)
