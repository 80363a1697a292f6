"""scikit-learn's linear models."""

from __future__ import annotations

from typing import Any, Final

_ALPHA: Final = {"type": "float", "low": 1e-3, "high": 1e4, "log": True, "default": 1.0}
_SPARSE_ALPHA: Final = {"type": "float", "low": 1e-4, "high": 1e2, "log": True, "default": 1.0}
_WEIGHTS: Final = {"type": "categorical", "values": [None, "balanced"]}
_STRENGTH: Final = {"type": "float", "low": 1e-4, "high": 1e4, "log": True, "default": 1.0}
_SGD: Final = {
    "alpha": {"type": "float", "low": 1e-7, "high": 1e-1, "log": True, "default": 1e-4},
    "penalty": {"type": "categorical", "values": ["l2", "l1", "elasticnet"], "default": "l2"},
    "l1_ratio": {"type": "float", "low": 0.05, "high": 0.95, "default": 0.15, "when": {"penalty": "elasticnet"}},
}

SPACES: Final[dict[str, dict[str, Any]]] = {
    "LogisticRegression": {"C": _STRENGTH, "class_weight": _WEIGHTS},
    "RidgeClassifier": {"alpha": _ALPHA, "class_weight": _WEIGHTS},
    "Ridge": {"alpha": _ALPHA},
    "Lasso": {"alpha": _SPARSE_ALPHA},
    "ElasticNet": {
        "alpha": _SPARSE_ALPHA,
        "l1_ratio": {"type": "float", "low": 0.0, "high": 1.0, "default": 0.5},
    },
    "SGDClassifier": {
        "loss": {"type": "categorical", "values": ["hinge", "log_loss", "modified_huber"], "default": "hinge"},
        **_SGD,
    },
    "SGDRegressor": {
        "loss": {"type": "categorical", "values": ["squared_error", "huber"], "default": "squared_error"},
        **_SGD,
    },
    "GaussianNB": {"var_smoothing": {"type": "float", "low": 1e-12, "high": 1.0, "log": True, "default": 1e-9}},
}
