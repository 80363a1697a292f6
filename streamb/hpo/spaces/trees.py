"""scikit-learn's trees, forests and boosting."""

from __future__ import annotations

from typing import Any, Final

# no limit is the deepest of all
_DEPTH: Final = {"type": "ordinal", "values": [2, 4, 6, 8, 12, 16, 24, None]}
_LEAF: Final = {"type": "int", "low": 1, "high": 30, "log": True, "default": 1}
_SHARES: Final = [0.2, 0.35, 0.5, 0.7, 1.0]
_CLASS_CRITERION: Final = {"type": "categorical", "values": ["gini", "entropy"], "default": "gini"}
_FOREST: Final[dict[str, Any]] = {
    "n_estimators": {"type": "int", "low": 30, "high": 400, "log": True, "default": 100},
    "max_depth": _DEPTH,
    "min_samples_leaf": _LEAF,
    "max_features": {"type": "categorical", "values": ["sqrt", *_SHARES], "default": "sqrt"},
}
_FOREST_OF_NUMBERS: Final = {
    **_FOREST,
    "max_features": {"type": "categorical", "values": ["sqrt", *_SHARES], "default": 1.0},
}
_RATE: Final = {"type": "float", "low": 0.01, "high": 0.5, "log": True, "default": 0.1}
_BOOSTING: Final[dict[str, Any]] = {
    "learning_rate": _RATE,
    "n_estimators": {"type": "int", "low": 30, "high": 400, "log": True, "default": 100},
    "max_depth": {"type": "int", "low": 1, "high": 8, "default": 3},
    "min_samples_leaf": _LEAF,
    "subsample": {"type": "float", "low": 0.4, "high": 1.0, "default": 1.0},
}
_HISTOGRAMS: Final[dict[str, Any]] = {
    "learning_rate": _RATE,
    "max_iter": {"type": "int", "low": 30, "high": 500, "log": True, "default": 100},
    "max_leaf_nodes": {"type": "int", "low": 4, "high": 127, "log": True, "default": 31},
    "min_samples_leaf": {"type": "int", "low": 2, "high": 100, "log": True, "default": 20},
    "l2_regularization": {"type": "ordinal", "values": [0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0], "default": 0.0},
}

SPACES: Final[dict[str, dict[str, Any]]] = {
    "DecisionTreeClassifier": {"max_depth": _DEPTH, "min_samples_leaf": _LEAF, "criterion": _CLASS_CRITERION},
    "DecisionTreeRegressor": {"max_depth": _DEPTH, "min_samples_leaf": _LEAF},
    "RandomForestClassifier": {**_FOREST, "criterion": _CLASS_CRITERION},
    "RandomForestRegressor": _FOREST_OF_NUMBERS,
    "ExtraTreesClassifier": {**_FOREST, "criterion": _CLASS_CRITERION},
    "ExtraTreesRegressor": _FOREST_OF_NUMBERS,
    "GradientBoostingClassifier": _BOOSTING,
    "GradientBoostingRegressor": _BOOSTING,
    "HistGradientBoostingClassifier": _HISTOGRAMS,
    "HistGradientBoostingRegressor": _HISTOGRAMS,
    "AdaBoostClassifier": {
        "n_estimators": {"type": "int", "low": 20, "high": 300, "log": True, "default": 50},
        "learning_rate": {"type": "float", "low": 0.01, "high": 2.0, "log": True, "default": 1.0},
    },
    "IsolationForest": {
        "n_estimators": {"type": "int", "low": 50, "high": 400, "log": True, "default": 100},
        "max_samples": {"type": "categorical", "values": ["auto", 0.25, 0.5, 1.0], "default": "auto"},
        "max_features": {"type": "float", "low": 0.2, "high": 1.0, "default": 1.0},
    },
}
