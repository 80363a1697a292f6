"""The data that all charts of a study are drawn from: its trials, the axes of its parameters, and their importance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from streamb.charts.axes import Axis, axis_around, axis_through, distinct, range_axis, show
from streamb.hpo.parameters import Ordinal
from streamb.hpo.reporting.importance import Importance, importance
from streamb.hpo.reporting.progress import shared_prefix, show_all, without_prefix
from streamb.hpo.space import Space
from streamb.hpo.study.study import Direction, Outcome, TrialResult, best_of


@dataclass(frozen=True, slots=True)
class Board:
    """The data that the charts of a study need.

    Attributes:
        objective: the name of the score.
        maximize: whether higher is better.
        trials: the trials by number. The scores of those stopped early are made comparable: the best trial's score,
            plus the mean difference from it on the folds that both have.
        axes: the axes of the parameters that vary.
        scores: the axis of the score, over the range of the scores worth seeing (`worth_seeing`).
        importance: the importance of the parameters.
        prefix: the prefix of all parameter names (`estimator__` in a pipeline), which the charts leave out.
        best_number: the number of the best trial; None while there is none.
    """

    objective: str
    maximize: bool
    trials: tuple[TrialResult, ...]
    axes: tuple[Axis, ...]
    scores: Axis
    importance: Importance
    best_number: int | None
    prefix: str = ""

    @classmethod
    def of(
        cls,
        trials: Sequence[TrialResult],
        *,
        objective: str,
        direction: Direction,
        space: Space | None = None,
        best_number: int | None = None,
        seed: int = 0,
    ) -> Self:
        """Prepare the data for the charts of a study.

        Args:
            trials: the trials in any order.
            objective: the name of the score.
            direction: "maximize" or "minimize".
            space: the search space; None to read the axes off the trials.
            best_number: the number of the best trial; None for the one with the best score.
            seed: seed of the forest.
        """
        ordered = tuple(sorted(trials, key=lambda trial: trial.number))
        maximize = direction == "maximize"
        axes = axes_of(space, [trial.parameters for trial in ordered])
        prefix = shared_prefix(name for trial in ordered for name in trial.parameters)
        axes = tuple(replace(axis, name=axis.name.removeprefix(prefix)) for axis in axes)
        ordered = tuple(replace(one, parameters=without_prefix(prefix, one.parameters)) for one in ordered)
        best = best_of(ordered, direction)
        if best_number is None and best is not None:
            best_number = best.number
        ordered = _comparable(ordered, best_number)
        found = importance(axes, ordered, maximize=maximize, seed=seed)
        seen = worth_seeing([trial.score for trial in scored(ordered) if trial.score is not None], maximize=maximize)
        return cls(objective, maximize, ordered, axes, axis_around(objective, seen), found, best_number, prefix)

    @property
    def best(self) -> TrialResult | None:
        """The best trial; None while there is none."""
        return next((trial for trial in self.trials if trial.number == self.best_number), None)

    def running_best(self) -> list[tuple[int, float]]:
        """Return the number and score of each completed trial that was better than all earlier ones."""
        found: list[tuple[int, float]] = []
        for trial in self.trials:
            score = trial.score or 0.0
            if not trial.complete:
                continue
            if not found or (score > found[-1][1] if self.maximize else score < found[-1][1]):
                found.append((trial.number, score))
        return found

    def goodness(self, score: float) -> float:
        """Return how good a score is: 0 for the worst score worth seeing, 1 for the best."""
        position = self.scores.within(score)
        return position if self.maximize else 1.0 - position

    def by_importance(self) -> tuple[Axis, ...]:
        """Return the axes, the most important parameters first."""
        order = {effect.names[0]: place for place, effect in enumerate(self.importance.alone)}
        return tuple(sorted(self.axes, key=lambda axis: order.get(axis.name, len(order))))


def axes_of(space: Space | None, tried: Sequence[Mapping[str, Any]]) -> tuple[Axis, ...]:
    """Return the axes of the parameters that vary, in the order of the space, wide enough for every value tried.

    Args:
        space: the search space; None (if only a file of trials exists) to read the axes off the values.
        tried: the parameters of the trials.
    """
    if space is not None:
        return tuple(_axis(p, [one[p.name] for one in tried if p.name in one]) for p in space.searched)
    names = dict.fromkeys(name for parameters in tried for name in parameters)
    found = (axis_through(name, [parameters[name] for parameters in tried if name in parameters]) for name in names)
    return tuple(axis for axis in found if axis is not None)


def _axis(parameter: Any, tried: Sequence[Any]) -> Axis:
    if isinstance(parameter, Ordinal):
        return Axis(parameter.name, distinct(tried, first=parameter.values))
    return range_axis(parameter.name, parameter.low, parameter.high, tried, log=parameter.log)


def _comparable(trials: tuple[TrialResult, ...], best_number: int | None) -> tuple[TrialResult, ...]:
    """Make scores of stopped trials comparable: a mean over the first folds would compare easy folds with hard ones."""
    best = next((trial for trial in trials if trial.number == best_number), None)
    if best is None or best.score is None:
        return trials
    found = []
    for trial in trials:
        told = trial.fold_scores
        if trial.status is Outcome.PRUNED and told and len(told) <= len(best.fold_scores):
            gaps = [one - other for one, other in zip(told, best.fold_scores, strict=False)]
            trial = replace(trial, score=best.score + math.fsum(gaps) / len(gaps))
        found.append(trial)
    return tuple(found)


def scored(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Return the trials that have a score, including those stopped early."""
    return [trial for trial in trials if trial.score is not None and math.isfinite(trial.score)]


def tooltip(trial: TrialResult, objective: str) -> str:
    """Return the tooltip text of a trial's mark."""
    score = trial.error.splitlines()[0] if trial.score is None and trial.error else show(trial.score)
    ended = "" if trial.status is Outcome.COMPLETED else f" ({trial.status.value})"
    return f"trial {trial.number}{ended}\n{objective} {score}\n{show_all(trial.parameters)}"


def worth_seeing(scores: Sequence[float], *, maximize: bool) -> list[float]:
    """Return the scores without extremely bad ones, which would compress all others into one line.

    >>> worth_seeing([1.0, 2.0, 3.0, 4.0, 1e9], maximize=False)
    [1.0, 2.0, 3.0, 4.0]
    """
    ordered = sorted(scores)
    if len(ordered) < 4:
        return ordered
    low, high = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    reach = 3.0 * (high - low)
    if reach == 0.0:
        return ordered
    return [one for one in ordered if (one >= low - reach if maximize else one <= high + reach)]
