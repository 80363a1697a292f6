"""Accuracy without labels: an estimate from the model's accuracy at each confidence in the baseline.

Notation: the confidences `c` of the baseline's labelled rows are cut into bins, at their quantiles and at every 0.05,
so that rows which are rare in the baseline have bins of their own: later they may be many. `n_b` rows are in bin `b`,
`k_b` of them right. Its accuracy is `a_b = (k_b + 10 s_b) / (n_b + 10)`, where `s_b` is what the curve
`logit s = u + v logit c`, fitted to all bins (Platt 1999), says of a bin that has few rows; then made non-decreasing in
`c` (pool adjacent violators, Ayer et al. 1955). Rows seen later, `m_b` in bin `b` and `m` in all, are expected to be
right at the share `sum_b m_b a_b / m`. This is confidence-based performance estimation (NannyML's CBPE).

The estimate falls when rows become harder by the model's own confidence. It does not change when the *truth* changes
for rows that look as before (concept drift), which only labels show. So it is always called an estimate, and never
raises an alarm by itself. The answers of a regression have no confidence, so nothing is estimated for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamb.errors import InvalidInput

_CUTS: Final = np.arange(1, 20) / 20
"""Shares of the quantiles, and confidences, at which bins end."""
LEAST_ROWS: Final = 100
"""The number of rows that a table and an estimate need."""
_Z: Final = 1.96
_STRENGTH: Final = 10.0
"""The weight of the curve's value in each bin, in rows."""
_RIDGE: Final = 0.01
"""Keeps the curve at "accuracy equals confidence" if there is no data to fit it to."""
_STEPS: Final = 30
NOTE: Final = "an estimate from the model's confidence, not measured: it cannot see that the truth itself has changed"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated accuracy of unlabelled rows.

    Attributes:
        accuracy: the expected share of right answers, 0 to 1; None if it cannot be estimated.
        low, high: bounds of about 95 %, which cover only chance in the rows and in the baseline's table.
        rows: the number of rows that it is based on.
        note: a text that explains the number, or why there is none.
        is_estimate: always true; in JSON it distinguishes this from accuracies measured by labels.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    rows: int
    note: str
    is_estimate: bool = True


@dataclass(frozen=True, slots=True)
class CalibrationTable:
    """The model's accuracy by confidence, in the baseline.

    Attributes:
        edges: the inner bounds of the bins, ascending; bin `b` holds `edges[b - 1] < confidence <= edges[b]`.
        labels: the number of labelled rows in each bin; one more entry than `edges`.
        correct: the number of right answers in each bin.
    """

    edges: tuple[float, ...]
    labels: tuple[int, ...]
    correct: tuple[int, ...]

    @classmethod
    def learn(cls, confidence: ArrayLike, correct: ArrayLike) -> CalibrationTable | None:
        """Return the table of labelled rows; None if fewer than 100 have a confidence.

        Args:
            confidence: the probability of the predicted class, 0 to 1, shape (n,); NaN if unknown.
            correct: whether the prediction was right, shape (n,).

        Raises:
            InvalidInput: the shapes differ, or a confidence is not between 0 and 1.
        """
        values, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
        if values.ndim != 1 or values.shape != right.shape:
            raise InvalidInput(f"confidence has the shape {values.shape}; one number for each of {right.size} rows")
        known = ~np.isnan(values)
        values, right = values[known], right[known]
        if values.size and (values.min() < 0.0 or values.max() > 1.0):
            raise InvalidInput("confidence must be the probability of the predicted class, between 0 and 1")
        if values.size < LEAST_ROWS:
            return None
        edges = np.unique([*np.quantile(values, _CUTS, method="lower"), *_CUTS])
        edges = edges[edges < values.max()]  # nothing would be above the last one
        bins = np.searchsorted(edges, values, side="left")
        size = edges.size + 1
        return cls(
            tuple(edges.tolist()),
            tuple(np.bincount(bins, minlength=size).tolist()),
            tuple(np.bincount(bins[right], minlength=size).tolist()),
        )

    def fold(self, confidence: ArrayLike) -> NDArray[np.int64]:
        """Return the number of rows in each bin, which add up over replicas in any order; NaN is left out.

        >>> CalibrationTable((0.6,), (100, 100), (50, 90)).fold([0.5, 0.9, 0.95, float("nan")]).tolist()
        [1, 2]
        """
        values = np.asarray(confidence, dtype=np.float64).ravel()
        bins = np.searchsorted(np.asarray(self.edges), values[~np.isnan(values)], side="left")
        return np.bincount(bins, minlength=len(self.labels)).astype(np.int64)

    def estimate(self, counts: Sequence[int] | NDArray[np.int64]) -> Estimate:
        """Return the estimated accuracy of rows that `fold` counted.

        >>> table = CalibrationTable((0.6,), (1000, 1000), (600, 950))
        >>> calm, harder = table.estimate([500, 500]), table.estimate([900, 100])
        >>> round(calm.accuracy, 3), round(harder.accuracy, 3)
        (0.775, 0.635)
        """
        rows = sum(int(count) for count in counts)
        if rows < LEAST_ROWS:
            return Estimate(None, None, None, rows, f"needs {LEAST_ROWS} rows with a confidence; there are {rows}")
        chance = self._calibrated()
        shares = [int(count) / rows for count in counts]
        accuracy = math.fsum(share * a for share, a in zip(shares, chance, strict=True))
        in_rows = math.fsum(share * a * (1 - a) for share, a in zip(shares, chance, strict=True)) / rows
        in_table = math.fsum(
            share * share * a * (1 - a) / (n + 1) for share, a, n in zip(shares, chance, self.labels, strict=True)
        )
        half = _Z * math.sqrt(in_rows + in_table)
        return Estimate(accuracy, max(0.0, accuracy - half), min(1.0, accuracy + half), rows, NOTE)

    def _calibrated(self) -> list[float]:
        """`a_b`: pooling neighbours that are in the wrong order is the least-squares non-decreasing fit."""
        pools: list[tuple[float, float, int]] = []  # right, rows, bins
        for correct, labels, curve in zip(self.correct, self.labels, self._curve().tolist(), strict=True):
            pool = (correct + _STRENGTH * curve, labels + _STRENGTH, 1)
            while pools and pools[-1][0] * pool[1] >= pool[0] * pools[-1][1]:
                last = pools.pop()
                pool = (last[0] + pool[0], last[1] + pool[1], last[2] + pool[2])
            pools.append(pool)
        return [right / rows for right, rows, bins in pools for _ in range(bins)]

    def _curve(self) -> NDArray[np.float64]:
        """`s_b`: logistic regression on the middles of the bins, by Newton's method."""
        bounds = np.array([0.0, *self.edges, 1.0])
        middles = np.clip((bounds[:-1] + bounds[1:]) / 2, 0.01, 0.99)
        x = np.stack([np.ones(middles.size), np.log(middles / (1 - middles))])
        rows, right = np.array(self.labels, np.float64), np.array(self.correct, np.float64)
        start = np.array([0.0, 1.0])
        u_v = start
        for _ in range(_STEPS):
            fitted = _logistic(u_v @ x)
            slope = x @ (right - rows * fitted) - _RIDGE * (u_v - start)
            bend = (x * rows * fitted * (1 - fitted)) @ x.T + _RIDGE * np.eye(2)
            u_v = u_v + np.clip(np.linalg.solve(bend, slope), -1.0, 1.0)
        return _logistic(u_v @ x)


def _logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -30.0, 30.0))))


def not_estimated(task: str) -> Estimate:
    """Return an estimate without a number, whose note explains why there is no table for this task."""
    why = (
        "not estimated: numbers have no confidence; send labels to measure the error"
        if task == "regression"
        else "not estimated: the baseline has no confidences with labels; give set_baseline both"
    )
    return Estimate(None, None, None, 0, why)
