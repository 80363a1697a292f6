"""Isolated models: what their code tries from inside, and what becomes of the replica when it dies."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from sklearn.linear_model import LogisticRegression

from streamb.crypto import SigningKey
from streamb.errors import IsolationUnavailable, ModelFailed, StreambError, Unavailable
from streamb.models import Model, save_artifact, sign_artifact
from streamb.models.schema import FeatureSchema
from streamb.security import isolation
from streamb.security.isolation import Boundary
from streamb.serving.batch import Batch
from streamb.trials.caged import CagedModel
from tests.trials import own_models
from tests.trials.hostile import Hostile, Telling

KEY = SigningKey.generate()
MARK = "a-secret-of-the-platform"
X = np.random.default_rng(0).normal(size=(40, 3))


def _boundaries() -> list[Boundary]:
    return list(isolation._possible([]))


@pytest.fixture(params=[*Boundary])
def boundary(request, monkeypatch):
    """Each that this machine can have; as root both, else Landlock alone."""
    if request.param not in _boundaries():
        pytest.skip("not to be had on this machine")
    monkeypatch.setattr(isolation, "_known", {sys.executable: request.param})
    return request.param


@pytest.fixture
def caged(tmp_path, boundary):
    opened = []

    def open_(model, hidden=(), limit_s=60.0) -> CagedModel:
        place = isolation.own_folder("model-", tmp_path)
        save_artifact(Model.wrap(model, schema=FeatureSchema.open()), place / "artifact")
        sign_artifact(place / "artifact", KEY)
        opened.append(CagedModel(place, [KEY.public], hidden=hidden, limit_s=limit_s, load_s=120))
        return opened[-1]

    yield open_
    for one in opened:
        one.end()


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A platform's state directory, variables and listeners, and the targets of an attack on them."""
    folder = tmp_path / "state"
    files = [
        folder / "api-key",
        folder / "keys" / "signing.pem",
        folder / "keys" / "platform.key",
        folder / "keys" / "ray-token",
    ]
    (folder / "keys").mkdir(parents=True)
    for file in files:
        file.write_text(MARK)
    folder.chmod(0o700)
    monkeypatch.setenv("ML_API_KEY", MARK)
    monkeypatch.setenv("RAY_AUTH_TOKEN", MARK)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{MARK}")
    abstract = f"streamb-test-{os.getpid()}"
    listeners = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
    listeners[1].bind(str(tmp_path / "ray.sock"))
    listeners[2].bind(f"\0{abstract}")
    for one in listeners[1:]:
        one.listen()
    targets = {
        "files": [str(file) for file in files] + [f"/proc/{os.getpid()}/root{files[0]}", f"/proc/self/root{files[0]}"],
        "folders": [str(folder), str(folder / "keys")],
        "pid": os.getpid(),
        "port": listeners[0].getsockname()[1],
        "socket": str(tmp_path / "ray.sock"),
        "abstract": abstract,
        "outside": str(tmp_path / "outside"),
    }
    yield folder, targets
    for one in listeners:
        one.close()


def asked(model: CagedModel, *rows: float):
    return model.run(Batch(np.array([[row] for row in rows]), (1,) * len(rows)))


def test_nothing_that_hostile_code_tries_works(caged, state):
    folder, targets = state
    model = Hostile(**targets)
    caged_model = caged(model, hidden=(str(folder),))
    answered = asked(caged_model, *range(len(model.tries)))
    assert not answered.errors, answered.errors
    told = answered.predictions.tolist()
    assert len(told) == len(model.tries)
    assert [one for one in told if "got" in one] == []
    assert MARK not in repr(told)
    assert not Path(targets["outside"]).exists()


def test_the_same_tries_work_without_isolation(state):
    """Else the test above would show nothing."""
    _, targets = state
    model = Hostile(**targets)
    harmless = ("file ", "tcp", "unix socket", "abstract socket", "kill", "write outside", "environ of the platform")
    told = model.predict([[number] for number, name in enumerate(model.tries) if name.startswith(harmless)])
    assert [one for one in told if "got" not in one] == []


@pytest.mark.soak
def test_it_has_no_variables_of_the_platform_and_another_user_where_that_is_possible(caged, state, boundary):
    told = asked(caged(Telling(), hidden=(str(state[0]),)), 0).predictions.tolist()[0]
    assert MARK not in told
    assert "ML_" not in told
    assert "RAY_" not in told
    uid = int(told.split()[0])
    assert (uid != os.getuid()) is (boundary is Boundary.USER)


@pytest.mark.soak
@pytest.mark.parametrize("end", [1, 2, 4, 5])
def test_a_child_that_dies_fails_its_calls_alone(caged, state, end):
    dies_and_is_replaced(caged(Hostile(**state[1])), end)


def dies_and_is_replaced(model: CagedModel, end: int) -> None:
    with pytest.raises(Unavailable) as caught:
        asked(model, -end)
    assert caught.value.details["retry_after_s"] == 1
    assert asked(model, 0).predictions.tolist()
    assert model.trouble() == ""


@pytest.mark.soak
def test_a_child_that_hangs_is_replaced(caged, state):
    model = caged(Hostile(**state[1]), limit_s=5)
    with pytest.raises(Unavailable, match="did not answer within 5 s"):
        asked(model, -3)
    assert asked(model, 0).predictions.tolist()


def test_a_failure_is_a_reference_and_a_death_is_one_call_s(caged, state, caplog, boundary):
    if boundary is not _boundaries()[0]:
        pytest.skip("not a question of the boundary")
    model = caged(Hostile(**state[1]))
    error = asked(model, -6).errors[0]
    assert type(error) is ModelFailed
    assert "4711" not in error.message
    reference = error.message.rpartition(" ")[2].rstrip(")")
    until = time.monotonic() + 30
    while not any(reference in line and "4711" in line for line in caplog.messages):
        assert time.monotonic() < until, caplog.messages
        time.sleep(0.05)
    dies_and_is_replaced(model, 1)


@pytest.mark.soak
def test_what_it_started_ends_with_it(caged, state, boundary):
    if boundary is not Boundary.USER:
        pytest.skip("a process that left its session cannot be told from others of the same user")
    model = caged(Hostile(**state[1]))
    uid = model._child.isolated.uid
    asked(model, -7)
    assert len([one for one in psutil.process_iter() if isolation._user_of(one) == uid]) == 2
    model.end()
    until = time.monotonic() + 30
    while [one for one in psutil.process_iter() if isolation._user_of(one) == uid and one.status() != "zombie"]:
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.soak
def test_own_code_that_does_not_load_is_refused_with_its_words(caged):
    with pytest.raises(StreambError, match="cannot be loaded on purpose"):
        caged(own_models.Unloadable())


@pytest.mark.soak
def test_other_models_answer_as_without(caged):
    given = LogisticRegression().fit(X, X[:, 0] > 0)
    answered = caged(given).run(Batch(X, (10, 30), (True, True)))
    assert answered.predictions.tolist() == given.predict(X).tolist()
    assert np.array_equal(answered.probabilities, given.predict_proba(X))


def test_where_there_is_no_boundary_it_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(isolation, "_known", {})
    monkeypatch.setattr(isolation.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(isolation.enter, "landlock_abi", lambda: 0)
    with pytest.raises(IsolationUnavailable, match=r"cannot isolate own code .*Landlock"):
        isolation.check_isolation()
