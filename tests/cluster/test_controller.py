"""The Controller's actor begins its work when it can, and says until then why it cannot. No Ray runs here."""

import asyncio
from types import SimpleNamespace

import pytest
from ray import serve

from streamb.cluster import controller as module
from streamb.cluster.controller import ControllerActor
from streamb.config import load_settings
from streamb.control.observations import Endpoint, NodeReport
from streamb.control.verbs import Control
from streamb.errors import StorageFailed, Unavailable
from tests.cluster.processes import until

GATEWAY = NodeReport("gateway", "g1", "node", 1, Endpoint("127.0.0.1", 1))


@pytest.fixture
def opened(monkeypatch):
    """The parts whose opening fails while it is in the set; whatever is opened is remembered."""
    failing = {"SigningKey", "build", "JobRunner", "Control"}
    monkeypatch.setattr(module, "REOPEN_S", 0.02)
    monkeypatch.setattr(serve, "status", lambda: SimpleNamespace(applications={}))
    monkeypatch.setattr(serve, "get_deployment_handle", lambda *_, **__: None)
    for name in ("build", "JobRunner", "Control"):
        monkeypatch.setattr(module, name, failing_while(failing, name, getattr(module, name)))
    load = failing_while(failing, "SigningKey", module.SigningKey.load_or_create)
    monkeypatch.setattr(module.SigningKey, "load_or_create", load)
    return failing


def failing_while(failing: set[str], name: str, usual):
    def do(*args, **kwargs):
        if name in failing:
            raise StorageFailed(f"the database does not answer: {name}")
        return usual(*args, **kwargs)

    return do


@pytest.fixture
def actor(opened, tmp_path):
    actor = ControllerActor(load_settings(environment="development", state_dir=tmp_path), with_edge=False)
    yield actor
    asyncio.run(actor.stop())


def test_it_begins_when_it_can_and_says_until_then_why_it_cannot(opened, actor):
    ask = lambda: asyncio.run(actor.invoke(Control.live_gateways.__qualname__, (), {}))  # noqa: E731
    for part in ("SigningKey", "build", "JobRunner", "Control"):
        until(lambda part=part: f"answer: {part}" in actor._trouble, what="the true cause")
        with pytest.raises(Unavailable, match=f"the database does not answer: {part}"):
            ask()
        assert asyncio.run(actor.heartbeat(GATEWAY)) == (None, {}, None, False), "gateways keep their table"
        assert asyncio.run(actor.endpoints(GATEWAY))[0] == [GATEWAY], "edges keep their servers"
        assert asyncio.run(actor.missing()) == (
            [f"the controller: the controller cannot begin its work: the database does not answer: {part}"],
            [],
        )
        opened.remove(part)
    until(lambda: actor._parts is not None, what="it has begun")
    assert ask() == 1
    table, failed, *_ = asyncio.run(actor.heartbeat(GATEWAY))
    assert (table.epoch > 0, failed) == (True, {})


def test_a_stop_does_not_wait_for_what_cannot_be_opened(actor):
    asyncio.run(asyncio.wait_for(actor.stop(), 30))
    assert not actor._loop.is_alive()


def test_neither_an_error_of_the_rollouts_nor_one_of_jobs_keeps_the_other(opened, actor, monkeypatch):
    opened.clear()
    until(lambda: actor._parts is not None, what="it has begun")
    done = []
    monkeypatch.setattr(actor._parts.jobs, "reconcile", lambda: done.append("jobs"))
    monkeypatch.setattr(actor._parts.platform.rollouts, "tick", lambda: 1 / 0)
    actor._tick(actor._parts)
    assert "jobs" in done
