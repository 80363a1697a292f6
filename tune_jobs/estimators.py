"""scikit-learn's estimators for tables, by the names that both jobs use."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from tune_jobs.arguments import WrongArgument
from tune_jobs.table import Task

MODELS: Final[Mapping[str, tuple[str | None, str | None]]] = {
    "random_forest": ("sklearn.ensemble:RandomForestClassifier", "sklearn.ensemble:RandomForestRegressor"),
    "extra_trees": ("sklearn.ensemble:ExtraTreesClassifier", "sklearn.ensemble:ExtraTreesRegressor"),
    "gradient_boosting": (
        "sklearn.ensemble:HistGradientBoostingClassifier",
        "sklearn.ensemble:HistGradientBoostingRegressor",
    ),
    "logistic": ("sklearn.linear_model:LogisticRegression", None),
    "ridge": (None, "sklearn.linear_model:Ridge"),
    "elastic_net": (None, "sklearn.linear_model:ElasticNet"),
    "svm": ("sklearn.svm:SVC", "sklearn.svm:SVR"),
    "neighbors": ("sklearn.neighbors:KNeighborsClassifier", "sklearn.neighbors:KNeighborsRegressor"),
    "mlp": ("sklearn.neural_network:MLPClassifier", "sklearn.neural_network:MLPRegressor"),
}
"""For each name, the estimators for classification and for regression."""

READS_SPARSE: Final = frozenset(
    {"random_forest", "extra_trees", "logistic", "ridge", "elastic_net", "svm", "neighbors"}
)
"""The estimators that accept sparse matrices."""


def estimator_named(name: str, task: Task, *, option: str) -> Any:
    """Return a new estimator by its name.

    Raises:
        WrongArgument: there is no estimator of this name, or it is not for this task; the message names `--option`.
    """
    if name not in MODELS:
        own = ", or package.module:Name of your own" if option == "model" else ""
        raise WrongArgument.of(option, name, f"no such model; there are {', '.join(MODELS)}{own}")
    place = 0 if task == "classification" else 1
    path = MODELS[name][place]
    if path is None:
        allowed = ", ".join(other for other, paths in MODELS.items() if paths[place])
        raise WrongArgument.of(option, name, f"not for {task}; allowed: {allowed}")
    return imported(path, name, option=option)()


def imported(path: str, name: str, *, option: str) -> Any:
    """Import the object named `package.module:Name`.

    Raises:
        WrongArgument: it cannot be imported; the message names `--option`.
    """
    module, _, inner = path.partition(":")
    try:
        return getattr(importlib.import_module(module), inner)
    except (ImportError, AttributeError, ValueError) as error:
        raise WrongArgument.of(option, name, f"it cannot be imported: {error}") from error
