"""Decides when a trial is not worth its remaining folds, and estimates the value of one that was stopped.

Notation: `s_tk` is the score of trial t on fold k, turned so that more is better. Folds differ in how hard they are,
and are the same for every trial: so trials are compared by differences on the same folds. `d_k = s_tk - s_bk` is that
difference from the best trial b, `v` the variance of such differences from fold to fold.

After k folds a trial is stopped when both hold:
1. it is in the lower half of all trials that got as far (the rung rule of ASHA, Li et al. 2020, with reduction 2);
2. `mean(d) + 1.645 sqrt(v / k) < 0`: even the upper 95 % confidence bound is below the best.
The first alone would stop half of all trials, including good ones whose first fold was unlucky.

A stopped trial's value is estimated as `mean(s_b) + mean(d)`: the mean of its own few folds would compare easy folds
with hard ones.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_Z: Final = 1.645
_FEWEST: Final = 4
"""Number of trials that must be finished before any is stopped."""

_PRIOR: Final = 2.0
"""Weight of the other trials' estimate of `v` beside the trial's own folds, in degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The scores a trial must reach to continue: a snapshot taken when it started, which is sent along with it.

    Attributes:
        best: fold scores of the best trial, with the sign turned so that more is better.
        variance: variance of the differences between two trials from fold to fold.
        rungs: for each number of folds done (1 first), the median over trials of the mean score so far.
        maximize: whether more is better; otherwise the sign of scores is turned.
    """

    best: tuple[float, ...]
    variance: float
    rungs: tuple[float, ...]
    maximize: bool

    def stops(self, scores: Sequence[float]) -> bool:
        """Return whether a trial with these scores on the first folds should be stopped."""
        done = len(scores)
        if done == 0 or done >= len(self.best) or done > len(self.rungs):
            return False
        if float(np.mean(self._turned(scores))) >= self.rungs[done - 1]:
            return False
        difference = self._turned(scores) - np.array(self.best[:done])
        error = (self._variance(difference) / done) ** 0.5
        return bool(difference.mean() + _Z * error < 0.0)

    def estimate(self, scores: Sequence[float]) -> tuple[float, float]:
        """Return the estimated score of a stopped trial over all folds, and its variance."""
        difference = self._turned(scores) - np.array(self.best[: len(scores)])
        value = float(np.mean(self.best) + difference.mean())
        return (value if self.maximize else -value), self._variance(difference) / len(scores)

    def _turned(self, scores: Sequence[float]) -> NDArray[np.float64]:
        turned = np.array(scores, dtype=float)
        return turned if self.maximize else -turned

    def _variance(self, difference: NDArray[np.float64]) -> float:
        own = float(((difference - difference.mean()) ** 2).sum())
        return (_PRIOR * self.variance + own) / (_PRIOR + len(difference) - 1)


def bar_of(finished: Sequence[Sequence[float]], stopped: Sequence[Sequence[float]], *, maximize: bool) -> Bar | None:
    """Return the bar set by the finished and stopped trials; None while there are too few, or with a single fold.

    Args:
        finished: the fold scores of each trial that has all of them.
        stopped: the fold scores of each trial that has fewer.
        maximize: whether more is better.
    """
    if len(finished) < _FEWEST or len(finished[0]) < 2:
        return None
    sign = 1.0 if maximize else -1.0
    table = sign * np.array(finished, dtype=float)
    best = table[int(np.argmax(table.mean(axis=1)))]
    differences = table - best
    # a median: a few hopeless trials differ widely from fold to fold
    variance = float(np.median(differences.var(axis=1, ddof=1)))
    partial = [sign * np.array(scores, dtype=float) for scores in [*finished, *stopped]]
    rungs = tuple(
        statistics.median(float(one[:done].mean()) for one in partial if len(one) >= done)
        for done in range(1, table.shape[1])
    )
    return Bar(tuple(best.tolist()), variance, rungs, maximize)


def paired_variance(scores: Sequence[float], finished: Sequence[Sequence[float]]) -> float | None:
    """Return the variance of a trial's mean over the folds, without effects shared by all trials; None if unknown.

    The spread of its scores alone mostly reflects how the folds differ, which moves all trials together. Only the
    spread around the folds' own effects (medians over the trials) can change which trial is best.
    """
    folds = len(scores)
    others = [one for one in finished if len(one) == folds]
    if folds < 2 or len(others) < 2:
        return None
    table = np.array(others, dtype=float)
    centred = table - table.mean(axis=1, keepdims=True)
    effects = np.median(centred, axis=0)
    own = np.array(scores, dtype=float)
    pooled = float(np.median((centred - effects).var(axis=1, ddof=1)))
    rest = own - own.mean() - effects
    spread = (_PRIOR * pooled + float(((rest - rest.mean()) ** 2).sum())) / (_PRIOR + folds - 1)
    return spread / folds
