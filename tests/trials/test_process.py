"""Trials in real processes: what passes, what is learned, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from streamb.crypto import SigningKey
from streamb.errors import EnvironmentFailed, TrialFailed
from streamb.models import Model, save_artifact
from streamb.models.example import Example
from streamb.registry import TrialState
from streamb.trials.process import TrialProcesses

X = np.random.default_rng(0).normal(size=(40, 3))
MODEL = LogisticRegression().fit(X, np.where(X[:, 0] > 0, "stays", "leaves"))
KEY = SigningKey.generate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("trial") / "artifact"
    save_artifact(Model.wrap(MODEL), place)
    return place


@pytest.fixture
def trials() -> TrialProcesses:
    return TrialProcesses([KEY.public], timeout_s=60)


def test_a_model_that_answers_as_where_it_was_made_passes(trials, folder):
    tried = trials(folder, Example(X.tolist(), MODEL.predict(X).tolist(), MODEL.predict_proba(X).tolist()))
    trial = tried.trial
    assert (trial.state, trial.rows, trial.row_wise, trial.deterministic) == (TrialState.PASSED, 40, True, True)
    assert trial.probabilities
    assert min(trial.load_s or 0, trial.memory_mb or 0) > 0
    assert "scikit-learn" in trial.distributions
    assert tried.signature.classes == ("leaves", "stays")
    assert [output.kind for output in tried.signature.outputs] == ["text", "tensor"]
    assert tried.golden is not None
    assert tried.golden.predictions == MODEL.predict(X[:20]).tolist()
    assert [path.name for path in folder.parent.iterdir()] == ["artifact"]


def test_other_answers_are_refused(trials, folder):
    answers = MODEL.predict(X).tolist()
    answers[7] = "returns"
    with pytest.raises(TrialFailed, match="row 7: expected 'returns', got") as refusal:
        trials(folder, Example(X.tolist(), answers))
    assert refusal.value.details["row"] == 7


def test_without_an_example_it_loads(trials, folder):
    tried = trials(folder, None)
    assert (tried.trial.state, tried.golden, tried.trial.row_wise) == (TrialState.LOADS, None, None)


def test_an_environment_is_not_left_out(trials, folder):
    with pytest.raises(EnvironmentFailed, match="only be tried where Ray installs it"):
        trials(folder, None, {"pip": ["tiny==1.0"]})
