"""The work that every server of the benchmark does: one scikit-learn pipeline, its rows, its right answers."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FEATURES = 30
DIFFERENT_ROWS = 64


@cache
def pipeline() -> Pipeline:
    """StandardScaler + LogisticRegression fitted on scikit-learn's breast cancer set: the same in every process."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = load_breast_cancer(return_X_y=True)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000)).fit(features, labels)


def rows() -> list[list[float]]:
    """Rows of both classes, each with `FEATURES` numbers, that the requests take in turns."""
    from sklearn.datasets import load_breast_cancer

    features, _ = load_breast_cancer(return_X_y=True)
    return features[:: len(features) // DIFFERENT_ROWS][:DIFFERENT_ROWS].tolist()


def answer(instances: list[list[float]]) -> dict[str, Any]:
    """What a server answers to rows: their classes, by one call of the pipeline."""
    return {"predictions": pipeline().predict(np.asarray(instances, dtype=np.float64)).tolist()}
