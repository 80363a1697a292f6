"""Packed artifacts to upload."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamb.models import Model, pack, save_artifact


class Doubler:
    """A user's own class: its artifact carries code."""

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        return np.asarray(X)[:, 0] * 2


def packed(model: object, folder: Path) -> Path:
    archive = folder / "model.zip"
    save_artifact(Model.wrap(model), folder / "artifact")
    pack(folder / "artifact", archive)
    return archive


def sklearn_archive(folder: Path, c: float = 1.0) -> Path:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    return packed(LogisticRegression(C=c).fit(X, (X[:, 0] > 0).astype(int)), folder)
