"""Numbers as cells: maps every float64 to one of 65,536 ordered cells, with the same result on every machine.

Notation: a column's value `x` becomes `z = (x - centre) * factor`, in 1,024ths of the baseline's standard deviation,
and its **cell** is the upper half of the 32 bits of `z` as a float32 (the bfloat16 of it, cut off): sign, exponent
and seven bits of mantissa. Cells are 1/128 of the distance from the centre wide, so they are fine where the values
are, whatever the tails: 128 for each octave of that distance. A table from cells to bins then counts millions of
values without one search.

The **place** of a cell is its number in ascending order of the values.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

CELLS: Final = 65_536
UNITS: Final = 1_024.0
"""Fixed-point units of one standard deviation."""

_SIGN: Final = 0x8000
_INFINITE: Final = 0x7F80
NEGATIVE_INFINITY: Final = 0xFFFF - (_SIGN | _INFINITE)
"""The place of minus infinity; lower ones are NaN."""
POSITIVE_INFINITY: Final = _SIGN + _INFINITE
"""The place of infinity; higher ones are NaN."""
ZERO: Final = _SIGN
"""The place of the centre itself; the one before it is that of -0.0, which counts as the same."""


def standardise(values: NDArray[np.float64], centre: float, factor: float) -> NDArray[np.float64]:
    """Return `z = (values - centre) * factor` for the values of one column, shape (rows,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return (values - centre) * factor


def cell_keys(z: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Return the cell of each `z`, in the same shape, as a view with strides."""
    with np.errstate(over="ignore", invalid="ignore"):
        return z.astype("<f4", order="C").view("<u2")[..., 1::2]


def places(keys: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Return the place of each cell, shape as `keys`.

    >>> places(cell_keys(np.array([-2.0, -1.0, -0.0, 0.0, 1.0, 1.001])))
    array([16383, 16511, 32768, 32768, 49024, 49024])
    """
    wide = keys.astype(np.int64)
    found = np.where(wide < _SIGN, wide + _SIGN, 0xFFFF - wide)
    return np.where(found == ZERO - 1, ZERO, found)


def by_key(by_place: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn a table indexed by place into one indexed by cell."""
    table = np.concatenate([by_place[_SIGN:], by_place[:_SIGN][::-1]])
    table[_SIGN] = table[0]  # -0.0 is 0
    return table


def place_start(place: int) -> float:
    """Return the smallest `z` of a place: the smallest magnitude of its cell, or the largest one if it is negative.

    >>> [place_start(place) for place in (16383, 32768, 49024)]
    [-2.015624761581421, 0.0, 1.0]
    """
    negative = place < _SIGN
    key = 0xFFFF - place if negative else place - _SIGN
    low = 0xFFFF if negative else 0  # a negative cell begins at its largest magnitude
    bits = np.array([(key << 16) | low], np.uint32)
    return float(bits.view(np.float32)[0])
