"""Which scikit-learn estimators count as fitted, and what those that cannot answer for new rows are told."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import DBSCAN, KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.manifold import TSNE
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from streamb.errors import InvalidInput
from streamb.models import FeatureSchema, Model, load_artifact

X, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
TEXTS = ["one word", "another one", "a third"]
FITTED = LogisticRegression().fit(X, y)


class Rule(BaseEstimator, ClassifierMixin):
    """An estimator of one's own that learns under a name of its own, or nothing at all."""

    def fit(self, X, y):
        self.learned = X.mean()
        return self

    def predict(self, X):
        return np.asarray(X)[:, 0] > 0


class OwnRegression(LogisticRegression):
    pass


@pytest.mark.parametrize(
    ("estimator", "told"),
    [
        (LogisticRegression(), "LogisticRegression was never fitted; call fit"),
        (OwnRegression(), "OwnRegression was never fitted"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "the step StandardScaler of this Pipeline was never"),
        (make_pipeline(StandardScaler(), FITTED), "the step StandardScaler of this Pipeline was never fitted"),
        (make_pipeline(StandardScaler().fit(X), make_pipeline(LogisticRegression())), "the step LogisticRegression"),
        (GridSearchCV(LogisticRegression(), {"C": [1]}), "GridSearchCV was never fitted"),
        (VotingClassifier([("a", FITTED)]), "VotingClassifier was never fitted"),
        (TfidfVectorizer(), "TfidfVectorizer was never fitted"),
        (KMeans(), "KMeans was never fitted"),
    ],
    ids=str,
)
def test_what_was_never_fitted_is_refused_when_it_is_saved(tmp_path, estimator, told):
    with pytest.raises(InvalidInput, match=told):
        Model.wrap(estimator).save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(HashingVectorizer(n_features=8), FunctionTransformer(), Normalizer()),
        make_pipeline(CountVectorizer(vocabulary=["one", "word"])),
        make_pipeline("passthrough", FITTED),
        make_pipeline(FrozenEstimator(FITTED)),
        GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [1]}).fit(X, y),
        VotingClassifier([("a", LogisticRegression())]).fit(X, y),
        Rule(),
        Rule().fit(X, y),
    ],
    ids=str,
)
def test_what_needs_no_fitting_or_was_fitted_is_not(estimator):
    Model.wrap(estimator).check_fitted()


@pytest.mark.parametrize("estimator", [StandardScaler(), PCA(2), make_pipeline(StandardScaler(), PCA(1))], ids=str)
def test_what_only_transforms_answers_with_the_transformed_rows(tmp_path, estimator):
    model = Model.wrap(estimator.fit(X))
    assert (model.task, model.classes, model.has_probabilities) == ("other", None, False)
    model.save(tmp_path / "model")
    again = load_artifact(tmp_path / "model", trusted=[])
    np.testing.assert_array_equal(again.predict(X), estimator.transform(X))


def test_sparse_answers_become_dense_rows():
    model = Model.wrap(TfidfVectorizer().fit(TEXTS))
    assert model.schema == FeatureSchema.texts()
    np.testing.assert_array_equal(model.predict(TEXTS), model.estimator.transform(TEXTS).toarray())


@pytest.mark.parametrize(
    ("estimator", "way_out"),
    [
        (DBSCAN(), "fit a model that can on its result"),
        (TSNE(), "fit a model that can on its result"),
        (LocalOutlierFactor(), "make it with novelty=True"),
        (KernelDensity(), "write a class with a predict method"),
        (GridSearchCV(LogisticRegression(), {"C": [1]}, refit=False).fit(X, y), "make it with refit=True"),
    ],
    ids=str,
)
def test_what_cannot_answer_for_new_rows_names_the_way_out(estimator, way_out):
    with pytest.raises(InvalidInput, match=way_out):
        Model.wrap(estimator)


def test_a_classifier_without_probabilities_has_none():
    assert not Model.wrap(RidgeClassifier().fit(X, y)).has_probabilities
