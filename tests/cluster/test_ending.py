"""A start that fails: what it has made is ended, what ran before goes on. Without a Ray: calls are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamb.cluster import ending, platform
from streamb.cluster.ending import Beginning, ours_among
from streamb.cluster.session import RaySession
from streamb.config import load_settings
from streamb.control.health import Unserved
from streamb.errors import AlreadyRunning, DoesNotFit, StartFailed, StorageFailed


class Session(RaySession):
    """A session that leaves nothing, and counts."""

    left = 0

    def leave(self) -> None:
        type(self).left += 1


FAILURES = {
    "another platform": AlreadyRunning("another"),
    "a node": StartFailed("node 2"),
    "the room": DoesNotFit("too small"),
    "a part": StartFailed("the controller did not answer"),
    "Ctrl-C": KeyboardInterrupt(),
    "a bug": RuntimeError("unforeseen"),
}
BEFORE_ANYTHING_IS_MADE = {"another platform", "a node", "the room"}


@pytest.mark.parametrize("ran_before", [False, True], ids=["nothing before", "ran before"])
@pytest.mark.parametrize("ours", [True, False], ids=["own Ray", "joined"])
@pytest.mark.parametrize("failing", FAILURES)
def test_a_failed_start_ends_only_what_it_has_made(tmp_path, monkeypatch, failing, ours, ran_before):
    stopped, error = [], FAILURES[failing]
    early = failing in BEFORE_ANYTHING_IS_MADE
    session = Session("127.0.0.1:1", tmp_path / "ray" if ours else None, ())
    Session.left = 0

    def look_around(_settings, beginning, *_rest):
        beginning.ran_before = ran_before
        if early:
            raise error

    def bring_up(*_args):
        raise error

    monkeypatch.setattr(platform, "check_stores", lambda _: ())
    monkeypatch.setattr(platform, "local_room", lambda: platform.Room("here"))
    monkeypatch.setattr(platform, "open_session", lambda _: session)
    monkeypatch.setattr(platform, "_look_around", look_around)
    monkeypatch.setattr(platform, "_bring_up", bring_up)
    monkeypatch.setattr(ending, "stop_everything", lambda _: stopped.append(1))
    settings = load_settings(state_dir=tmp_path, port=0, ray_address=None if ours else "127.0.0.1:1")
    with pytest.raises(type(error)):
        platform.start_platform(settings)
    made_something = ours or not early  # on a Ray of our own nothing is looked for, since nothing can be there
    kept_running = not ours and (ran_before or early)
    assert bool(stopped) is (made_something and not kept_running)
    assert Session.left == (1 if kept_running else 0)


@pytest.mark.parametrize("what", ["database", "room"])
def test_without_a_store_or_room_ray_is_not_even_started(tmp_path, monkeypatch, what):
    def away(_settings):
        raise StorageFailed("the database is away")

    if what == "database":
        monkeypatch.setattr(platform, "check_stores", away)
    monkeypatch.setattr(platform, "local_room", lambda: platform.Room("here", memory_mb=1.0))
    monkeypatch.setattr(platform, "open_session", lambda _: pytest.fail("Ray was started"))
    asked = []
    with pytest.raises(StorageFailed if what == "database" else DoesNotFit):
        platform.start_platform(load_settings(state_dir=tmp_path, port=0), accept=asked.append)
    assert bool(asked) is (what == "room"), "who starts it is asked"


def test_what_is_ours_on_a_cluster():
    def named(name, namespace="streamb"):
        return {"name": name, "namespace": namespace}

    assert ours_among([named("streamb-controller")])
    assert ours_among([named("SERVE_REPLICA::streamb-gateway#Gateway#a1", "serve")])
    assert ours_among([named("SERVE_REPLICA::iris--1.0.0--x#ModelVersion#a1", "serve")])
    foreign = [named("SERVE_REPLICA::default#App#a1", "serve"), named("SERVE_CONTROLLER_ACTOR", "serve")]
    assert not ours_among([*foreign, named("streamb-controller", "another")])


class Controller:
    """Answers `missing` and `unserved` from lists; the last answer stays."""

    def __init__(self, parts, models):
        self._answers = {"missing": [(one, []) for one in parts], "unserved": list(models)}

    def __getattr__(self, name):
        answers = self._answers[name]

        class Method:
            @staticmethod
            def remote():
                return answers.pop(0) if len(answers) > 1 else answers[0]

        return Method


class Ray:
    """Returns what it is asked for."""

    class exceptions:
        GetTimeoutError = RayActorError = TimeoutError

    @staticmethod
    def get(answer, timeout):
        return answer


FAILED = Unserved("model a: 1.0.0 failed: no such module", coming=False)
COMING = Unserved("model b: 1.0.0 is starting", coming=True)


@pytest.mark.parametrize(
    ("parts", "models", "left_s", "unanswered"),
    [
        ([["the gateway"], []], [[]], 60, []),
        ([[]], [[FAILED]], 60, [FAILED.sentence]),
        ([[]], [[FAILED, COMING], [FAILED]], 60, [FAILED.sentence]),
        ([[]], [[COMING]], -1, [COMING.sentence]),
    ],
    ids=["parts come", "a failed model is not waited for", "a starting one is", "not for ever"],
)
def test_up_waits_for_what_may_come_and_names_what_does_not_answer(parts, models, left_s, unanswered, monkeypatch):
    monkeypatch.setattr(platform, "_POLL_S", 0.0)
    deadline = platform._CLOCK.monotonic() + left_s
    said: list[str] = []
    found = platform._wait_until_up(Ray, Controller(parts, models), deadline, said.append, 60)
    assert found == unanswered


def test_parts_that_do_not_come_fail_the_start(monkeypatch):
    monkeypatch.setattr(platform, "_POLL_S", 0.0)
    with pytest.raises(StartFailed, match="not up after 60 s: the edge"):
        platform._wait_until_up(Ray, Controller([["the edge"]], [[]]), platform._CLOCK.monotonic() - 1, print, 60)


def test_what_it_waited_for_is_told_when_the_controller_falls_silent(monkeypatch):
    monkeypatch.setattr(platform, "_POLL_S", 0.0)
    controller = Controller([["the edge"]], [[]])

    class Silent(Ray):
        asked = 0

        @classmethod
        def get(cls, answer, timeout):
            cls.asked += 1
            if cls.asked > 1:
                raise TimeoutError
            return answer

    with pytest.raises(
        StartFailed, match="did not answer in time; before, it was waiting for the edge; raise ML_START"
    ):
        platform._wait_until_up(Silent, controller, platform._CLOCK.monotonic() + 60, print, 60)


def test_the_logs_of_an_own_ray_are_kept_and_those_of_a_cluster_are_left(tmp_path, monkeypatch):
    (tmp_path / "ray" / "r" / "session_latest" / "logs").mkdir(parents=True)
    (tmp_path / "ray" / "r" / "session_latest" / "logs" / "raylet.out").write_text("a line")
    monkeypatch.setattr(ending, "stop_everything", lambda _: None)
    own = Beginning(Session("", tmp_path / "ray", ()), tmp_path / "state")
    assert own.undo() == tmp_path / "state" / "logs" / "ray"
    assert Beginning(Session("", None, ()), Path("/nowhere")).undo() is None
