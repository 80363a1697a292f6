"""The check of the stores before a start: one sentence that names the store, never a password."""

from __future__ import annotations

import socket
import threading

import pytest

from streamb.clock import SystemClock
from streamb.config import load_settings
from streamb.control import storage
from streamb.control.sizing import Share
from streamb.control.storage import check_node, check_stores
from streamb.errors import StorageFailed
from streamb.rollouts.ledger import ROUTES
from streamb.rollouts.route import ServingRoute
from streamb.rollouts.runtime import Resources, RunOptions
from streamb.security.platform_key import PlatformKey
from streamb.store import open_database
from streamb.store.plain import to_plain


def settings_of(tmp_path, **given):
    return load_settings(state_dir=tmp_path / "state", **given)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_what_works_leaves_nothing_behind(tmp_path):
    settings = settings_of(tmp_path)
    assert check_stores(settings) == ()
    assert not [file for file in (tmp_path / "state" / "artifacts").rglob("*") if file.is_file()]


def test_the_replicas_that_the_stored_routes_will_start_are_counted(tmp_path):
    settings = settings_of(tmp_path, environment="staging")
    database = open_database(settings.resolved_database_url, SystemClock())
    database.records.put(ROUTES, "m", {"model_id": "m", "version": "1.0.0", "app": "m--1.0.0--x", "salt": ""})
    database.close()
    assert check_stores(settings) == (Share("m 1.0.0", settings.min_instances, None),)


def test_what_deployments_reserve_is_known_at_the_start(tmp_path):
    settings = settings_of(tmp_path)
    database = open_database(settings.resolved_database_url, SystemClock())
    route = ServingRoute("m", "1.0.0", "m--1.0.0--x", "s", run=RunOptions(resources=Resources(2.0, 500, 1.0)))
    database.records.put(ROUTES, "m", to_plain(route))
    database.close()
    assert check_stores(settings)[0].resources == Resources(2.0, 500, 1.0)


@pytest.fixture
def a_file(tmp_path):
    (tmp_path / "file").touch()
    return tmp_path / "file"


def refused(settings, limit_s=20.0) -> str:
    with pytest.raises(StorageFailed) as failed:
        check_stores(settings, limit_s)
    assert "\n" not in failed.value.message
    assert failed.value.code == "storage_failed"
    return failed.value.message


def test_a_database_that_refuses_connections(tmp_path):
    pytest.importorskip("psycopg")
    settings = settings_of(tmp_path, database_url=f"postgresql://u:geheim@127.0.0.1:{free_port()}/d")
    said = refused(settings)
    assert said.startswith("the database postgresql+psycopg://u:***@127.0.0.1")
    assert "refused" in said.lower()
    assert "geheim" not in said


def test_a_database_that_does_not_answer(tmp_path, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(storage, "open_database", lambda *_: release.wait(60))
    assert "it has not answered within 0.2 s" in refused(settings_of(tmp_path), 0.2)
    release.set()


@pytest.mark.parametrize("kind", ["database_url", "artifact_url"])
def test_a_path_that_cannot_be_written(tmp_path, a_file, kind):
    url = f"sqlite:///{a_file}/streamb.db" if kind == "database_url" else f"file://{a_file}/artifacts"
    said = refused(settings_of(tmp_path, **{kind: url}))
    assert said.startswith("the database" if kind == "database_url" else "the artifact store")
    assert str(a_file) in said


def test_an_error_of_a_driver_that_nobody_foresaw_is_a_sentence_too(tmp_path, monkeypatch):
    def broken(_url):
        raise RuntimeError("no credentials")

    monkeypatch.setattr(storage, "open_blobs", broken)
    assert refused(settings_of(tmp_path)).endswith("cannot be used: RuntimeError: no credentials")


class TestNode:
    def sealed(self, settings, url="sqlite:///x") -> bytes:
        return PlatformKey.create(settings.state_dir).seal(url.encode())

    def test_a_node_that_is_well(self, tmp_path):
        settings = settings_of(tmp_path)
        assert check_node(settings, self.sealed(settings)) == []

    def test_a_state_directory_that_is_not_shared(self, tmp_path):
        here, there = settings_of(tmp_path / "a"), settings_of(tmp_path / "b")
        (absent,) = check_node(there, self.sealed(here))
        assert "is not the one of the other nodes" in absent
        assert "platform.key cannot be read" in absent
        PlatformKey.create(there.state_dir)
        (differs,) = check_node(there, self.sealed(here))
        assert "sealed with another platform key" in differs

    def test_stores_that_a_node_cannot_use_are_all_named(self, tmp_path, a_file):
        pytest.importorskip("psycopg")
        settings = settings_of(tmp_path, artifact_url=f"file://{a_file}/artifacts")
        url = f"postgresql+psycopg://u:geheim@127.0.0.1:{free_port()}/d"
        artifacts, database = check_node(settings, self.sealed(settings, url))
        assert artifacts.startswith("the artifact store")
        assert database.startswith("the database postgresql+psycopg://u:***@")
        assert "geheim" not in database
