"""Two halves of a baseline's rows: one to choose classes by, the other to count in them.

Classes that are chosen because they are frequent in some rows are more frequent in these than in other rows. Rows are
assigned to the halves at random, since alternating rows may differ systematically.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_SEED: Final = 20_261_124


def first_half(rows: int) -> NDArray[np.bool_]:
    """Return a mask of so many rows that is true for the first half; always the same one.

    >>> int(first_half(10_001).sum())
    5001
    """
    dealt = np.asarray(np.arange(rows) % 2 == 0, np.bool_)
    np.random.Generator(np.random.PCG64(_SEED)).shuffle(dealt)
    return dealt
