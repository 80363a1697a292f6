"""scikit-learn pipelines for tables: columns prepared by their kind, then an estimator from the list.

Only scikit-learn's own classes are used, so that registered models carry no code of ours. Columns that had gaps get
a step that fills them; for other columns the schema refuses missing values anyway.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streamb.hpo.study.training import random_parameters
from streamb.models import FeatureKind
from tune_jobs.arguments import WrongArgument
from tune_jobs.estimators import READS_SPARSE, estimator_named
from tune_jobs.table import Table, Task

NUMERIC: Final = (FeatureKind.NUMBER, FeatureKind.INTEGER, FeatureKind.BOOLEAN)
AUTO: Final = "auto"
_MISSING: Final = "(missing)"
_MOST_CATEGORIES: Final = 100
_RAREST_CATEGORY: Final = 2
_MOST_WORDS: Final = 20_000
_MOST_WORDS_DENSE: Final = 1_000


_DEFAULT: Final[Mapping[Task, str]] = {"classification": "logistic", "regression": "ridge"}
_BEGINS_WITH: Final[Mapping[str, Mapping[str, Any]]] = {
    "logistic": {"max_iter": 1_000},
    "forest": {"n_estimators": 200},
}
"""The training job's changes to scikit-learn's defaults."""


def choose(name: str, task: Task) -> str:
    """Return the name of the estimator for a task; `auto` means the linear one."""
    return _DEFAULT[task] if name == AUTO else name


def parse_params(texts: Sequence[str]) -> dict[str, Any]:
    """Parse texts like `["C=0.5", "penalty=l2"]` as parameters: each value is JSON where possible, else a string.

    >>> parse_params(["C=0.5", "solver=saga", "fit_intercept=false"])
    {'C': 0.5, 'solver': 'saga', 'fit_intercept': False}
    """
    params: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise WrongArgument.of("param", text, "write NAME=VALUE, as C=0.5")
        try:
            params[name] = json.loads(value)
        except json.JSONDecodeError:
            params[name] = value
    return params


def build_pipeline(table: Table, estimator: str, params: Mapping[str, Any], seed: int) -> Any:
    """Return an unfitted pipeline for a table.

    Raises:
        WrongArgument: the estimator is for another task, or has no such parameter.
    """
    from sklearn.pipeline import Pipeline

    name = "random_forest" if estimator == "forest" else estimator
    made = estimator_named(name, table.task, option="estimator")
    made.set_params(**_BEGINS_WITH.get(estimator, {}), **random_parameters(made, seed))
    unknown = sorted(params.keys() - made.get_params().keys())
    if unknown:
        allowed = ", ".join(sorted(made.get_params()))
        raise WrongArgument.of("param", unknown[0], f"{type(made).__name__} has no such parameter; it has {allowed}")
    return Pipeline(
        [("columns", prepared_columns(table, dense=name not in READS_SPARSE)), ("estimator", made.set_params(**params))]
    )


def effective_params(pipeline: Any) -> dict[str, Any]:
    """Return the parameters of the final estimator as JSON values, without those that scikit-learn has deprecated."""
    params = pipeline[-1].get_params().items()
    plain: dict[str, Any] = json.loads(json.dumps(dict(params), default=str))
    return {name: value for name, value in plain.items() if value not in ("deprecated", "warn")}


def prepared_columns(table: Table, *, dense: bool) -> Any:
    """Return a pipeline's first step, which prepares each column by its kind; `dense` gives no sparse matrices."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def encoder() -> Any:
        return OneHotEncoder(
            handle_unknown="infrequent_if_exist", max_categories=_MOST_CATEGORIES, min_frequency=_RAREST_CATEGORY
        )

    parts: list[tuple[str, Any, list[str]]] = [
        ("numbers", StandardScaler(), table.columns(*NUMERIC, optional=False)),
        ("numbers_with_gaps", make_pipeline(_median(), StandardScaler()), table.columns(*NUMERIC, optional=True)),
        ("categories", encoder(), table.columns(FeatureKind.CATEGORY, optional=False)),
        (
            "categories_with_gaps",
            make_pipeline(*_named_missing(), encoder()),
            table.columns(FeatureKind.CATEGORY, optional=True),
        ),
    ]
    most_words = _MOST_WORDS_DENSE if dense else _MOST_WORDS
    texts = [
        (f"text_{name}", TfidfVectorizer(max_features=most_words, sublinear_tf=True), name)  # one column, by its name
        for name in table.columns(FeatureKind.TEXT)
    ]
    used = [part for part in parts if part[2]]
    return ColumnTransformer([*used, *texts], sparse_threshold=0.0 if dense else 0.3)


def _median() -> Any:
    from sklearn.impute import SimpleImputer

    return SimpleImputer(strategy="median", add_indicator=True)


def _named_missing() -> list[Any]:
    """A step that makes missing values a category of their own, whether pandas has them as NaN or as None."""
    from sklearn.impute import SimpleImputer

    return [
        SimpleImputer(strategy="constant", fill_value=_MISSING),
        SimpleImputer(strategy="constant", fill_value=_MISSING, missing_values=None),
    ]
