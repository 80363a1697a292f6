"""Model versions on Serve as the Controller sees them, while Serve answers and while it does not. No Ray runs here."""

import threading
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ray import serve
from ray.serve.schema import ApplicationStatus

from streamb.clock import ManualClock
from streamb.cluster.orders import TRIES
from streamb.cluster.serve_runtime import AT_REST_S, CONNECTED_S, LONG_S, SOON_S, UNSETTLED_S, ServeRuntime
from streamb.config import load_settings
from streamb.control.observations import SILENCE_S, Endpoint, NodeReport, Observations
from streamb.crypto import SigningKey
from streamb.errors import Unavailable
from streamb.rollouts.caretaker import abandoned, maintained, missing
from streamb.rollouts.route import ServingRoute
from streamb.rollouts.runtime import AppPhase, AppSpec, Fault

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
def runtime(said, tmp_path, observations, clock):
    trusted = SigningKey.load_or_create(tmp_path / "key").public
    settings = load_settings(environment="development", state_dir=tmp_path)
    runtime = ServeRuntime(settings, trusted, observations, lambda app: pytest.fail("runs already"), clock)
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

    monkeypatch.setattr("streamb.cluster.orders._PAUSE_S", 0)
    monkeypatch.setattr("streamb.cluster.serve_runtime.model_application", lambda *_: None)
    monkeypatch.setattr(serve, "RunTarget", lambda *_, **__: None)
    monkeypatch.setattr(serve, "run_many", refuse)
    runtime.start(AppSpec("m--2.0.0--x", "m", "2.0.0", "blob"))
    runtime._orders._turns.submit(lambda: None).result(10)
    failed = runtime.apps()["m--2.0.0--x"]
    assert (failed.phase, failed.fault, "no room" in failed.reason) == (AppPhase.FAILED, Fault.INFRASTRUCTURE, True)
    assert "no room" in runtime.failed()["m--2.0.0--x"]
    runtime.stop("m--2.0.0--x")
    assert runtime.apps() == {}


def test_an_application_that_cannot_be_built_by_chance_is_started_all_the_same(said, runtime, monkeypatch):
    """Ray's threads change the set of modules that it pickles by value while an application is built."""
    failures = [RuntimeError("Set changed size during iteration"), ValueError("not registered for pickle by value")]

    def build(*_):
        if failures:
            raise failures.pop()

    monkeypatch.setattr("streamb.cluster.orders._PAUSE_S", 0)
    monkeypatch.setattr("streamb.cluster.serve_runtime.model_application", build)
    monkeypatch.setattr(serve, "RunTarget", lambda *_, **__: None)
    monkeypatch.setattr(serve, "run_many", lambda *_, **__: said.applications.update({"m--2.0.0--x": STARTING}))
    runtime.refresh()
    runtime.start(AppSpec("m--2.0.0--x", "m", "2.0.0", "blob"))
    runtime._orders._turns.submit(lambda: None).result(10)
    runtime.refresh()
    assert phases(runtime) == {APP: "running", "m--2.0.0--x": "starting"}


STARTING = SimpleNamespace(
    status=ApplicationStatus.DEPLOYING,
    message="",
    deployments={"ModelVersion": SimpleNamespace(replica_states={"STARTING": 1}, message="")},
)


def test_an_app_that_serve_lost_is_gone_so_that_it_is_started_again(said, runtime):
    runtime.refresh()
    said.applications.clear()
    runtime.refresh()
    assert runtime.apps() == {}


@pytest.fixture
def fresh(said, tmp_path, observations, clock):
    """A runtime that looked before anything ran, and the answers of the gateways to its requests to connect."""
    asked: list[Future[bool]] = []

    def connect(app: str) -> Future[bool]:
        asked.append(Future())
        return asked[-1]

    trusted = SigningKey.load_or_create(tmp_path / "key").public
    settings = load_settings(environment="development", state_dir=tmp_path)
    applications, said.applications = said.applications, {}
    runtime = ServeRuntime(settings, trusted, observations, connect, clock)
    runtime.refresh()
    said.applications = applications
    runtime.refresh()
    yield runtime, asked
    runtime.close()


def test_an_app_runs_once_the_gateways_have_connected(fresh):
    runtime, asked = fresh
    assert runtime.apps()[APP].reason == "the gateways connect to it"
    asked[0].set_result(True)
    runtime.refresh()
    assert phases(runtime) == {APP: "running"}


def gateway(**links: int) -> NodeReport:
    return NodeReport("gateway", "g1", "node", 1, Endpoint("127.0.0.1", 1), links=links)


@pytest.mark.parametrize("answer", ["no", "error", "none"])
def test_gateways_that_do_not_connect_are_asked_again_and_then_the_app_has_failed(fresh, observations, clock, answer):
    """Their answer may also be an error that nobody reads, or never come."""
    runtime, asked = fresh
    for _ in range(10):
        if answer == "no":
            asked[-1].set_result(False)
        if answer == "error":
            asked[-1].set_exception(RuntimeError("no loop"))
        clock.advance(CONNECTED_S / 8)
        observations.receive(replace(gateway(), uptime_s=clock.now(), links={APP: 0}))
        runtime.refresh()
    assert len(asked) > 5 or answer == "none"
    status = runtime.apps()[APP]
    assert (status.phase, status.fault) == (AppPhase.FAILED, Fault.INFRASTRUCTURE)
    assert "no gateway has reached" in status.reason


@pytest.mark.parametrize("links", [{APP: 2}, None])
def test_one_gateway_that_reaches_it_or_none_at_all_is_enough_in_the_end(fresh, observations, clock, links):
    runtime, _ = fresh
    clock.advance(CONNECTED_S + 1)
    if links is not None:
        observations.receive(replace(gateway(), links=links))
        observations.receive(replace(gateway(), source="paused", links={APP: 0}))
    runtime.refresh()
    assert phases(runtime) == {APP: "running"}


def test_serve_is_asked_often_only_while_something_happens(said, runtime, observations, clock, monkeypatch):
    looks = []
    monkeypatch.setattr(runtime, "refresh", lambda: looks.append(clock.monotonic()) or ServeRuntime.refresh(runtime))

    def looked_in(seconds: float, *, awaited: bool = False, **links: int) -> int:
        looks.clear()
        for _ in range(int(seconds / SOON_S)):
            clock.advance(SOON_S)
            observations.receive(replace(gateway(), uptime_s=clock.now(), links=links))
            runtime.look(awaited=awaited)
        return len(looks)

    runtime.look(awaited=False)
    assert looked_in(4 * AT_REST_S, **{APP: 2}) == 4
    assert looked_in(4 * AT_REST_S) == 4, "no gateway has been told to use it yet"
    assert looked_in(10, awaited=True, **{APP: 2}) == 10 / SOON_S
    assert looked_in(10 * UNSETTLED_S, **{APP: 1}) == 10, "a gateway has lost a replica, or found one more"
    said.applications[APP] = STARTING
    looked_in(UNSETTLED_S, **{APP: 1})
    assert looked_in(10, **{APP: 1}) == 10 / SOON_S
    looked_in(LONG_S, **{APP: 1})
    assert looked_in(10 * UNSETTLED_S, **{APP: 1}) == 10, "a start that takes long"


def test_an_order_makes_it_look_until_it_is_carried_out(runtime, clock, monkeypatch):
    monkeypatch.setattr(serve, "delete", lambda *_, **__: None)
    runtime.look(awaited=False)
    assert runtime._interval_s(awaited=False) == AT_REST_S
    runtime.stop(APP)
    runtime._orders._turns.submit(lambda: None).result(10)
    assert runtime._interval_s(awaited=False) == SOON_S


def test_a_stable_version_whose_start_was_refused_comes_back_under_another_name(said, runtime, clock, monkeypatch):
    """The caretaker replaces what has failed, after pauses; the app that was refused is forgotten."""
    refusals = [RuntimeError("Set changed size during iteration")] * TRIES
    lost = ServingRoute("n", "1.0.0", "n--1.0.0--a", "salt")

    def hand_over(targets, **_):
        if refusals:
            raise refusals.pop()
        said.applications.update({targets[0]: RUNNING})

    monkeypatch.setattr("streamb.cluster.orders._PAUSE_S", 0)
    monkeypatch.setattr("streamb.cluster.serve_runtime.model_application", lambda *_: None)
    monkeypatch.setattr(serve, "RunTarget", lambda _, app, **__: app)
    monkeypatch.setattr(serve, "run_many", hand_over)
    monkeypatch.setattr(runtime, "_connect", lambda _: _done())
    runtime.refresh()
    route = lost
    for _ in range(10):
        apps = runtime.apps()
        route = maintained(route, apps, clock.now(), lambda *_: "n--1.0.0--b")
        if app := missing(route, apps):
            runtime.start(AppSpec(app, "n", "1.0.0", "blob"))
        for app in abandoned(route, apps):
            runtime.stop(app)
        runtime._orders._turns.submit(lambda: None).result(10)
        runtime.refresh()
        clock.advance(1)
    assert (route.app, route.replacement) == ("n--1.0.0--b", "")
    assert phases(runtime) == {APP: "running", "n--1.0.0--b": "running"}


def _done() -> Future[bool]:
    done: Future[bool] = Future()
    done.set_result(True)
    return done
