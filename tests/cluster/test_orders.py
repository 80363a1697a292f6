"""Orders to Ray Serve end in a known state, whatever Serve does with them. No Ray runs here."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.clock import ManualClock
from streamb.cluster import orders as module
from streamb.cluster.orders import CONFIRMED_S, MOST_ORDERS, TRIES, Orders
from streamb.rollouts.runtime import AppPhase, AppSpec, AppStatus, Fault
from tests.cluster.processes import until

APP = "m--1.0.0--x"
SPEC = AppSpec(APP, "m", "1.0.0", "blob")
SHOWN = {APP: AppStatus(AppPhase.STARTING)}


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(module, "_PAUSE_S", 0)


class Fickle:
    """Serve: fails as often as it is told to, then accepts."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.accepted: list[str] = []

    def __call__(self, app, spec) -> None:
        if self.failures:
            self.failures -= 1
            raise ValueError("module 'x' is not registered for pickle by value")
        self.accepted.append(f"{'stop' if spec is None else 'start'} {app}")


def done(orders: Orders) -> None:
    """Return when the orders given so far had their turn."""
    orders._turns.submit(lambda: None).result(30)


def test_what_fails_by_chance_is_tried_again():
    serve = Fickle(TRIES - 1)
    orders = Orders(serve, ManualClock())
    orders.start(SPEC)
    done(orders)
    assert serve.accepted == [f"start {APP}"]
    assert orders.statuses()[APP].phase is AppPhase.STARTING
    orders.confirm(SHOWN)
    assert orders.statuses() == {}


def test_what_fails_again_and_again_has_failed_and_says_why():
    orders = Orders(Fickle(TRIES), ManualClock())
    orders.start(SPEC)
    done(orders)
    status = orders.statuses()[APP]
    assert (status.phase, status.fault) == (AppPhase.FAILED, Fault.INFRASTRUCTURE)
    assert status.reason.endswith("ValueError: module 'x' is not registered for pickle by value")
    orders.stop(APP, known=False)
    assert orders.statuses() == {}, "Serve never knew it"


def test_an_order_that_serve_loses_is_given_again_and_has_failed_in_the_end():
    serve, clock = Fickle(), ManualClock()
    orders = Orders(serve, clock)
    orders.start(SPEC)
    for number in range(1, MOST_ORDERS + 1):
        done(orders)
        assert serve.accepted == [f"start {APP}"] * number
        assert orders.statuses()[APP].phase is AppPhase.STARTING
        clock.advance(CONFIRMED_S + 1)
        orders.repeat()
    assert orders.statuses()[APP].phase is AppPhase.FAILED
    assert f"after {MOST_ORDERS} orders" in orders.statuses()[APP].reason


def test_an_order_to_stop_is_given_again_until_serve_shows_it():
    serve, clock = Fickle(TRIES), ManualClock()
    orders = Orders(serve, clock)
    running = {APP: AppStatus(AppPhase.RUNNING, 1)}
    orders.stop(APP, known=True)
    for _ in range(5):
        done(orders)
        orders.confirm(running)
        assert orders.statuses()[APP].phase is AppPhase.STOPPING
        clock.advance(CONFIRMED_S + 1)
        orders.repeat()
    assert len(serve.accepted) == 4
    orders.confirm({APP: AppStatus(AppPhase.STOPPING)})
    assert orders.statuses() == {}


def test_a_turn_that_hangs_does_not_keep_others_waiting_for_ever():
    clock, hangs, accepted = ManualClock(), threading.Event(), []

    def serve(app, spec) -> None:
        if app == APP:
            hangs.wait(60)
        accepted.append(app)

    orders = Orders(serve, clock)
    orders.start(SPEC)
    begun = lambda: until(lambda: orders._open[APP].since is not None, what="its turn begins")  # noqa: E731
    begun()
    orders.start(AppSpec("n--1.0.0--x", "n", "1.0.0", "blob"))
    clock.advance(CONFIRMED_S + 1)
    orders.repeat()
    begun()
    assert accepted == ["n--1.0.0--x"], "another thread went on with it"
    for _ in range(MOST_ORDERS - 1):
        begun()
        clock.advance(CONFIRMED_S + 1)
        orders.repeat()
    assert orders.statuses()[APP].phase is AppPhase.FAILED
    hangs.set()


def test_an_order_is_withdrawn_before_its_turn():
    clock, hangs, accepted = ManualClock(), threading.Event(), []

    def serve(app, spec) -> None:
        hangs.wait(60)
        accepted.append(app)

    orders = Orders(serve, clock)
    orders.start(SPEC)
    orders.start(AppSpec("n--1.0.0--x", "n", "1.0.0", "blob"))
    orders.stop("n--1.0.0--x", known=False)
    hangs.set()
    done(orders)
    assert accepted == [APP]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["fails", "lost", "shown", "gone", "wait"]), max_size=25))
def test_no_start_is_pending_for_ever(events):
    """Whatever happens, an order is shown by Serve or has failed once enough time has passed."""
    clock, serve = ManualClock(), Fickle()
    orders = Orders(serve, clock)
    orders.start(SPEC)
    for event in events:
        serve.failures = 2 * TRIES if event == "fails" else 0
        if event == "wait":
            clock.advance(CONFIRMED_S / 2)
        orders.confirm(SHOWN if event == "shown" else {})
        orders.repeat()
    serve.failures = 0
    for _ in range(MOST_ORDERS + 1):
        done(orders)
        clock.advance(CONFIRMED_S + 1)
        orders.repeat()
    assert {one.phase for one in orders.statuses().values()} <= {AppPhase.FAILED}
    orders.close()
