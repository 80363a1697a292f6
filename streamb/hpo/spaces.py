"""Ready-made search spaces for the guide's models and for common scikit-learn estimators."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from streamb.errors import NotFound

# --- the kinds of model that the guide names: scikit-learn's perceptrons, and streamb's own models

_NEURAL_NETWORK: Final[dict[str, Any]] = {
    "hidden_layer_sizes": {
        "type": "ordinal",
        "values": [(16,), (32,), (64,), (100,), (64, 32), (128, 64), (256, 128)],
        "default": (100,),
    },
    "activation": {"type": "categorical", "values": ["relu", "tanh"], "default": "relu"},
    "alpha": {"type": "float", "low": 1e-6, "high": 1.0, "log": True, "default": 1e-4},
    "solver": {"type": "categorical", "values": ["adam", "sgd"], "default": "adam"},
    "learning_rate_init": {"type": "float", "low": 1e-4, "high": 0.1, "log": True, "default": 1e-3},
    "momentum": {"type": "float", "low": 0.5, "high": 0.99, "default": 0.9, "when": {"solver": "sgd"}},
    "batch_size": {"type": "categorical", "values": ["auto", 32, 64, 128], "default": "auto"},
}

_GENETIC_ALGORITHM: Final[dict[str, Any]] = {
    "population_size": {"type": "int", "low": 20, "high": 400, "log": True, "default": 100},
    "crossover_rate": {"type": "float", "low": 0.5, "high": 1.0, "default": 0.9},
    "mutation_rate": {"type": "float", "low": 1e-3, "high": 0.5, "log": True, "default": 0.1},
    "elite_share": {"type": "float", "low": 0.0, "high": 0.3, "default": 0.05},
    "selection": {"type": "categorical", "values": ["tournament", "roulette", "rank"], "default": "tournament"},
    "tournament_size": {"type": "int", "low": 2, "high": 8, "default": 3, "when": {"selection": "tournament"}},
}

_REGULATORY_PREDICTOR: Final[dict[str, Any]] = {
    "embedding_dim": {"type": "ordinal", "values": [32, 64, 128, 256, 512], "default": 256},
    "learning_rate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True, "default": 1e-3},
    "dropout": {"type": "float", "low": 0.0, "high": 0.6, "default": 0.1},
}

_ANOMALY_DETECTOR: Final[dict[str, Any]] = {
    "contamination": {"type": "float", "low": 1e-3, "high": 0.3, "log": True, "default": 0.1},
    "estimators": {"type": "int", "low": 50, "high": 500, "log": True, "default": 100},
    "max_features": {"type": "float", "low": 0.2, "high": 1.0, "default": 1.0},
}

_KINDS: Final[dict[str, dict[str, Any]]] = {
    "neural_network": _NEURAL_NETWORK,
    "genetic_algorithm": _GENETIC_ALGORITHM,
    "regulatory_predictor": _REGULATORY_PREDICTOR,
    "anomaly_detector": _ANOMALY_DETECTOR,
    "MLPClassifier": _NEURAL_NETWORK,
    "MLPRegressor": _NEURAL_NETWORK,
    "GeneticAlgorithm": _GENETIC_ALGORITHM,
    "RegulatoryPredictor": _REGULATORY_PREDICTOR,
    "AnomalyDetector": _ANOMALY_DETECTOR,
}

# --- scikit-learn's linear models

_ALPHA: Final = {"type": "float", "low": 1e-3, "high": 1e4, "log": True, "default": 1.0}
_SPARSE_ALPHA: Final = {"type": "float", "low": 1e-4, "high": 1e2, "log": True, "default": 1.0}
_WEIGHTS: Final = {"type": "categorical", "values": [None, "balanced"]}
_STRENGTH: Final = {"type": "float", "low": 1e-4, "high": 1e4, "log": True, "default": 1.0}
_SGD: Final = {
    "alpha": {"type": "float", "low": 1e-7, "high": 1e-1, "log": True, "default": 1e-4},
    "penalty": {"type": "categorical", "values": ["l2", "l1", "elasticnet"], "default": "l2"},
    "l1_ratio": {"type": "float", "low": 0.05, "high": 0.95, "default": 0.15, "when": {"penalty": "elasticnet"}},
}

_LINEAR: Final[dict[str, dict[str, Any]]] = {
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

# --- scikit-learn's support vector machines, neighbours, and other models of distances

_C: Final = {"type": "float", "low": 1e-2, "high": 1e3, "log": True, "default": 1.0}
_KERNELS: Final[dict[str, Any]] = {
    "C": _C,
    "kernel": {"type": "categorical", "values": ["rbf", "poly", "linear"], "default": "rbf"},
    # "scale" is the default and usually a good choice; numbers are for data that was scaled beforehand
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

_MARGINS: Final[dict[str, dict[str, Any]]] = {
    "SVC": {**_KERNELS, "class_weight": {"type": "categorical", "values": [None, "balanced"]}},
    "SVR": {**_KERNELS, "epsilon": _EPSILON},
    "LinearSVC": {"C": {"type": "float", "low": 1e-4, "high": 1e2, "log": True, "default": 1.0}},
    "KNeighborsClassifier": _NEIGHBORS,
    "KNeighborsRegressor": _NEIGHBORS,
    "KMeans": {"n_clusters": {"type": "int", "low": 2, "high": 20, "default": 8}},
}

# --- scikit-learn's trees, forests and boosting

# None (no limit) comes last, as the deepest
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

_TREES: Final[dict[str, dict[str, Any]]] = {
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

SPACES: Final[dict[str, dict[str, Any]]] = {**_KINDS, **_LINEAR, **_MARGINS, **_TREES}
"""Search spaces by name: the guide's kinds of model, and scikit-learn's estimators by class name."""


def search_space(kind: str) -> dict[str, Any]:
    """Return a copy of the space with this name, to use as it is or to change.

    Raises:
        NotFound: there is no space of this name; the message lists those that exist.

    >>> search_space("Ridge")
    {'alpha': {'type': 'float', 'low': 0.001, 'high': 10000.0, 'log': True, 'default': 1.0}}
    """
    if kind not in SPACES:
        raise NotFound(f"there is no search space {kind!r}; there are: {', '.join(SPACES)}")
    return copy.deepcopy(SPACES[kind])


def space_for(model: Any) -> dict[str, Any]:
    """Return the space for an estimator, or for the last step of a pipeline (with the pipeline's parameter names).

    Raises:
        NotFound: there is no space for this class.
    """
    steps = getattr(model, "steps", None)
    if not steps:
        return search_space(type(model).__name__)
    name, last = steps[-1]
    return prefixed(space_for(last), f"{name}__")


def prefixed(space: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return a space with `prefix` before all names, also in conditions: the names that a pipeline uses for a step."""
    found = {prefix + name: what for name, what in space.items()}
    for name, what in found.items():
        if isinstance(what, Mapping) and isinstance(what.get("when"), Mapping):
            found[name] = {**what, "when": {prefix + parent: values for parent, values in what["when"].items()}}
    return found
