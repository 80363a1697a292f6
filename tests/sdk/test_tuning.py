"""`HyperparameterOptimizer`, as somebody uses it in a script."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from ray import tune
from scipy.sparse import coo_matrix
from sklearn.base import BaseEstimator
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, make_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from streamb import HyperparameterOptimizer, Model
from streamb.errors import InvalidInput
from streamb.hpo.study.study import NoTrialSucceeded, StoppedBy

X, Y = load_breast_cancer(return_X_y=True)
X, Y = StandardScaler().fit_transform(X)[:200], Y[:200]
SPACE = {"C": (1e-2, 1e3, "log"), "gamma": (1e-5, 1.0, "log")}


def optimizer(**changes):
    given = {"n_trials": 6, "executor": "sequential", "rescore_repeats": 1, **changes}
    return HyperparameterOptimizer(HyperparameterOptimizer.create_optimization_config("fast", **given))


class TestModels:
    def test_in_workers_by_default(self):
        result = optimizer(executor="auto", n_trials=13, rescore_repeats=2).optimize_model(
            model=SVC(), training_data=(X, Y), search_space=SPACE, objective="accuracy", cross_validation_folds=4
        )
        first = result.trials[0]
        assert first.parameters == {"C": 1.0, "gamma": "scale"}
        assert set(result.best_parameters) == {"C", "gamma"}
        best = next(t for t in result.trials if t.number == result.best_number)
        assert result.best_score == best.score >= first.score
        assert len(best.fold_scores) == 4
        assert result.improvements.default_score == first.score
        assert result.rescored.repeats == 2
        assert result.rescored.mean == pytest.approx(result.best_score - result.rescored.optimism)

    def test_the_space_of_the_class_is_searched_without_another(self):
        result = optimizer(n_trials=2).optimize_model(model=LogisticRegression(), training_data=(X, Y))
        assert set(result.best_parameters) == {"C", "class_weight"}
        assert result.objective == "score"

    def test_validation_data_instead_of_folds(self):
        result = optimizer().optimize_model(
            model=Ridge(), training_data=(X[:150], Y[:150]), validation_data=(X[150:], Y[150:]), objective="r2"
        )
        assert all(len(t.fold_scores) == 1 for t in result.trials)
        assert result.rescored is None
        expected = Ridge(**result.best_parameters).fit(X[:150], Y[:150]).score(X[150:], Y[150:])
        assert result.best_score == pytest.approx(expected)

    def test_validation_data_after_folds(self):
        result = optimizer().optimize_model(
            model=LogisticRegression(),
            training_data=(X[:150], Y[:150]),
            validation_data=(X[150:], Y[150:]),
            cross_validation_folds=3,
        )
        expected = LogisticRegression(**result.best_parameters).fit(X[:150], Y[:150]).score(X[150:], Y[150:])
        assert result.validation_score == pytest.approx(expected)

    def test_groups_stay_together(self):
        """A model that remembers its groups scores 0 on every other."""

        class Remembers(BaseEstimator):
            def __init__(self, k=1):
                self.k = k

            def fit(self, X, y):
                self.seen = set(X[:, 0])
                return self

            def score(self, X, y):
                return float(np.mean([x in self.seen for x in X[:, 0]]))

        groups = np.arange(60) // 3
        data = (groups.reshape(-1, 1).astype(float), np.zeros(60))
        kept = {"model": Remembers(), "training_data": data, "search_space": {"k": [1, 2]}}
        assert optimizer().optimize_model(**kept, groups=groups).best_score == 0.0
        assert optimizer().optimize_model(**kept).best_score > 0.5

    def test_a_model_that_needs_no_labels(self):
        result = optimizer(n_trials=2).optimize_model(
            model=IsolationForest(n_estimators=5),
            training_data=X,
            search_space={"max_features": (0.2, 1.0)},
            objective=lambda model, X, y: float(np.mean(model.score_samples(X))),
        )
        assert result.best_score < 0.0

    def test_a_wrapped_model_and_a_pipeline(self):
        wrapped = Model.wrap(make_pipeline(StandardScaler(), SVC()))
        result = optimizer(n_trials=3).optimize_model(
            model=wrapped, training_data=(X, Y), search_space={"svc__C": (0.1, 10.0)}
        )
        assert set(result.best_parameters) == {"svc__C"}

    def test_all_trials_failing_is_one_error_with_the_reason(self):
        with pytest.raises(NoTrialSucceeded, match="none of 2 trials"):
            optimizer(n_trials=2).optimize_model(
                model=lambda C: SVC(C=C), training_data=(X, Y), search_space={"C": (-2.0, -1.0)}
            )

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"training_data": (X, Y[:-1])}, "one for every row"),
            ({"training_data": (X, Y, Y)}, "not a tuple of 3"),
            ({"training_data": (X, 1)}, "one value for every row"),
            ({"validation_data": (X, Y[:-1])}, "one for every row"),
            ({"validation_data": X}, "validation_data has none"),
            ({"search_space": {"D": [1]}}, "no parameter D"),
            ({"objective": "precisionn"}, "not a scikit-learn scorer"),
            ({"cross_validation_folds": 1}, "folds"),
            ({"cross_validation_folds": 500}, "use fewer folds"),
            ({"search_space": {"C": "log"}}, "nothing in the search space varies"),
            ({"model": object()}, "get_params"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_before_anything_runs(self, changes, said):
        given = {"model": SVC(), "training_data": (X, Y), "search_space": SPACE, **changes}
        with pytest.raises(InvalidInput, match=said):
            optimizer().optimize_model(**given)

    def test_other_data_does_not_go_on_with_a_study(self, tmp_path):
        tuner = optimizer(n_trials=2, folder=tmp_path)
        tuner.optimize_model(model=SVC(), training_data=(X, Y), search_space=SPACE)
        with pytest.raises(InvalidInput, match="data was"):
            tuner.optimize_model(model=SVC(), training_data=(X + 1.0, Y), search_space=SPACE)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"model": SVC(kernel="linear")}, "the model's kernel was \"'rbf'\", is \"'linear'\""),
            ({"model": SVC(C=5.0)}, "the model's C was '1.0', is '5.0'"),
            ({"objective": make_scorer(f1_score, average="micro")}, "average=macro.*average=micro"),
            ({"objective": "f1"}, "objective was 'f1_score', is 'f1'"),
            ({"cross_validation_folds": 2}, "folds was 3, is 2"),
            ({"search_space": {"C": (1e-2, 1e2, "log"), "gamma": (1e-5, 1.0, "log")}}, "its space, seed or direction"),
        ],
    )
    def test_whatever_would_not_compare_is_refused(self, tmp_path, changes, said):
        tuner = optimizer(n_trials=2, folder=tmp_path)
        given = {"model": SVC(), "training_data": (X, Y), "search_space": SPACE}
        given["objective"] = make_scorer(f1_score, average="macro")
        assert tuner.optimize_model(**given).objective == "f1_score"
        assert len(tuner.optimize_model(**given).trials) == 2
        with pytest.raises(InvalidInput, match=said):
            tuner.optimize_model(**{**given, **changes})

    def test_a_stop_while_the_best_is_scored_again(self, tmp_path):
        fits = []

        class Counted(LogisticRegression):
            def fit(self, X, y):
                fits.append(1)
                if len(fits) == 20:
                    tuner.stop()
                return super().fit(X, y)

        tuner = optimizer(n_trials=1, rescore_repeats=100, deadline_s=None, folder=tmp_path)
        result = tuner.optimize_model(model=Counted(), training_data=(X, Y), search_space={"C": (0.1, 10.0)})
        assert result.stopped_by is StoppedBy.USER
        assert 0 < result.rescored.repeats < 100

    def test_tables_as_they_come(self):
        """Labels in a column of a frame, rows in a sparse matrix that has no rows to take."""
        frame = pd.DataFrame({"label": Y})
        result = optimizer(n_trials=1).optimize_model(model=SVC(), training_data=(coo_matrix(X), frame))
        expected = optimizer(n_trials=1).optimize_model(model=SVC(), training_data=(X, Y))
        assert result.best_score == expected.best_score


class TestFunctions:
    def test_a_function_is_called_here(self):
        calls = []

        def bowl(p):
            calls.append(p)
            return (p["x"] - 2.0) ** 2

        result = HyperparameterOptimizer("fast").optimize(bowl, {"x": (-5.0, 5.0)}, n_trials=16)
        assert len(calls) == len(result.trials) == 16
        assert math.isclose(result.best_parameters["x"], 2.0, abs_tol=0.1)
        assert result.direction == "minimize"

    def test_either_direction(self):
        result = HyperparameterOptimizer("fast").optimize(
            lambda p: p["n"], {"n": (1, 9)}, n_trials=9, direction="maximize"
        )
        assert result.best_parameters == {"n": 9}

    def test_a_stop_from_elsewhere(self):
        tuner = HyperparameterOptimizer("fast")
        tuner.stop()
        result = tuner.optimize(lambda p: tuner.stop() or 1.0, {"x": (0.0, 1.0)}, n_trials=5)
        assert result.stopped_by is StoppedBy.USER

    def test_a_nested_space_of_tune_gives_nested_parameters(self):
        seen = []

        def lowest(p):
            seen.append(p)
            return p["model"]["lr"]

        space = {"model": {"lr": tune.loguniform(1e-3, 1.0), "kind": tune.choice(["a", 1, None, (2, 3)])}, "n": 3}
        result = HyperparameterOptimizer("fast").optimize(lowest, space, n_trials=3)
        assert all(set(p) == {"model", "n"} and set(p["model"]) == {"lr", "kind"} for p in seen)
        assert set(result.best_parameters) == {"model/lr", "model/kind", "n"}

    def test_no_function_and_no_settings(self):
        with pytest.raises(InvalidInput, match="function of a dict"):
            HyperparameterOptimizer("fast").optimize(3, {"x": (0, 1)})
        with pytest.raises(InvalidInput, match="OptimizationConfig"):
            HyperparameterOptimizer({"n_trials": 3})


def test_the_guide_s_spaces():
    for kind in ("neural_network", "genetic_algorithm", "regulatory_predictor", "anomaly_detector"):
        assert HyperparameterOptimizer.create_search_space(kind)
