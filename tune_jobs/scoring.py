"""Scores a trained pipeline on rows it has not seen, next to the scores of a constant guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tune_jobs.progress import Progress
from tune_jobs.table import Table

if TYPE_CHECKING:
    import pandas as pd


def score(pipeline: Any, table: Table, rows: NDArray[np.intp], progress: Progress) -> dict[str, float]:
    """Return scores by name, on rows of the table that the pipeline has not seen."""
    judge = _of_classes if table.task == "classification" else _of_quantities
    found = judge(pipeline, table.frame.iloc[rows], table.target[rows])
    scores = {name: round(float(value), 6) for name, value in found.items()}
    shown = ", ".join(f"{name} {value:g}" for name, value in scores.items())
    progress.say(f"on {len(rows)} rows kept apart: {shown}")
    return scores


def row_counts(training: NDArray[np.intp], testing: NDArray[np.intp]) -> dict[str, float]:
    """Return the numbers of rows that a model was trained and scored on, as they are recorded with it."""
    return {"training_rows": float(len(training)), "test_rows": float(len(testing))}


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
