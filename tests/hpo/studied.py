"""Studies to report: made of numbers, so that what a report must say is known."""

from __future__ import annotations

import math

import numpy as np

from streamb.hpo import Space
from streamb.hpo.study.study import (
    Improvement,
    OptimizationResult,
    Outcome,
    Rescore,
    StoppedBy,
    StudyView,
    TrialResult,
)

SPACE = Space.of(
    {
        "C": (1e-3, 1e3, "log"),
        "kernel": ["rbf", "poly", "linear"],
        "degree": {"type": "int", "low": 1, "high": 5, "when": {"kernel": "poly"}},
        "size": {"type": "ordinal", "values": [16, 64, 256]},
    }
)


def trials(count: int = 40, seed: int = 0) -> list[TrialResult]:
    """Scores that follow from `C` above all; trial 5 failed, trial 7 was stopped after one of three folds."""
    rng = np.random.default_rng(seed)
    made = []
    for number, row in enumerate(SPACE.sample(rng, count)):
        parameters = SPACE.decode(row)
        score = 0.9 - 0.03 * math.log10(parameters["C"]) ** 2 - (0.01 if parameters["kernel"] == "poly" else 0.0)
        status, folds = Outcome.COMPLETED, (score - 0.01, score, score + 0.01)
        if number == 5:
            status, folds = Outcome.FAILED, ()
        elif number == 7:
            status, folds = Outcome.PRUNED, (score - 0.01,)
        mean = math.fsum(folds) / len(folds) if folds else None
        error = "ValueError: <script>alert('C & kernel')</script>" if status is Outcome.FAILED else ""
        made.append(TrialResult(number, parameters, mean, folds, status, 0.25, 0.25 * number, error, "here:1"))
    return made


def result(count: int = 40) -> OptimizationResult:
    made = trials(count)
    best = max((trial for trial in made if trial.status is Outcome.COMPLETED), key=lambda trial: trial.score or 0.0)
    assert best.score is not None
    return OptimizationResult(
        best_parameters=best.parameters,
        best_score=best.score,
        improvements=Improvement.of(best.score, made[0].score, "maximize"),
        rescored=Rescore.of(best.score, [0.87, 0.89], "maximize"),
        trials=tuple(made),
        direction="maximize",
        objective="accuracy",
        stopped_by=StoppedBy.TRIALS,
        seconds=12.5,
        seed=3,
        best_number=best.number,
    )


def view(finished: tuple[TrialResult, ...] = (), n_trials: int = 40) -> StudyView:
    return StudyView(
        name="svc on digits",
        objective="accuracy",
        direction="maximize",
        parameters=SPACE.names,
        n_trials=n_trials,
        folds=3,
        deadline_s=600.0,
        workers=2,
        executor="processes",
        seed=3,
        finished=finished,
    )
