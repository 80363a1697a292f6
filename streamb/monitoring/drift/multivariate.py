"""Tests whether numeric columns depend on each other as in the baseline, by correlations and residuals.

**Correlations.** Notation: `D` is the difference, window minus baseline, of the mean of `u_i u_j` over `n` and `m`
rows. With `|u_i u_j| <= R` and variance `V`, Bernstein's inequality bounds the chance of `|D| >= t` while nothing has
changed, for any distribution: `2 exp(-t**2 / (2 (V s + 2 R t / (3 min(n, m)))))`, `s = 1/n + 1/m`. Times the number
of pairs, it is the p-value. A correlation `r` that changes by `c` is as far as a shift of `c sqrt(1 + r**2) / (1 -
r**2)` standard deviations (the root of its Fisher information); of the largest of `k` pairs, `2 ln(2 k) s` is taken
off its square, which chance alone gives.

**Residuals** (how far rows are from the baseline's principal plane) are compared like a column: see `joint`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamb.monitoring.drift.report import DriftState
from streamb.monitoring.drift.wording import surely
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.profiles.joint import Joint
from streamb.stats.divergence import LARGEST_SHIFT, equivalent_shift
from streamb.stats.two_sample import combined_p_values

Counters = NDArray[np.int64]
_NEAR_ONE: Final = 0.98
_WORTH_SAYING: Final = 0.05


@dataclass(frozen=True, slots=True)
class Together:
    """How far the joint distribution of the numeric columns is from the baseline.

    Attributes:
        rows: the number of rows, the smaller of window and baseline.
        shift: the equivalent shift, in standard deviations.
        p_value: the probability of a change at least as large if nothing has changed.
        pair: the names of the two columns whose correlation changed most.
        correlations: the correlation of that pair in the baseline and in the window.
        columns: the number of columns that are compared, and the number of all numeric columns.
    """

    rows: int
    shift: float
    p_value: float
    pair: tuple[str, str]
    correlations: tuple[float, float]
    columns: tuple[int, int]

    def describe(self, state: DriftState) -> str:
        """Return a sentence for people about the result, which has the status `state`."""
        part, whole = self.columns
        which = f"{part} numeric columns" if part == whole else f"{part} of {whole} numeric columns"
        if state == "insufficient_data":
            return f"{self.rows:,} rows of {which}: too few to judge"
        if state == "stable":
            return f"{which} depend on each other as in the baseline"
        before, after = self.correlations
        if abs(after - before) < _WORTH_SAYING:
            return f"rows are further from the usual pattern of {which} than in the baseline; {surely(self.p_value)}"
        change = f"the correlation of {self.pair[0]!r} and {self.pair[1]!r} was {before:.2f} and is {after:.2f}"
        return f"{which} no longer depend on each other as in the baseline: {change}; {surely(self.p_value)}"


def compare_together(baseline: Baseline, before: Counters, after: Counters) -> Together:
    """Compare the joint counters of a window (`after`) with the baseline's (`before`)."""
    joint = baseline.joint
    if joint is None:
        raise ValueError("this baseline has no joint counters of several columns")
    m, n = int(before[0]), int(after[0])
    names = [baseline.columns[member].name for member in joint.members]
    numbers = sum(column.kind == "number" and column.role == "feature" for column in baseline.columns)
    columns = (joint.width, numbers)
    if not m or not n:
        return Together(0, 0.0, 1.0, (names[0], names[1]), (0.0, 0.0), columns)
    old, new = joint.correlations(before), joint.correlations(after)
    pairs = np.triu_indices(joint.width, 1)
    shifts = _pair_shifts(old[pairs], new[pairs], 1.0 / n + 1.0 / m)
    p_pairs = _pair_p_value(joint, before, after)
    most = int(np.argmax(np.abs(new[pairs] - old[pairs])))
    shift, p_residual, rows = _residual_evidence(joint, before, after)
    first, second = int(pairs[0][most]), int(pairs[1][most])
    return Together(
        rows=min(rows, n, m),
        shift=max(shift, float(shifts.max())),
        p_value=min(1.0, 2.0 * min(p_pairs, p_residual)),
        pair=(names[first], names[second]),
        correlations=(float(old[first, second]), float(new[first, second])),
        columns=columns,
    )


def _pair_shifts(old: NDArray[np.float64], new: NDArray[np.float64], s: float) -> NDArray[np.float64]:
    middle = np.clip((old + new) / 2.0, -_NEAR_ONE, _NEAR_ONE)
    shifts = np.abs(new - old) * np.sqrt(1.0 + middle**2) / (1.0 - middle**2)
    chance = 2.0 * math.log(2.0 * len(old)) * s
    return np.minimum(np.sqrt(np.clip(shifts**2 - chance, 0.0, None)), LARGEST_SHIFT)


def _pair_p_value(joint: Joint, before: Counters, after: Counters) -> float:
    m, n = int(before[0]), int(after[0])
    pairs = np.triu_indices(joint.width, 1)
    t = np.abs(joint.moments(after)[1] - joint.moments(before)[1])[pairs]
    spread = joint.pair_variances() * (1.0 / n + 1.0 / m) + 2.0 * joint.largest_products() * t / (3.0 * min(n, m))
    exponents = np.square(t) / (2.0 * np.where(spread > 0.0, spread, 1.0))
    return min(1.0, 2.0 * len(t) * math.exp(-min(float(exponents.max()), 700.0)))


def _residual_evidence(joint: Joint, before: Counters, after: Counters) -> tuple[float, float, int]:
    part = slice(joint.residual_start, joint.residual_start + joint.residual.classes)
    b, w = before[None, part], after[None, part]
    p_value = float(combined_p_values(b, w, np.array([True]))[0])
    return float(equivalent_shift(b, w)[0]), p_value, int(min(b.sum(), w.sum()))
