"""How good a trained pipeline is on rows it has not seen: a few scores, and that of a constant guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tune_jobs.table import Task

if TYPE_CHECKING:
    import pandas as pd


def score(pipeline: Any, frame: pd.DataFrame, truth: NDArray[Any], task: Task) -> dict[str, float]:
    """Scores by name. `frame` has shape (rows, features), `truth` has shape (rows,)."""
    scores = _of_classes(pipeline, frame, truth) if task == "classification" else _of_quantities(pipeline, frame, truth)
    return {name: round(float(value), 6) for name, value in scores.items()}


def _of_classes(pipeline: Any, frame: pd.DataFrame, truth: NDArray[Any]) -> dict[str, float]:
    from sklearn import metrics

    guesses = pipeline.predict(frame)
    classes, counts = np.unique(truth, return_counts=True)
    scores = {
        "accuracy": metrics.accuracy_score(truth, guesses),
        "f1_macro": metrics.f1_score(truth, guesses, average="macro", zero_division=0.0),
        "baseline_accuracy": counts.max() / counts.sum(),
    }
    known = pipeline.classes_
    if {*classes.tolist()} <= {*known.tolist()} and hasattr(pipeline, "predict_proba"):
        probabilities = pipeline.predict_proba(frame)
        scores["log_loss"] = metrics.log_loss(truth, probabilities, labels=known)
        if len(classes) == len(known) == 2:
            scores["roc_auc"] = metrics.roc_auc_score(truth == known[1], probabilities[:, 1])
    return scores


def _of_quantities(pipeline: Any, frame: pd.DataFrame, truth: NDArray[Any]) -> dict[str, float]:
    from sklearn import metrics

    guesses = pipeline.predict(frame)
    return {
        "r2": metrics.r2_score(truth, guesses) if len(truth) > 1 else 0.0,
        "rmse": metrics.root_mean_squared_error(truth, guesses),
        "mae": metrics.mean_absolute_error(truth, guesses),
        "baseline_rmse": np.std(truth),
    }
