"""Many tests at once: which of them are significant while few of those that are named are named by chance.

Notation: `p(1) <= … <= p(m)` are the p-values of `m` tests. Benjamini and Hochberg (1995): the tests up to the
largest `i` with `p(i) <= q i / m` are significant; of those named, a share of at most `q` is named wrongly on
average. While no hypothesis is false, the chance to name any is `q` at most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def benjamini_hochberg(p_values: ArrayLike, q: float) -> NDArray[np.bool_]:
    """Which tests are significant.

    Args:
        p_values: shape (tests,).
        q: the share of wrong ones among the named, between 0 and 1.

    Returns:
        shape (tests,).

    >>> benjamini_hochberg([0.001, 0.02, 0.03, 0.5], q=0.05)
    array([ True,  True,  True, False])
    """
    given = np.asarray(p_values, np.float64)
    if not given.size:
        return np.zeros(0, np.bool_)
    ascending = np.sort(given)
    passing = np.flatnonzero(ascending <= q * np.arange(1, given.size + 1) / given.size)
    return given <= ascending[passing[-1]] if passing.size else np.zeros(given.size, np.bool_)
