"""Whose shares of the limits on callers are given to others: those of processes that ended. No Ray runs here."""

from types import SimpleNamespace

import pytest

from streamb.clock import ManualClock
from streamb.cluster import sharing as module
from streamb.cluster.sharing import Sharing
from streamb.control.observations import NodeReport
from streamb.traffic import RateLimits
from streamb.traffic.shares import Shares, Uses

LIMITS = RateLimits(1000, 100, 12_000, 2_000, gateways=2)
ONE, OTHER = "SERVE_REPLICA::app#Gateway#one", "SERVE_REPLICA::app#Gateway#other"


@pytest.fixture
def cluster(monkeypatch):
    """A cluster with these named actors, on which a Controller is started, or was started again."""
    known = SimpleNamespace(running={ONE, OTHER, "streamb-monitor"}, restarted=False, clock=ManualClock(1000.0))

    def named(all_namespaces=False):
        assert all_namespaces
        return [{"name": name, "namespace": "serve"} for name in known.running]

    context = type("Context", (), {"was_current_actor_reconstructed": property(lambda _: known.restarted)})()
    monkeypatch.setattr(module.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(module.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(module.ray.util, "list_named_actors", named)
    return known


def report(name, uptime_s, shares=None):
    return NodeReport("gateway", name[-5:], "node", 1, actor=name, uses=Uses(shares), uptime_s=uptime_s)


def test_no_limits_no_shares(cluster):
    sharing = Sharing(None, cluster.clock, fresh=True)
    assert sharing.divide(report(ONE, 1.0)) is None
    sharing.look()
    sharing.gone(report(ONE, 1.0))


def test_a_process_that_uses_none_gets_none(cluster):
    sharing = Sharing(LIMITS, cluster.clock, fresh=True)
    assert sharing.divide(NodeReport("gateway", "stranger", "nowhere", 1)) is None
    assert sharing.divide(NodeReport("gateway", "stranger", "nowhere", 1, uses=Uses(None))) is None
    assert sharing.divide(report(ONE, 1.0)).default == 0.5


def test_the_silent_keeps_its_share_until_its_process_has_ended(cluster):
    sharing = Sharing(LIMITS, cluster.clock, fresh=True)
    for name in (ONE, OTHER):
        assert sharing.divide(report(name, 1.0)).default == 0.5
    cluster.clock.advance(100.0)
    sharing.look()
    third = "SERVE_REPLICA::app#Gateway#third"
    assert sharing.divide(report(third, 1.0)).default == 0.0
    cluster.running.remove(ONE)
    sharing.look()
    assert sharing.divide(report(third, 2.0, Shares(0.0))).default == 0.5


def test_who_says_goodbye_has_given_up_its_share(cluster):
    sharing = Sharing(LIMITS, cluster.clock, fresh=True)
    for name in (ONE, OTHER):
        sharing.divide(report(name, 1.0))
    sharing.gone(report(ONE, 2.0))
    new = sharing.divide(report("SERVE_REPLICA::app#Gateway#third", 1.0))
    assert (new.default, new.filled) == (0.5, 0.0), "but no second burst"


def test_a_controller_that_was_started_again_hears_all_first(cluster):
    cluster.restarted = True
    sharing = Sharing(LIMITS, cluster.clock, fresh=True)
    name = ("k1", "m")
    asks = {name: 1000}
    few = Shares(0.5, {name: 0.1})
    before = NodeReport("gateway", "one", "node", 1, actor=ONE, uses=Uses(few, asks), uptime_s=50.0)
    assert sharing.divide(before).share(name) == 0.1
    sharing.look()
    assert sharing.divide(before).share(name) == 0.1, "another one runs, and may have the rest"
    assert sharing.divide(report("SERVE_REPLICA::app#Gateway#new", 1.0)).filled == 0.0
    sharing.divide(report(OTHER, 60.0, Shares(0.5, {name: 0.05})))
    assert sharing.divide(before).share(name) > 0.5


def test_it_does_not_wait_for_ever_for_one_that_never_reports(cluster):
    cluster.restarted = True
    sharing = Sharing(LIMITS, cluster.clock, fresh=True)
    sharing.look()
    assert sharing.divide(report(ONE, 50.0, Shares(0.2))).default == 0.2
    cluster.clock.advance(121.0)
    sharing.look()
    assert sharing.divide(report(ONE, 171.0, Shares(0.2))).default == 0.5


async def test_a_look_that_fails_gives_nothing_away(cluster, monkeypatch, caplog):
    sharing = Sharing(LIMITS, cluster.clock, fresh=True)
    sharing.divide(report(ONE, 1.0))
    cluster.clock.advance(100.0)
    monkeypatch.setattr(module.ray.util, "list_named_actors", lambda all_namespaces: 1 / 0)

    async def once(_):
        raise InterruptedError

    monkeypatch.setattr(module.asyncio, "sleep", once)
    with pytest.raises(InterruptedError):
        await sharing.keep()
    assert "nobody gets the shares of another one" in caplog.text
    assert sharing.divide(report(OTHER, 1.0)).default == 0.5
    assert sharing.divide(report("SERVE_REPLICA::app#Gateway#third", 1.0)).default == 0.0


@pytest.mark.parametrize("fresh", [True, False])
def test_a_controller_that_was_made_anew_beside_gateways_hears_all_first(cluster, fresh):
    """Whether it was told that gateways run, or learns it from one that has shares of another Controller."""
    sharing = Sharing(LIMITS, cluster.clock, fresh=fresh)
    name = ("k1", "m")
    before = NodeReport(
        "gateway", "1", "node", 1, actor=ONE, uses=Uses(Shares(0.3, {name: 0.1}), {name: 9000}), uptime_s=9
    )
    for _ in range(2):
        told = sharing.divide(before)
        assert (told.default, told.share(name), told.filled) == (0.3, 0.1, 0.0)
        sharing.look()
    sharing.divide(report(OTHER, 60.0, Shares(0.5, {name: 0.05})))
    assert sharing.divide(before).share(name) > 0.5


def test_gateways_are_known_by_the_names_of_serves_replicas():
    names = frozenset({ONE, OTHER, "SERVE_REPLICA::app#Console#x", "streamb-monitor", "SERVE_CONTROLLER_ACTOR"})
    assert module.gateways_among(names) == {ONE, OTHER}
