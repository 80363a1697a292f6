"""XGBoost, LightGBM and CatBoost: the contract of `Model`, and what is particular to them. `make soak` runs it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from streamb.errors import InvalidInput
from streamb.models import FeatureKind, Model
from tests.contracts.test_model_contract import Case, TestModelContract

__all__ = ["TestModelContract"]

pytestmark = pytest.mark.soak

rng = np.random.default_rng(0)
X = rng.normal(size=(80, 3))
y = (X[:, 0] + 0.1 * X[:, 1] > 0).astype(int)
THREE = np.digitize(X[:, 0], [-0.5, 0.5])
TABLE = pd.DataFrame(
    {
        "size": X[:, 0],
        "city": pd.Categorical(np.where(X[:, 1] > 0, "Bonn", "Kiel"), ["Kiel", "Bonn", "Ulm"]),
        "flag": X[:, 2] > 0,
    }
)
QUIET = {"iterations": 6, "verbose": 0, "allow_writing_files": False, "thread_count": 1}


def xgboost_booster():
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.train({"objective": "reg:squarederror"}, xgboost.DMatrix(X, X[:, 0]), 5)
    return Case(Model.wrap(booster), X[:5].tolist(), "regression", bad_rows=[[1, 2, "x"]])


def lightgbm_booster():
    lightgbm = pytest.importorskip("lightgbm")
    booster = lightgbm.train({"verbose": -1, "objective": "binary"}, lightgbm.Dataset(X, y), 5)
    return Case(Model.wrap(booster), [*X[:5].tolist(), [1, None, 2]], "other", bad_rows=[[1, 2, "x"]])


def catboost_classifier():
    catboost = pytest.importorskip("catboost")
    model = Model.wrap(catboost.CatBoostClassifier(**QUIET)).fit(X, np.array(["no", "so", "yes"])[THREE])
    return Case(model, X[:5].tolist(), "classification", probabilities=True, bad_rows=[[1, 2, "x"]])


def catboost_regressor():
    catboost = pytest.importorskip("catboost")
    estimator = catboost.CatBoostRegressor(**QUIET, cat_features=["city"])
    model = Model.wrap(estimator.fit(TABLE.astype({"city": str}), X[:, 0]))
    rows = [{"size": 1.5, "city": "Ulm", "flag": 1}, [None, "Kiel", 0]]
    return Case(model, rows, "regression", bad_rows=[{"size": "x", "city": "Ulm", "flag": 1}])


@pytest.fixture(
    params=[xgboost_booster, lightgbm_booster, catboost_classifier, catboost_regressor], ids=lambda make: make.__name__
)
def case(request):
    return request.param()


def test_each_is_taken_by_its_own_adapter_and_names_its_library(tmp_path):
    for make, kind in (
        (xgboost_booster, "XGBoostModel"),
        (lightgbm_booster, "LightGBMModel"),
        (catboost_classifier, "CatBoostModel"),
    ):
        model = make().model
        assert type(model).__name__ == kind
        versions = model.save(tmp_path / kind).versions
        assert any(name.startswith(model.framework) and version != "unknown" for name, version in versions.items())


def test_xgboost_with_categories_of_a_frame(tmp_path):
    xgboost = pytest.importorskip("xgboost")
    matrix = xgboost.DMatrix(TABLE, y, enable_categorical=True)
    booster = xgboost.train({"objective": "binary:logistic"}, matrix, 5)
    model = Model.wrap(booster)
    assert [(one.name, str(one.kind)) for one in model.schema.features] == [
        ("size", "number"), ("city", "any"), ("flag", "boolean"),
    ]  # fmt: skip
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(Model.load(tmp_path / "m").predict(TABLE), booster.predict(matrix))


def test_lightgbm_knows_the_levels_of_a_frames_categories(tmp_path):
    lightgbm = pytest.importorskip("lightgbm")
    booster = lightgbm.train({"verbose": -1, "min_data_in_leaf": 2}, lightgbm.Dataset(TABLE, y), 5)
    model = Model.wrap(booster)
    (city,) = [one for one in model.schema.features if one.kind is FeatureKind.CATEGORY]
    assert (city.name, city.categories) == ("city", ("Kiel", "Bonn", "Ulm"))
    model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict(TABLE), booster.predict(TABLE))
    row = {"size": 0.5, "city": "Bonn", "flag": True}
    given = again.to_input(again.schema.check_rows([row]))
    assert again.predict(given).tolist() == booster.predict(pd.DataFrame([row]).astype(TABLE.dtypes)).tolist()


def test_the_estimators_of_the_libraries_are_wrapped_as_such():
    xgboost = pytest.importorskip("xgboost")
    with pytest.raises(InvalidInput, match="XGBClassifier was never fitted"):
        Model.wrap(xgboost.XGBClassifier()).check_fitted()
    model = Model.wrap(xgboost.XGBClassifier(n_estimators=3).fit(X, y))
    assert (type(model).__name__, model.classes, model.has_probabilities) == ("SklearnModel", [0, 1], True)


def test_a_catboost_model_that_was_never_fitted_is_refused():
    catboost = pytest.importorskip("catboost")
    with pytest.raises(InvalidInput, match="CatBoostClassifier was never fitted"):
        Model.wrap(catboost.CatBoostClassifier()).check_fitted()
