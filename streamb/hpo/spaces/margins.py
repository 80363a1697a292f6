"""scikit-learn's support vector machines, neighbours, and other models of distances."""

from __future__ import annotations

from typing import Any, Final

_C: Final = {"type": "float", "low": 1e-2, "high": 1e3, "log": True, "default": 1.0}
_KERNELS: Final[dict[str, Any]] = {
    "C": _C,
    "kernel": {"type": "categorical", "values": ["rbf", "poly", "linear"], "default": "rbf"},
    # "scale" is the default and usually a good one; numbers are for data that was scaled by its owner
    "gamma": {
        "type": "ordinal",
        "values": [1e-4, 1e-3, 1e-2, "scale", 0.1, 1.0],
        "default": "scale",
        "when": {"kernel": ["rbf", "poly"]},
    },
    "degree": {"type": "int", "low": 2, "high": 4, "default": 3, "when": {"kernel": "poly"}},
    "coef0": {"type": "float", "low": 0.0, "high": 2.0, "default": 0.0, "when": {"kernel": "poly"}},
}
_EPSILON: Final = {"type": "float", "low": 1e-3, "high": 1.0, "log": True, "default": 0.1}
_NEIGHBORS: Final[dict[str, Any]] = {
    "n_neighbors": {"type": "int", "low": 1, "high": 30, "log": True, "default": 5},
    "weights": {"type": "categorical", "values": ["uniform", "distance"], "default": "uniform"},
    "p": {"type": "ordinal", "values": [1, 2], "default": 2},
}

SPACES: Final[dict[str, dict[str, Any]]] = {
    "SVC": {**_KERNELS, "class_weight": {"type": "categorical", "values": [None, "balanced"]}},
    "SVR": {**_KERNELS, "epsilon": _EPSILON},
    "LinearSVC": {"C": {"type": "float", "low": 1e-4, "high": 1e2, "log": True, "default": 1.0}},
    "KNeighborsClassifier": _NEIGHBORS,
    "KNeighborsRegressor": _NEIGHBORS,
    "KMeans": {"n_clusters": {"type": "int", "low": 2, "high": 20, "default": 8}},
}
