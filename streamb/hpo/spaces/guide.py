"""The kinds of model that the guide names.

A neural network is scikit-learn's `MLPClassifier` or `MLPRegressor`; the others are streamb's own models.
"""

from __future__ import annotations

from typing import Any, Final

NEURAL_NETWORK: Final[dict[str, Any]] = {
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

GENETIC_ALGORITHM: Final[dict[str, Any]] = {
    "population_size": {"type": "int", "low": 20, "high": 400, "log": True, "default": 100},
    "crossover_rate": {"type": "float", "low": 0.5, "high": 1.0, "default": 0.9},
    "mutation_rate": {"type": "float", "low": 1e-3, "high": 0.5, "log": True, "default": 0.1},
    "elite_share": {"type": "float", "low": 0.0, "high": 0.3, "default": 0.05},
    "selection": {"type": "categorical", "values": ["tournament", "roulette", "rank"], "default": "tournament"},
    "tournament_size": {"type": "int", "low": 2, "high": 8, "default": 3, "when": {"selection": "tournament"}},
}

REGULATORY_PREDICTOR: Final[dict[str, Any]] = {
    "embedding_dim": {"type": "ordinal", "values": [32, 64, 128, 256, 512], "default": 256},
    "learning_rate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True, "default": 1e-3},
    "dropout": {"type": "float", "low": 0.0, "high": 0.6, "default": 0.1},
}

ANOMALY_DETECTOR: Final[dict[str, Any]] = {
    "contamination": {"type": "float", "low": 1e-3, "high": 0.3, "log": True, "default": 0.1},
    "estimators": {"type": "int", "low": 50, "high": 500, "log": True, "default": 100},
    "max_features": {"type": "float", "low": 0.2, "high": 1.0, "default": 1.0},
}

SPACES: Final[dict[str, dict[str, Any]]] = {
    "neural_network": NEURAL_NETWORK,
    "genetic_algorithm": GENETIC_ALGORITHM,
    "regulatory_predictor": REGULATORY_PREDICTOR,
    "anomaly_detector": ANOMALY_DETECTOR,
    "MLPClassifier": NEURAL_NETWORK,
    "MLPRegressor": NEURAL_NETWORK,
    "GeneticAlgorithm": GENETIC_ALGORITHM,
    "RegulatoryPredictor": REGULATORY_PREDICTOR,
    "AnomalyDetector": ANOMALY_DETECTOR,
}
