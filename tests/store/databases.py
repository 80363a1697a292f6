"""Databases for the tests. PostgreSQL is a real server: started once per session on a Unix socket, ended with it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from streamb.clock import SystemClock
from streamb.store.database import open_database
from streamb.store.sql_tables import metadata

_START_TIMEOUT_S = 30.0


def _unprivileged() -> dict[str, Any]:
    """How to start a child so that PostgreSQL accepts it: it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _wait_until_ready(server: subprocess.Popen[bytes], folder: Path) -> None:
    clock = SystemClock()
    deadline = clock.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(_dsn(folder), connect_timeout=2).close()
        except psycopg.OperationalError:
            if server.poll() is not None or clock.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start:\n{(folder / 'log').read_text()}")
            time.sleep(0.05)
        else:
            return


def _dsn(folder: Path, database: str = "postgres") -> str:
    return f"host={folder} user=streamb dbname={database}"


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """The folder of a running server's socket; skips where PostgreSQL is not installed."""
    initdb, postgres = shutil.which("initdb"), shutil.which("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL's initdb and postgres are not on the PATH")
    # Not below pytest's own folder: nobody else may enter that, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="streamb-pg-", dir="/tmp"))
    child = _unprivileged()
    if child:
        os.chown(folder, child["user"], child["group"])
    data = folder / "data"
    try:
        with (folder / "log").open("wb") as log:
            initialise = [
                initdb,
                "-D",
                data,
                "-U",
                "streamb",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ]
            subprocess.run(initialise, check=True, cwd=folder, stdout=log, stderr=log, **child)
            options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB", "-k", folder]
            server = subprocess.Popen([postgres, "-D", data, *options], cwd=folder, stdout=log, stderr=log, **child)
        try:
            _wait_until_ready(server, folder)
            yield folder
        finally:
            server.send_signal(signal.SIGINT)  # fast shutdown: it does not wait for clients
            server.wait(timeout=30)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def new_postgres_url(postgres_folder: Path) -> Callable[[], str]:
    """Makes a fresh database without tables at each call (0.3 s), and answers its URL."""

    def make() -> str:
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(_dsn(postgres_folder), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://streamb@/{name}?host={postgres_folder}"

    return make


@pytest.fixture(scope="session")
def _migrated_postgres_url(new_postgres_url: Callable[[], str]) -> str:
    url = new_postgres_url()
    open_database(url, SystemClock()).close()
    return url


@pytest.fixture
def postgres_url(_migrated_postgres_url: str, postgres_folder: Path) -> str:
    """The URL of a migrated database without rows, shared by the tests of a session one after the other."""
    name = make_url(_migrated_postgres_url).database
    with psycopg.connect(_dsn(postgres_folder, str(name)), autocommit=True) as connection:
        for table in metadata.tables:
            connection.execute(f"DELETE FROM {table}".encode())
    return _migrated_postgres_url


@pytest.fixture(scope="session")
def _migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "streamb.db"
    open_database(f"sqlite:///{path}", SystemClock()).close()
    return path


@pytest.fixture
def sqlite_url(_migrated_sqlite_file: Path, tmp_path: Path) -> str:
    """The URL of a migrated SQLite database without rows."""
    path = tmp_path / "streamb.db"
    shutil.copy(_migrated_sqlite_file, path)
    return f"sqlite:///{path}"
