"""Two halves of a baseline's rows: one to choose classes by, the other to count in them.

Classes that are chosen because they are full in some rows are fuller in these than in any others. Rows are dealt to the
halves at random, since every second row may be another thing than the one before it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_SEED: Final = 20_261_124


def first_half(rows: int) -> NDArray[np.bool_]:
    """Which of so many rows are in the first half; always the same ones.

    >>> int(first_half(10_001).sum())
    5001
    """
    dealt = np.asarray(np.arange(rows) % 2 == 0, np.bool_)
    np.random.Generator(np.random.PCG64(_SEED)).shuffle(dealt)
    return dealt
