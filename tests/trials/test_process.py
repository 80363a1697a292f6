"""Trials in real processes: what passes, what is learned, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from sklearn.linear_model import LogisticRegression

from streamb.crypto import SigningKey
from streamb.errors import EnvironmentFailed, Overloaded, TrialFailed
from streamb.models import Model, save_artifact, sign_artifact
from streamb.models.example import Example
from streamb.models.schema import FeatureSchema
from streamb.registry import TrialState
from streamb.trials.process import MOST_AT_ONCE, TrialProcesses
from tests.trials import own_models

X = np.random.default_rng(0).normal(size=(40, 3))
MODEL = LogisticRegression().fit(X, np.where(X[:, 0] > 0, "stays", "leaves"))
ROWS = Example(X[:3].tolist())
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


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Callable[[object], Path]:
    """Saves a model that carries code, signed."""

    def saved(model: object) -> Path:
        place = tmp_path_factory.mktemp("own") / "artifact"
        save_artifact(Model.wrap(model), place)
        sign_artifact(place, KEY)
        return place

    return saved


def test_a_model_that_ends_its_process_is_refused_with_its_last_words(trials, own):
    with pytest.raises(TrialFailed, match=r"exit code 3.*the licence has expired"):
        trials(own(own_models.Dies()), ROWS)


def test_a_model_that_hangs_is_ended_with_its_children(own):
    with pytest.raises(TrialFailed, match="longer than 4 s"):
        TrialProcesses([KEY.public], timeout_s=4)(own(own_models.Hangs()), ROWS)
    left = [one for one in psutil.process_iter(["cmdline", "environ"]) if one.info["cmdline"] == ["sleep", "600"]]
    assert not [one for one in left if (one.info["environ"] or {}).get("STREAMB_ROLE") == "trial"]


@pytest.mark.parametrize("habit", [own_models.Chatters, own_models.StartsThreads])
def test_a_model_that_prints_or_starts_threads_passes(trials, own, habit):
    assert trials(own(habit()), ROWS).trial.state is TrialState.PASSED


def test_too_much_memory_is_refused(own):
    with pytest.raises(TrialFailed, match="ML_TRIAL_MEMORY_BYTES"):
        TrialProcesses([KEY.public], timeout_s=60, memory_bytes=1 << 20)(own(own_models.Hangs()), ROWS)


def test_the_process_gets_no_secrets(trials, own, monkeypatch):
    monkeypatch.setenv("ML_API_KEY", "one")
    monkeypatch.setenv("SOME_TOKEN", "two")
    tried = trials(own(own_models.TellsItsEnvironment()), Example([[1.0]]))
    assert tried.golden is not None
    names = set(tried.golden.predictions[0])
    assert names.isdisjoint({"ML_API_KEY", "SOME_TOKEN"})
    assert {"PATH", "STREAMB_ROLE"} <= names


def test_a_trial_waits_for_a_free_place_only_so_long(own):
    trials = TrialProcesses([KEY.public], timeout_s=0.5)
    for _ in range(MOST_AT_ONCE):
        trials._places.acquire()
    with pytest.raises(Overloaded, match="are being tried"):
        trials(own(own_models.Habit()), ROWS)


def test_without_an_example_it_loads(trials, folder):
    tried = trials(folder, None)
    assert (tried.trial.state, tried.golden, tried.trial.row_wise) == (TrialState.LOADS, None, None)


def test_an_environment_is_not_left_out(trials, folder):
    with pytest.raises(EnvironmentFailed, match="only be tried where Ray installs it"):
        trials(folder, None, {"pip": ["tiny==1.0"]})


@pytest.mark.parametrize("isolated", [True, False])
def test_code_that_is_only_registered_gets_at_nothing(tmp_path, monkeypatch, isolated):
    """Unless trials are not isolated: else the test would show nothing."""
    secret = tmp_path / "state" / "api-key"
    secret.parent.mkdir(mode=0o700)
    secret.write_text("of the platform")
    place = tmp_path / "state" / "scratch" / "artifact"
    model = Model.wrap(own_models.Reads(str(secret)), schema=FeatureSchema.open())
    save_artifact(model, place)
    sign_artifact(place, KEY)
    hidden = [str(tmp_path / "state")] if isolated else None
    tried = TrialProcesses([KEY.public], timeout_s=120, hidden=hidden)(place, Example([[1.0]]))
    assert tried.golden is not None
    (told,) = tried.golden.predictions
    assert told in ({"PermissionError", "FileNotFoundError"} if isolated else {"of the platform"})
    assert [path.name for path in place.parent.iterdir()] == ["artifact"]
