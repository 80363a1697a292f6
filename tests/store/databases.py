"""Databases for the tests. PostgreSQL is a real server: started once per session on a Unix socket, ended with it."""

from __future__ import annotations

import contextlib
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
from typing import Any, Self

import psutil
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


class PostgresServer:
    """A PostgreSQL server on a Unix socket; `with` starts it and ends it. Skips where PostgreSQL is not installed.

    Attributes:
        folder: where its socket, its data and its log are.
    """

    def __init__(self) -> None:
        initdb, self._postgres = shutil.which("initdb"), shutil.which("postgres")
        if initdb is None or self._postgres is None:
            pytest.skip("PostgreSQL's initdb and postgres are not on the PATH")
        # Not below pytest's own folder: nobody else may enter that, and a socket's path must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="streamb-pg-", dir="/tmp"))
        self._child = _unprivileged()
        if self._child:
            os.chown(self.folder, self._child["user"], self._child["group"])
        options = ["-U", "streamb", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        self._run([initdb, "-D", self._data, *options]).wait(60)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server.poll() is None:
            self._server.send_signal(signal.SIGINT)  # fast shutdown: it does not wait for clients
            self._server.wait(timeout=30)
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start it, again after `kill` too, and wait until it answers."""
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB", "-k", self.folder]
        self._server = self._run([self._postgres, "-D", self._data, *options])
        _wait_until_ready(self._server, self.folder)

    def kill(self) -> None:
        """End all its processes at once."""
        family = [*psutil.Process(self._server.pid).children(recursive=True), psutil.Process(self._server.pid)]
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._server.wait(timeout=30)
        psutil.wait_procs(family, timeout=30)

    def url(self, name: str) -> str:
        """Create a database without tables; return its URL."""
        with psycopg.connect(_dsn(self.folder), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://streamb@/{name}?host={self.folder}"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _run(self, command: list[Any]) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **self._child)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server, shared by all tests of the session."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_folder(postgres_server: PostgresServer) -> Path:
    """The folder of the running server's socket."""
    return postgres_server.folder


@pytest.fixture(scope="session")
def new_postgres_url(postgres_server: PostgresServer) -> Callable[[], str]:
    """Makes a fresh database without tables at each call (0.3 s), and answers its URL."""
    return lambda: postgres_server.url(f"t{uuid.uuid4().hex}")


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
