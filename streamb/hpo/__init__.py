"""Hyperparameter search with a Gaussian-process optimizer (ask for a trial, tell its result), on numpy and scipy only.

    optimizer = Optimizer({"C": (1e-3, 1e3, "log"), "kernel": ["rbf", "linear"]}, direction="maximize", seed=0)
    trial = optimizer.ask()
    optimizer.tell(trial.id, score)
    optimizer.best

The modules that need scipy are imported when a surrogate is first fitted: importing this package loads numpy alone.
"""

from streamb.hpo.gp.acquisition import ACQUISITIONS
from streamb.hpo.optimizer import WARMUP, Optimizer
from streamb.hpo.parameters import Categorical, Condition, Fixed, Float, Integer, Ordinal
from streamb.hpo.space import Space, SpaceExhausted
from streamb.hpo.trial import Best, Status, Trial

__all__ = [
    "ACQUISITIONS",
    "WARMUP",
    "Best",
    "Categorical",
    "Condition",
    "Fixed",
    "Float",
    "Integer",
    "Optimizer",
    "Ordinal",
    "Space",
    "SpaceExhausted",
    "Status",
    "Trial",
]
