"""Evaluating a trial: folds, scorers, pruning, and whatever can go wrong in a model."""

from __future__ import annotations

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score
from sklearn.model_selection import KFold, cross_val_score

from streamb.errors import InvalidInput
from streamb.hpo.space import Space
from streamb.hpo.study.evaluation import (
    VALIDATION,
    FunctionEvaluator,
    ModelEvaluator,
    Task,
)
from streamb.hpo.study.executing import evaluated_within
from streamb.hpo.study.folds import Folds, check_folds, choose_kind
from streamb.hpo.study.pruning import bar_of, paired_variance
from streamb.hpo.study.scorers import own_score, scorer_of
from streamb.hpo.study.study import Outcome
from streamb.hpo.study.training import build_model, check_model, first_parameters

X, Y = load_iris(return_X_y=True)
PLAIN = Folds("plain", 3, 0)


def evaluator(model, **changes):
    given = {"X": X, "y": Y, "scorer": own_score, "cut": PLAIN, **changes}
    return ModelEvaluator(model, **given)


class TestFolds:
    @settings(max_examples=30)
    @given(
        labels=st.lists(st.sampled_from("abc"), min_size=6, max_size=60), n=st.integers(2, 6), repeat=st.integers(0, 3)
    )
    def test_every_row_is_scored_once_and_classes_keep_their_shares(self, labels, n, repeat):
        y = np.array(labels)
        pairs = Folds("stratified", n, 1).split(y, None, len(y), repeat)
        assert sorted(np.concatenate([test for _, test in pairs])) == list(range(len(y)))
        for label in set(labels):
            counts = [int((y[test] == label).sum()) for _, test in pairs]
            assert max(counts) - min(counts) <= 1
        for train, test in pairs:
            assert not set(train) & set(test)

    @settings(max_examples=30)
    @given(groups=st.lists(st.integers(0, 8), min_size=12, max_size=60), repeat=st.integers(0, 3))
    def test_a_group_is_never_on_both_sides(self, groups, repeat):
        members = np.array(groups)
        for train, test in Folds("grouped", 2, 5).split(None, members, len(members), repeat):
            assert not set(members[train]) & set(members[test])

    def test_time_never_looks_ahead(self):
        for train, test in Folds("time", 4, 0).split(None, None, 30, 0):
            assert train.max() < test.min()
        assert not Folds("time", 4, 0).repeatable

    def test_repeats_differ_and_are_the_same_again(self):
        one, other, again = (Folds("plain", 3, 0).split(None, None, 20, repeat) for repeat in (0, 1, 0))
        assert any((a[1] != b[1]).any() for a, b in zip(one, other, strict=True) if len(a[1]) == len(b[1]))
        assert all((a[1] == b[1]).all() for a, b in zip(one, again, strict=True))

    def test_the_kind_follows_the_data(self):
        groups = np.arange(4)
        assert choose_kind("auto", Y, None, classifies=True) == "stratified"
        assert choose_kind("auto", Y, None, classifies=False) == "plain"
        assert choose_kind("auto", Y, groups, classifies=True) == "grouped"
        with pytest.raises(InvalidInput, match="need groups"):
            choose_kind("grouped", Y, None, classifies=True)
        with pytest.raises(InvalidInput, match="need classes"):
            choose_kind("stratified", None, None, classifies=True)
        with pytest.raises(InvalidInput, match="use fewer folds"):
            check_folds(Folds("grouped", 5, 0), 100, groups)
        with pytest.raises(InvalidInput, match="at least 6 rows"):
            check_folds(Folds("time", 5, 0), 5, None)


class TestModels:
    def test_scores_are_those_of_scikit_learn(self):
        answer = evaluator(Ridge(), cut=Folds("plain", 3, 0))(Task(0, {"alpha": 2.0}))
        place = np.random.default_rng([0, 0]).permutation(np.arange(len(Y)) % 3)
        folds = [(np.flatnonzero(place != k), np.flatnonzero(place == k)) for k in range(3)]
        np.testing.assert_allclose(answer.fold_scores, cross_val_score(Ridge(alpha=2.0), X, Y, cv=folds))
        assert answer.status is Outcome.COMPLETED
        assert answer.score == pytest.approx(np.mean(answer.fold_scores))
        assert KFold(3).get_n_splits() == len(answer.fold_scores)

    def test_labels_without_an_order_are_divided_too(self):
        labels = np.array(["a", 1, None, "a", 1, None] * 5, dtype=object)
        for _, test in Folds("stratified", 5, 0).split(labels, None, 30, 0):
            assert [list(labels[test]).count(one) for one in ("a", 1, None)] == [2, 2, 2]
        for train, test in Folds("grouped", 3, 0).split(None, labels, 30, 0):
            assert not set(labels[train]) & set(labels[test])

    @pytest.mark.parametrize("kind", ["frame", "sparse", "lists", "text"])
    def test_any_table_will_do(self, kind):
        table = {"frame": pd.DataFrame(X), "sparse": sparse.csr_matrix(X), "lists": X, "text": [str(y) for y in Y]}[
            kind
        ]
        model = LogisticRegression()
        if kind == "text":
            from sklearn.feature_extraction.text import CountVectorizer
            from sklearn.pipeline import make_pipeline

            model = make_pipeline(CountVectorizer(analyzer="char"), model)
        assert evaluator(model, X=table)(Task(0, {})).status is Outcome.COMPLETED

    def test_chance_does_not_decide_and_repeats_have_another(self):
        search = evaluator(RandomForestClassifier(n_estimators=5))
        once, twice, other = (search(Task(0, {"max_depth": 2}, repeat=r)).fold_scores for r in (0, 0, 1))
        assert once == twice != other

    def test_the_model_given_is_never_changed(self):
        model = LogisticRegression()
        evaluator(model)(Task(0, {"C": 5.0}))
        assert model.C == 1.0
        assert not hasattr(model, "coef_")

    def test_a_factory_makes_the_model(self):
        def make(C, fit_intercept=True):
            return LogisticRegression(C=C, fit_intercept=fit_intercept)

        assert evaluator(make)(Task(0, {"C": 2.0})).status is Outcome.COMPLETED
        space = Space.of({"C": (0.1, 10.0), "fit_intercept": [True, False]})
        assert first_parameters(make, space) == {"C": 5.05, "fit_intercept": True}

    def test_validation_data_instead_of_folds_or_after_them(self):
        held = (X[:50], Y[:50])
        alone = evaluator(DummyClassifier(), cut=None, held_out=held)
        assert alone(Task(0, {})).fold_scores == (1.0,)
        assert evaluator(DummyClassifier(), held_out=held)(Task(0, {}, repeat=VALIDATION)).fold_scores == (1.0,)
        assert not alone.repeatable

    def test_it_travels_to_other_processes(self):
        search = cloudpickle.loads(cloudpickle.dumps(evaluator(LogisticRegression())))
        assert search(Task(0, {"C": 1.0})).status is Outcome.COMPLETED


class Failing(DummyClassifier):
    def __init__(self, how="raise"):
        super().__init__()
        self.how = how

    def fit(self, X, y):
        if self.how == "raise":
            raise ValueError("C must be\npositive")
        if self.how == "exit":
            raise SystemExit(3)
        return super().fit(X, y)

    def score(self, X, y):
        return {"nan": float("nan"), "text": "good", "inf": float("inf")}[self.how]


@pytest.mark.parametrize(
    ("how", "said"),
    [("raise", "ValueError: C must be"), ("exit", "SystemExit: 3"), ("nan", "fold 1 is nan"), ("text", "not a number"),
     ("inf", "is inf")],
)  # fmt: skip
def test_whatever_a_model_does_makes_a_failed_trial(how, said):
    answer = evaluator(Failing(how))(Task(0, {}))
    assert answer.status is Outcome.FAILED
    assert said in answer.error
    assert answer.score is None
    assert "\n" not in answer.error


def test_what_an_exception_says_fits_into_every_file():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("not even that")

    def fails(p):
        raise p["how"]

    evaluate = FunctionEvaluator(fails)
    assert evaluate(Task(0, {"how": Mute()})).error == "Mute"
    assert len(evaluate(Task(0, {"how": ValueError("x" * 100_000)})).error) == 500
    assert evaluate(Task(0, {"how": ValueError("half \udc80")})).error == "ValueError: half ?"


def test_an_interrupt_in_another_thread_is_the_model_s_own():
    def interrupts(p):
        raise KeyboardInterrupt

    evaluate = FunctionEvaluator(interrupts)
    assert evaluated_within(evaluate, Task(0, {}), 10.0).error == "KeyboardInterrupt"
    with pytest.raises(KeyboardInterrupt):
        evaluated_within(evaluate, Task(0, {}), None)


def test_functions_are_evaluated_too():
    assert FunctionEvaluator(lambda p: p["x"] ** 2)(Task(0, {"x": 3})).score == 9.0
    assert "KeyError" in FunctionEvaluator(lambda p: p["y"])(Task(0, {"x": 3})).error
    assert "NoneType" in FunctionEvaluator(lambda p: None)(Task(0, {"x": 3})).error
    assert FunctionEvaluator(lambda p: p["m"]["x"], nests=True)(Task(0, {"m/x": 3})).score == 3.0


class TestScorers:
    def test_by_name_by_function_or_the_model_s_own(self):
        assert scorer_of("accuracy", LogisticRegression())[1] == "accuracy"
        assert scorer_of(None, LogisticRegression())[1] == "score"
        assert scorer_of(lambda model, X, y: 1.0, LogisticRegression())[0](None, None, None) == 1.0

    def test_what_is_none_is_refused(self):
        with pytest.raises(InvalidInput, match="neg_root_mean_squared_error"):
            scorer_of("acuracy", LogisticRegression())
        with pytest.raises(InvalidInput, match="make_scorer"):
            scorer_of(accuracy_score, LogisticRegression())
        with pytest.raises(InvalidInput, match="give an objective"):
            scorer_of(None, object())


class TestChecks:
    def test_parameters_that_a_model_does_not_have(self):
        from sklearn.pipeline import make_pipeline

        with pytest.raises(InvalidInput, match="no parameter gama"):
            check_model(LogisticRegression(), ["gama"])
        with pytest.raises(InvalidInput, match="C is logisticregression__C here"):
            check_model(make_pipeline(LogisticRegression()), ["C"])
        with pytest.raises(InvalidInput, match="no parameter d"):
            check_model(lambda c: None, ["d"])
        with pytest.raises(InvalidInput, match="get_params"):
            check_model(3, ["d"])
        check_model(dict, ["anything"])

    def test_a_model_within_the_parameters_is_not_shared(self):
        inner = LogisticRegression()
        from sklearn.ensemble import AdaBoostClassifier

        assert build_model(AdaBoostClassifier(), {"estimator": inner}).estimator is not inner

    def test_the_defaults_leave_out_what_is_not_active(self):
        from sklearn.svm import SVC

        degree = {"type": "int", "low": 2, "high": 4, "when": {"kernel": "poly"}}
        space = Space.of({"kernel": ["rbf", "poly"], "degree": degree, "C": 2.0})
        assert first_parameters(SVC(), space) == {"C": 2.0, "kernel": "rbf"}


class TestPruning:
    GOOD = (0.90, 0.94, 0.88, 0.92, 0.91)

    def finished(self):
        rng = np.random.default_rng(0)
        return [tuple(np.array(self.GOOD) - k * 0.01 + rng.normal(0, 0.004, 5)) for k in range(6)]

    def test_a_clearly_worse_trial_stops_and_an_equal_one_goes_on(self):
        bar = bar_of(self.finished(), [], maximize=True)
        assert bar.stops((0.70,))
        assert not bar.stops(self.finished()[0][:1])
        assert not bar.stops(self.GOOD)
        assert not bar.stops(())

    def test_minimizing_is_the_mirror_image(self):
        turned = [tuple(-s for s in one) for one in self.finished()]
        one, other = bar_of(self.finished(), [], maximize=True), bar_of(turned, [], maximize=False)
        for score in (0.6, 0.8, 0.88, 0.9):
            assert one.stops((score,)) == other.stops((-score,))
        assert one.estimate((0.7,))[0] == pytest.approx(-other.estimate((-0.7,))[0])

    def test_a_stopped_trial_is_judged_by_the_difference_on_its_folds(self):
        """Fold 2 is easy: 0.84 there is ten points below the best trial, not six."""
        bar = bar_of(self.finished(), [], maximize=True)
        value, variance = bar.estimate((bar.best[0] - 0.1, bar.best[1] - 0.1))
        assert value == pytest.approx(np.mean(bar.best) - 0.1)
        assert variance > 0.0

    def test_few_trials_or_one_fold_set_no_bar(self):
        assert bar_of(self.finished()[:3], [], maximize=True) is None
        assert bar_of([(1.0,)] * 9, [], maximize=True) is None

    def test_what_folds_share_is_no_uncertainty(self):
        others = [tuple(np.array(self.GOOD) + shift) for shift in (0.0, 0.01, -0.02)]
        assert paired_variance(tuple(np.array(self.GOOD) - 0.05), others) == pytest.approx(0.0, abs=1e-20)
        assert paired_variance((0.9, 0.8, 0.9, 0.8, 0.9), others) > 1e-4
        assert paired_variance(self.GOOD, others[:1]) is None
