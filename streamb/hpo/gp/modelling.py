"""Computes the next trial from the trials so far: pure, so the same trials and seed give the same suggestion.

Notation: values are negated where more is better, so that less is better, then warped (`warping`) to lie around 0.

1. The hyperparameters are fitted to the finished trials, starting from the last fit; with many trials, to a subset.
2. Running trials are added with their expected values, which keeps the next suggestion away from them. Failed trials
   are added with a bad value and some noise: the best point often lies at the edge of what still works, and a sharp
   drop beside a good trial would distort the surrogate on its other side.
3. The incumbent is the lowest mean at a finished, feasible trial (its value, where there is no noise).
4. The acquisition is maximized (`proposal`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final

import numpy as np

from streamb.hpo.gp.acquisition import Acquisition
from streamb.hpo.gp.likelihood import LEAST_NOISE, Evidence, starting_point
from streamb.hpo.gp.objective import Promise
from streamb.hpo.gp.proposal import propose
from streamb.hpo.gp.surrogate import Surrogate, condition, fit
from streamb.hpo.gp.warping import Warping, fit_warping
from streamb.hpo.parameters import Array
from streamb.hpo.space import Space
from streamb.hpo.trial import Status, Trial

_MOST_TRIALS: Final = 500
_MOST_FITTED: Final = 200
_BAD: Final = 0.75
_BAD_NOISE: Final = 0.01
_LOCAL_BASES: Final = 5


@dataclass(frozen=True, slots=True)
class Lesson:
    """The surrogate of the objective, learned from the finished trials.

    Attributes:
        surrogate: conditioned on the finished trials only.
        warping: maps the user's values (negated for maximization) to the surrogate's.
        trials: those that the surrogate is conditioned on, in the order of its rows.
        means: the surrogate's mean at each of these trials (their values, if there is no noise).
        theta: the fitted hyperparameters, from which the next fit starts.
    """

    surrogate: Surrogate
    warping: Warping
    trials: tuple[Trial, ...]
    means: Array
    theta: Array


def learn(
    space: Space, trials: Sequence[Trial], theta: Array | None, *, maximize: bool, deterministic: bool, refit: bool
) -> Lesson | None:
    """Fit the surrogate of the objective. Return None while no trial has finished inside the space.

    Args:
        space: what is searched.
        trials: all of them, in the order of asking.
        theta: hyperparameters of an earlier fit, to begin with; None without any.
        maximize: whether more is better.
        deterministic: whether the objective has the same value whenever it is evaluated at the same point.
        refit: whether to fit the hyperparameters again, instead of taking `theta`.
    """
    known = [t for t in trials if t.status is Status.COMPLETE and t.row is not None and t.value is not None]
    if not known:
        return None
    turned = np.array([-float(t.value or 0.0) if maximize else float(t.value or 0.0) for t in known])
    kept = _kept(turned)
    known, turned = [known[i] for i in kept], turned[kept]
    warping = fit_warping(turned)
    variances = np.array([t.variance or 0.0 for t in known])
    evidence = Evidence(
        rows=np.array([t.row for t in known]),
        values=warping.apply(turned),
        known=variances * warping.slope(turned) ** 2,
        categorical=space.categorical,
        noisy=not deterministic,
    )
    if theta is None or refit or len(theta) != len(starting_point(evidence)):
        theta = fit(_part(evidence), [] if theta is None else [theta])
    surrogate = condition(evidence, theta)
    means = evidence.values if deterministic else surrogate.predict(evidence.rows)[0]
    return Lesson(surrogate, warping, tuple(known), means, theta)


def _kept(turned: Array) -> list[int]:
    """The trials to keep when there are too many: half of the limit for the best, the rest for the latest."""
    if len(turned) <= _MOST_TRIALS:
        return list(range(len(turned)))
    half = _MOST_TRIALS // 2
    recent = set(range(len(turned) - half, len(turned)))
    best = [int(i) for i in np.argsort(turned, kind="stable") if int(i) not in recent][:half]
    return sorted({*best, *recent})


def _part(evidence: Evidence) -> Evidence:
    """The trials that hyperparameters are fitted to: all, or the better ones and every k-th of the remaining ones."""
    n = len(evidence.values)
    if n <= _MOST_FITTED:
        return evidence
    order = np.argsort(evidence.values, kind="stable")
    better, others = order[: _MOST_FITTED // 2], order[_MOST_FITTED // 2 :]
    spaced = others[np.linspace(0, len(others) - 1, _MOST_FITTED - len(better)).astype(int)]
    chosen = np.sort(np.concatenate([better, spaced]))
    return Evidence(
        evidence.rows[chosen], evidence.values[chosen], evidence.known[chosen], evidence.categorical, evidence.noisy
    )


def suggest(
    space: Space,
    trials: Sequence[Trial],
    taken: Set[object],
    acquisition: Acquisition,
    lesson: Lesson,
    rng: np.random.Generator,
) -> Array:
    """Return the row of the next trial, whose key is not in `taken`.

    Raises:
        SpaceExhausted: every point of a finite space has been tried.
    """
    feasible = np.array([t.feasible for t in lesson.trials])
    best = float(lesson.means[feasible].min()) if feasible.any() else None
    surrogate, expected = _with_unknown(lesson, trials)
    if best is not None:  # reaching what a running trial is expected to reach is no longer an improvement
        best = min(best, expected)
    promise = Promise(surrogate, acquisition, best, _constraints(space, lesson))
    order = np.argsort(np.where(feasible, lesson.means, lesson.means + 1e3), kind="stable")[:_LOCAL_BASES]
    return propose(space, promise, lesson.surrogate.rows[order], taken, rng)


def _with_unknown(lesson: Lesson, trials: Sequence[Trial]) -> tuple[Surrogate, float]:
    """The surrogate with failed and running trials added, and the lowest value expected of a running one."""
    lowest = math.inf
    surrogate, bad = lesson.surrogate, float(np.quantile(lesson.surrogate.values, _BAD))
    for trial in trials:
        if trial.status is Status.COMPLETE or trial.row is None:
            continue
        row = np.array(trial.row)
        expected = float(surrogate.predict(row[None, :])[0][0])
        failed = trial.status is Status.FAILED
        value = max(expected, bad) if failed else expected
        lowest = lowest if failed else min(lowest, expected)
        surrogate = surrogate.with_point(row, value, _BAD_NOISE if failed else LEAST_NOISE)
    return surrogate, lowest


def _constraints(space: Space, lesson: Lesson) -> tuple[tuple[Surrogate, float], ...]:
    """Fit a surrogate for each constraint that any trial reported; its limit is 0 in the user's units."""
    known = [t for t in lesson.trials if t.constraints]
    names = sorted({name for t in known for name in t.constraints or {}})
    found = []
    for name in names:
        told = [t for t in known if name in (t.constraints or {})]
        values = np.array([(t.constraints or {})[name] for t in told])
        warping = fit_warping(values, bend=False)
        rows = np.array([t.row for t in told])
        evidence = Evidence(rows, warping.apply(values), np.zeros(len(told)), space.categorical, noisy=False)
        surrogate = condition(evidence, fit(_part(evidence), []))
        found.append((surrogate, float(warping.apply(np.zeros(1))[0])))
    return tuple(found)
