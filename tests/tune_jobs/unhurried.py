"""A model that takes its time, so that a search can be met in the midst of its trials."""

from __future__ import annotations

import time

from sklearn.tree import DecisionTreeClassifier

FIT_S = 0.05


class Unhurried(DecisionTreeClassifier):
    def fit(self, X, y):
        time.sleep(FIT_S)
        return super().fit(X, y)
