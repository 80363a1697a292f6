"""Random points that have not been tried; and the error for when there are none left."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

import numpy as np

from streamb.errors import Conflict
from streamb.hpo.parameters import Array
from streamb.hpo.space import Space

_TRIES: Final = 64


class SpaceExhausted(Conflict):
    """Every point of a finite search space has been tried: there is nothing left to suggest."""

    code = "space_exhausted"


def something_new(space: Space, taken: Set[object], rng: np.random.Generator) -> Array:
    """A random point that has not been tried.

    Raises:
        SpaceExhausted: there is none.
    """
    every = space.every
    for rows in [rng.permutation(every)] if every is not None else (space.sample(rng, 256) for _ in range(_TRIES)):
        for row in rows:
            if space.key(row) not in taken:
                return np.asarray(row)
    raise SpaceExhausted("every point of the search space has been tried; widen the space or stop the search")
