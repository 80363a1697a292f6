"""Search spaces as data: all are well formed, and every sampled configuration trains.

The genetic algorithm, the regulatory predictor and the anomaly detector of the guide are still to come: their spaces
are checked as data, against the names and defaults of the interface.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils import all_estimators

from streamb.errors import NotFound
from streamb.hpo.space import Space
from streamb.hpo.spaces import SPACES, search_space, space_for
from streamb.hpo.study.training import build_model, check_model

ESTIMATORS = dict(all_estimators())
X, Y = load_iris(return_X_y=True)
ROWS = np.random.default_rng(0).permutation(len(Y))[:60]
X, Y = StandardScaler().fit_transform(X)[ROWS], Y[ROWS]
QUICK = {"n_estimators": 5, "max_iter": 20}
TO_COME = {"genetic_algorithm", "regulatory_predictor", "anomaly_detector"}
OURS = {"GeneticAlgorithm", "RegulatoryPredictor", "AnomalyDetector"}


@pytest.mark.parametrize("kind", SPACES)
def test_every_space_is_well_formed_and_its_defaults_lie_inside(kind):
    space = Space.of(search_space(kind))
    space.encode(space.defaults())  # raises for what lies outside
    for row in space.sample(np.random.default_rng(1), 50):
        assert space.encode(space.decode(row)) == pytest.approx(row)


@pytest.mark.parametrize("kind", sorted(set(SPACES) - TO_COME - OURS))
def test_every_sampled_configuration_trains(kind):
    """With few trees and short training: what is tried here are values and their combinations."""
    estimator = ESTIMATORS["MLPClassifier" if kind == "neural_network" else kind]()
    space = Space.of(search_space(kind))
    check_model(estimator, space.names)
    configurations = [space.decode(row) for row in space.sample(np.random.default_rng(2), 4)]
    configurations += [space.defaults()]
    for parameters in configurations:
        quick = {name: few for name, few in QUICK.items() if name in estimator.get_params()}
        model = build_model(estimator, {**parameters, **quick})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, Y)
            assert len(model.predict(X)) == len(X)


@pytest.mark.parametrize("kind", sorted(set(SPACES) - TO_COME - OURS))
def test_the_defaults_are_the_estimator_s_own(kind):
    known = ESTIMATORS["MLPClassifier" if kind == "neural_network" else kind]().get_params()
    for name, described in search_space(kind).items():
        if "default" in described:
            assert described["default"] == known[name], name


def test_the_interface_s_names_and_defaults():
    assert search_space("regulatory_predictor")["embedding_dim"]["default"] == 256
    assert search_space("regulatory_predictor")["learning_rate"]["default"] == 1e-3
    assert set(search_space("anomaly_detector")) == {"contamination", "estimators", "max_features"}


def test_a_copy_may_be_changed():
    search_space("SVC")["C"]["low"] = 5.0
    assert search_space("SVC")["C"]["low"] == 0.01


def test_a_pipeline_is_searched_at_its_last_step():
    space = space_for(make_pipeline(StandardScaler(), SVC()))
    assert space["svc__degree"]["when"] == {"svc__kernel": "poly"}
    check_model(make_pipeline(StandardScaler(), SVC()), Space.of(space).names)


def test_unknown_names_are_refused_with_those_there_are():
    with pytest.raises(NotFound, match="neural_network"):
        search_space("transformer")
