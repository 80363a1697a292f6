"""XGBoost, LightGBM, CatBoost, skorch, statsmodels and transformers. Each is imported when its models are made."""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from tests.models.test_library_models import tiny_pipeline
from tests.zoo.entry import CATEGORIES, FLOATS, NUMBER, TABLE, THREE, YES, Entry, Refused, X, by_chances

_QUIET = {"iterations": 6, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
_EXOG = np.column_stack([np.ones(len(X)), X[:, :2]])
_FRAME = pd.DataFrame(_EXOG, columns=["const", "a", "b"])
_CITIES = TABLE[["rooms", "city"]]
_GAPS = np.where(np.abs(X) > 1.5, np.nan, X)
_FILM = ["a good film", "bad", "a film"]


def _xgboost(name: str, make: Any, rows: Any = X, **options: Any) -> Entry:
    return Entry(f"xgboost {name}", lambda: make(import_module("xgboost")), rows, needs="xgboost", **options)


def _lightgbm(name: str, make: Any, rows: Any = X, **options: Any) -> Entry:
    return Entry(f"lightgbm {name}", lambda: make(import_module("lightgbm")), rows, needs="lightgbm", **options)


def _catboost(name: str, kind: str, target: Any, rows: Any = X, settings: Any = None, **options: Any) -> Entry:
    def make() -> Any:
        catboost, given = import_module("catboost"), {**_QUIET, **(settings or {})}
        made = catboost.CatBoost(given) if kind == "CatBoost" else getattr(catboost, kind)(**given)
        return made.fit(rows, target)

    return Entry(
        f"catboost {name}", make, rows, lambda made, given: _flat(made.predict(given)), needs="catboost", **options
    )


def _statsmodels(name: str, make: Any, rows: Any = _EXOG) -> Entry:
    return Entry(
        f"statsmodels {name}",
        lambda: make(import_module("statsmodels.api")),
        rows,
        lambda made, given: np.asarray(made.predict(given)),
        needs="statsmodels",
    )


def _skorch(name: str, make: Any, target: Any, chances: Any = None) -> Entry:
    def fitted() -> Any:
        torch.manual_seed(0)
        net = make(import_module("skorch"))
        return net.set_params(max_epochs=2, verbose=0).fit(FLOATS, target)

    return Entry(
        f"skorch {name}", fitted, FLOATS, lambda made, given: _flat(made.predict(given)), chances, "skorch", exact=False
    )  # it computes probabilities in float32


def _transformers(name: str, answer: Any, *arguments: Any, chances: Any = None) -> Entry:
    def make() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return tiny_pipeline(Path(folder), *arguments)

    texts = [f"{text} [MASK]" for text in _FILM] if "fill-mask" in arguments else _FILM
    return Entry(f"transformers {name}", make, texts, answer, chances, "transformers")


def _flat(found: Any) -> Any:
    return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found


def _best(made: Any, texts: Any) -> Any:
    return np.array([one["label"] for one in made(texts)])


def _scores(made: Any, texts: Any) -> Any:
    labels = made.model.config.id2label.values()
    rows = [{one["label"]: one["score"] for one in row} for row in made(texts, top_k=None)]
    return np.array([[row[label] for label in labels] for row in rows])


def _by_matrix(made: Any, rows: Any) -> Any:
    xgboost = import_module("xgboost")
    return made.predict(xgboost.DMatrix(rows, enable_categorical=isinstance(rows, pd.DataFrame)))


ENTRIES = [
    _xgboost("XGBClassifier", lambda lib: lib.XGBClassifier(n_estimators=5).fit(X, YES), chances=by_chances),
    _xgboost(
        "XGBClassifier with categories",
        lambda lib: lib.XGBClassifier(n_estimators=5, enable_categorical=True).fit(CATEGORIES, YES),
        CATEGORIES,
        chances=by_chances,
    ),
    _xgboost("XGBRegressor with gaps", lambda lib: lib.XGBRegressor(n_estimators=5).fit(_GAPS, NUMBER), _GAPS),
    _xgboost("XGBRanker", lambda lib: lib.XGBRanker(n_estimators=5).fit(X, YES, qid=np.repeat([0, 1, 2], 20))),
    _xgboost(
        "in a pipeline",
        lambda lib: make_pipeline(StandardScaler(), lib.XGBClassifier(n_estimators=5)).fit(X, YES),
        chances=by_chances,
    ),
    _xgboost("Booster", lambda lib: lib.train({}, lib.DMatrix(X, NUMBER), 5), answer=_by_matrix),
    _xgboost(
        "Booster of three classes",
        lambda lib: lib.train({"objective": "multi:softprob", "num_class": 3}, lib.DMatrix(X, np.arange(60) % 3), 5),
        answer=_by_matrix,
    ),
    _xgboost(
        "Booster with categories",
        lambda lib: lib.train({}, lib.DMatrix(CATEGORIES, NUMBER, enable_categorical=True), 5),
        CATEGORIES,
        answer=_by_matrix,
    ),
    _lightgbm(
        "LGBMClassifier", lambda lib: lib.LGBMClassifier(n_estimators=5, verbose=-1).fit(X, THREE), chances=by_chances
    ),
    _lightgbm(
        "LGBMClassifier with categories",
        lambda lib: lib.LGBMClassifier(n_estimators=5, verbose=-1).fit(CATEGORIES, YES),
        CATEGORIES,
        chances=by_chances,
    ),
    _lightgbm(
        "LGBMRegressor in a pipeline",
        lambda lib: make_pipeline(
            StandardScaler().set_output(transform="pandas"), lib.LGBMRegressor(n_estimators=5, verbose=-1)
        ).fit(X, NUMBER),
    ),
    _lightgbm("Booster", lambda lib: lib.train({"verbose": -1}, lib.Dataset(X, NUMBER), 5)),
    _lightgbm(
        "Booster with categories",
        lambda lib: lib.train({"verbose": -1, "min_data_in_leaf": 3}, lib.Dataset(CATEGORIES, YES), 5),
        CATEGORIES,
    ),
    _catboost("CatBoostClassifier", "CatBoostClassifier", THREE, chances=by_chances),
    _catboost(
        "CatBoostClassifier with categories",
        "CatBoostClassifier",
        YES,
        _CITIES,
        {"cat_features": ["city"]},
        chances=by_chances,
    ),
    _catboost("CatBoostRegressor with gaps", "CatBoostRegressor", NUMBER, _GAPS),
    _catboost("CatBoost", "CatBoost", NUMBER),
    _skorch(
        "NeuralNetClassifier",
        lambda lib: lib.NeuralNetClassifier(nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1))),
        np.arange(60) % 3,
        by_chances,
    ),
    _skorch(
        "NeuralNetRegressor",
        lambda lib: lib.NeuralNetRegressor(nn.Linear(4, 1)),
        NUMBER.astype(np.float32).reshape(-1, 1),
    ),
    _statsmodels("OLS", lambda api: api.OLS(NUMBER, _EXOG).fit()),
    _statsmodels("OLS on a frame", lambda api: api.OLS(NUMBER, _FRAME).fit(), _FRAME),
    _statsmodels("WLS", lambda api: api.WLS(NUMBER, _EXOG, weights=np.arange(1, 61)).fit()),
    _statsmodels("RLM", lambda api: api.RLM(NUMBER, _EXOG).fit()),
    _statsmodels("Logit", lambda api: api.Logit(np.arange(60) % 2, _EXOG).fit(disp=0)),
    _statsmodels("MNLogit", lambda api: api.MNLogit(np.arange(60) % 3, _EXOG).fit(disp=0)),
    _statsmodels("GLM Poisson", lambda api: api.GLM(np.arange(60) % 5, _EXOG, family=api.families.Poisson()).fit()),
    _statsmodels(
        "GLM Gamma, log link",
        lambda api: api.GLM(np.abs(NUMBER) + 0.1, _EXOG, family=api.families.Gamma(api.families.links.Log())).fit(),
    ),
    _transformers("text classification", _best, chances=_scores),
    _transformers("fill-mask", lambda made, texts: made(texts), "fill-mask", "BertForMaskedLM"),
    _transformers("feature extraction", lambda made, texts: made(texts), "feature-extraction", "BertModel"),
    _transformers(
        "token classification", lambda made, texts: made(texts), "token-classification", "BertForTokenClassification"
    ),
]

REFUSED = [
    Refused(
        "xgboost XGBClassifier, never fitted",
        lambda: import_module("xgboost").XGBClassifier(),
        "never fitted",
        "xgboost",
    ),
    Refused(
        "catboost CatBoostClassifier, never fitted",
        lambda: import_module("catboost").CatBoostClassifier(),
        "never fitted",
        "catboost",
    ),
    Refused(
        "skorch in a scikit-learn pipeline",
        lambda: make_pipeline(
            StandardScaler(), import_module("skorch").NeuralNetRegressor(nn.Linear(4, 1), max_epochs=1, verbose=0)
        ).fit(FLOATS, FLOATS[:, :1]),
        "the first layer of the module",
        "skorch",
    ),
    Refused(
        "statsmodels with a formula",
        lambda: import_module("statsmodels.formula.api").ols("rooms ~ city", TABLE).fit(),
        "build the columns yourself",
        "statsmodels",
    ),
    Refused(
        "statsmodels ARIMA",
        lambda: import_module("statsmodels.api").tsa.ARIMA(NUMBER).fit(),
        "register an object of a class of your own",
        "statsmodels",
    ),
]
