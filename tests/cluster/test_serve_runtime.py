"""Model versions on Serve as the Controller sees them, while Serve answers and while it does not. No Ray runs here."""

import threading
from types import SimpleNamespace

import pytest
from ray import serve
from ray.serve.schema import ApplicationStatus

from streamb.clock import ManualClock
from streamb.cluster.serve_runtime import ServeRuntime
from streamb.config import load_settings
from streamb.control.observations import SILENCE_S, Endpoint, NodeReport, Observations
from streamb.crypto import SigningKey
from streamb.errors import Unavailable
from streamb.rollouts.runtime import AppPhase, AppSpec

APP = "m--1.0.0--x"
RUNNING = SimpleNamespace(
    status=ApplicationStatus.RUNNING,
    message="",
    deployments={"ModelVersion": SimpleNamespace(replica_states={"RUNNING": 2}, message="")},
)


class Serve:
    """What Serve says; nothing while it is away."""

    def __init__(self) -> None:
        self.here = threading.Event()
        self.here.set()
        self.applications = {APP: RUNNING, "streamb-gateway": RUNNING}

    def status(self):
        assert self.here.wait(60)
        return SimpleNamespace(applications=dict(self.applications))


@pytest.fixture
def said(monkeypatch):
    said = Serve()
    monkeypatch.setattr(serve, "status", said.status)
    yield said
    said.here.set()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def observations(clock):
    return Observations(clock)


@pytest.fixture
def runtime(said, tmp_path, observations):
    trusted = SigningKey.load_or_create(tmp_path / "key").public
    settings = load_settings(environment="development", state_dir=tmp_path)
    runtime = ServeRuntime(settings, trusted, observations, lambda app: pytest.fail("runs already"))
    yield runtime
    runtime.close()


def phases(runtime) -> dict[str, str]:
    return {app: str(status.phase) for app, status in runtime.apps().items()}


def test_nothing_is_decided_before_serve_has_answered_once(said, runtime):
    said.here.clear()
    for _ in range(2):
        with pytest.raises(Unavailable, match="does not report what runs"):
            runtime.refresh(patience_s=0.05)
    said.here.set()
    runtime.refresh()
    assert phases(runtime) == {APP: "running"}


def test_while_serve_is_away_what_was_seen_last_counts(said, runtime):
    runtime.refresh()
    said.here.clear()
    for _ in range(3):
        runtime.refresh(patience_s=0.05)
    assert phases(runtime) == {APP: "running"}
    said.applications.clear()
    said.here.set()
    runtime.refresh()  # of the question that was open
    runtime.refresh()
    assert phases(runtime) == {}


def test_what_fails_in_serve_does_not_stop_the_controller(said, runtime, monkeypatch):
    runtime.refresh()
    monkeypatch.setattr(serve, "status", lambda: 1 / 0)
    runtime.refresh()
    assert phases(runtime) == {APP: "running"}


def test_no_rollback_is_done_before_every_gateway_can_have_been_heard(runtime, observations, clock):
    """As after a kill -9 of the Controller: the first gateway to report is not all there are."""
    first = NodeReport("gateway", "g1", "node", 1, Endpoint("127.0.0.1", 1), epoch=7)
    observations.receive(first)
    assert not runtime.acknowledged(7)
    clock.advance(SILENCE_S)
    observations.receive(first)
    assert runtime.acknowledged(7)


def test_a_floor_ends_with_its_deployment(runtime):
    runtime.scale(APP, 3)
    assert runtime.wishes(APP, deploying=True) == {}, "an app that nobody knows"
    runtime.refresh()
    runtime.scale(APP, 3)
    assert runtime.wishes(APP, deploying=True) == {"floor": 3}
    runtime.scale(APP, 1)
    assert runtime.wishes(APP, deploying=True) == {"released": 1}, "two of it run"
    assert runtime.wishes(APP, deploying=False) == {}
    assert runtime.wishes(APP, deploying=True) == {}, "the next deployment asks for its own"


def test_an_app_that_serve_refused_is_forgotten_when_it_is_stopped(runtime, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no room")

    monkeypatch.setattr("streamb.cluster.serve_runtime.model_application", lambda *_: None)
    monkeypatch.setattr(serve, "RunTarget", lambda *_, **__: None)
    monkeypatch.setattr(serve, "run_many", refuse)
    runtime.start(AppSpec("m--2.0.0--x", "m", "2.0.0", "blob"))
    runtime._orders.submit(lambda: None).result(10)
    failed = runtime.apps()["m--2.0.0--x"]
    assert (failed.phase, "no room" in failed.reason) == (AppPhase.FAILED, True)
    runtime.stop("m--2.0.0--x")
    assert runtime.apps() == {}
