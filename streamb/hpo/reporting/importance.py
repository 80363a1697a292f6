"""Parameter importance: the share of the score's variance that each explains, alone and in pairs (fANOVA).

A forest is fitted to the trials and its variance over the whole search space is split (`marginals`). The shares say
how much the score *changes* with a parameter over its range, not where it is good. With few trials they are rough:
each comes with its standard deviation over the forest's trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np

from streamb.charts.axes import Axis
from streamb.hpo.reporting.marginals import Array, Marginals
from streamb.hpo.study.study import TrialResult

FEWEST_TRIALS: Final = 8
_PAIRS_AMONG: Final = 5
_FENCE: Final = 3.0


@dataclass(frozen=True, slots=True)
class Effect:
    """The share of the variance that one parameter, or two together, explain.

    Attributes:
        names: one parameter name, or two.
        share: share of the variance, 0 to 1; for two, the part they explain beyond each alone.
        spread: standard deviation of the share over the forest's trees.
    """

    names: tuple[str, ...]
    share: float
    spread: float

    @property
    def label(self) -> str:
        """The names as text: `C`, or `C with gamma`."""
        return " with ".join(self.names)


@dataclass(frozen=True, slots=True)
class Importance:
    """The effects of all parameters, the largest first.

    Attributes:
        alone: the effect of each single parameter.
        together: the effects of pairs among the most important parameters.
        trials: number of trials used; with fewer than `FEWEST_TRIALS` or with equal scores there are no effects.
        marginals: the forest, for curves and surfaces; None if there are no effects.
    """

    alone: tuple[Effect, ...]
    together: tuple[Effect, ...]
    trials: int
    marginals: Marginals | None = None

    def to_json(self) -> list[dict[str, Any]]:
        """Return the effects of single parameters and pairs as JSON values."""
        return [{"names": list(e.names), "share": e.share, "spread": e.spread} for e in (*self.alone, *self.together)]


def importance(axes: Sequence[Axis], trials: Sequence[TrialResult], *, maximize: bool, seed: int = 0) -> Importance:
    """Return how important each parameter is for the score.

    Trials that were stopped early count too (`Board.of` makes their scores comparable); those without a score do not.
    Extremely bad scores (beyond three interquartile ranges) are moved to that limit, so that one diverged trial does
    not dominate the forest.

    Args:
        axes: the axes of the parameters.
        trials: the trials in any order.
        maximize: whether higher scores are better.
        seed: seed of the forest, and of the random positions of inactive parameters.
    """
    scored = [trial for trial in trials if trial.score is not None and np.isfinite(trial.score)]
    values = _fenced(np.array([trial.score for trial in scored], dtype=np.float64), maximize=maximize)
    if len(scored) < FEWEST_TRIALS or not axes or np.ptp(values) == 0.0:
        return Importance((), (), len(scored))
    rows = _rows(axes, scored, np.random.default_rng(seed))
    categories = tuple(len(axis.values) if axis.values is not None else 0 for axis in axes)
    marginals = Marginals(rows, values, categories, seed=seed)
    shares = marginals.main_shares()
    alone = _largest_first(_effect((axis.name,), shares[:, i]) for i, axis in enumerate(axes))
    places = {axis.name: i for i, axis in enumerate(axes)}
    first = [places[effect.names[0]] for effect in alone[:_PAIRS_AMONG]]
    together = _largest_first(
        _effect((axes[i].name, axes[j].name), marginals.pair_shares(i, j)) for i, j in combinations(first, 2)
    )
    return Importance(alone, together, len(scored), marginals)


def place(axis: Axis, trial: TrialResult) -> float | None:
    """Return a trial's position on a parameter's axis; None if the trial does not have the parameter."""
    return axis.position(trial.parameters[axis.name]) if axis.name in trial.parameters else None


def _rows(axes: Sequence[Axis], trials: Sequence[TrialResult], rng: np.random.Generator) -> Array:
    """Positions (n, d). An inactive parameter gets a random position: a fixed one would reveal to the forest which
    branch the trial is in, and take over its parent's importance."""
    rows = rng.random((len(trials), len(axes)))
    for i, axis in enumerate(axes):
        if axis.values is not None:
            rows[:, i] = (np.floor(rows[:, i] * len(axis.values)) + 0.5) / len(axis.values)
        for row, trial in enumerate(trials):
            position = place(axis, trial)
            if position is not None:
                rows[row, i] = min(max(position, 0.0), 1.0)
    return rows


def _fenced(values: Array, *, maximize: bool) -> Array:
    if not len(values):
        return values
    low, high = np.quantile(values, (0.25, 0.75))
    reach = _FENCE * (high - low)
    if reach == 0.0:
        return values
    return np.asarray(np.maximum(values, low - reach) if maximize else np.minimum(values, high + reach))


def _effect(names: tuple[str, ...], shares: Array) -> Effect:
    if not len(shares):
        return Effect(names, 0.0, 0.0)
    return Effect(names, float(shares.mean()), float(shares.std()))


def _largest_first(effects: Any) -> tuple[Effect, ...]:
    return tuple(sorted(effects, key=lambda effect: (-effect.share, effect.names)))
