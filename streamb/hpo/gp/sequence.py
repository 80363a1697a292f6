"""Points that fill the unit cube evenly: Kronecker's sequence for the plastic constant, shifted at random.

Notation: `g` is the positive root of `g**(d + 1) = g + 1`; point `n` is `(shift + n (g^-1, .., g^-d)) mod 1`. The
generalisation of the golden ratio to `d` dimensions is Roberts' (2018); `g` comes from iterating `g <- (1 + g)**(1 /
(d + 1))`.
"""

from __future__ import annotations

import numpy as np

from streamb.hpo.parameters import Array

_ROUNDS = 40


def kronecker(n: int, d: int, rng: np.random.Generator) -> Array:
    """`n` points (n, d) in `[0, 1)`, another set for each state of `rng`.

    >>> points = kronecker(64, 2, np.random.default_rng(0))
    >>> counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=4, range=((0, 1), (0, 1)))
    >>> int(counts.min()), int(counts.max())  # of 4 each, were they perfectly even
    (3, 5)
    """
    root = 2.0
    for _ in range(_ROUNDS):
        root = (1.0 + root) ** (1.0 / (d + 1))
    steps = root ** -np.arange(1.0, d + 1)
    return np.asarray((rng.random(d) + np.arange(1, n + 1)[:, None] * steps) % 1.0)
