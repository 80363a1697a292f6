"""The Controller is started again while its PostgreSQL is away: predictions go on, and verbs once it is back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from streamb.sdk.discovery import read_platform_file
from tests.cluster.load import Load
from tests.cluster.processes import until
from tests.store.databases import _unprivileged, _wait_until_ready

pytestmark = [pytest.mark.ray, pytest.mark.fault]

ROW = [5.1, 3.5, 1.4, 0.2]
AWAY_S = 15.0


class Postgres:
    """A PostgreSQL server of its own, which can be ended and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.child: dict[str, Any] = _unprivileged()
        if self.child:
            os.chown(folder, self.child["user"], self.child["group"])
        command = ["initdb", "-D", folder / "data", "-U", "streamb", "-A", "trust", "--no-sync"]
        with (folder / "log").open("wb") as log:
            subprocess.run(command, check=True, cwd=folder, stdout=log, stderr=log, **self.child)
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://streamb@/postgres?host={self.folder}"

    def start(self) -> None:
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-k", self.folder]
        with (self.folder / "log").open("ab") as log:
            command = ["postgres", "-D", self.folder / "data", *options]
            self.server = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **self.child)
        _wait_until_ready(self.server, self.folder)

    def end(self) -> None:
        """End it at once, as a crash does: nothing is written, clients are disconnected."""
        self.server.send_signal(signal.SIGQUIT)
        self.server.wait(60)


@pytest.fixture(scope="module")
def postgres():
    if shutil.which("initdb") is None or shutil.which("postgres") is None:
        pytest.skip("PostgreSQL's initdb and postgres are not on the PATH")
    folder = Path(tempfile.mkdtemp(prefix="streamb-pg-", dir="/tmp"))
    server = Postgres(folder)
    yield server
    server.end()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def platform(postgres):
    state_dir = Path(tempfile.mkdtemp(prefix="streamb-away-"))
    environment = {**os.environ, "ML_STATE_DIR": str(state_dir), "ML_DATABASE_URL": postgres.url}
    streamb = [sys.executable, "-m", "streamb"]
    command = [*streamb, "up", "--detach", "--port", "0", "--sample", "--json"]
    up = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    try:
        assert up.returncode == 0, up.stderr
        yield json.loads(up.stdout)["url"], psutil.Process(read_platform_file(state_dir).pid)
    finally:
        subprocess.run([*streamb, "down"], env=environment, capture_output=True, timeout=200, check=False)
        shutil.rmtree(state_dir, ignore_errors=True)


def controllers(up: psutil.Process) -> list[psutil.Process]:
    return [one for one in up.children(recursive=True) if "ray::ControllerActor" in " ".join(one.cmdline())]


def test_a_controller_that_starts_while_its_database_is_away_works_once_it_is_back(postgres, platform):
    url, up = platform
    ask = lambda: httpx.get(f"{url}/api/models/iris", timeout=60)  # noqa: E731
    with Load(url, "iris", [ROW], connections=4) as load:
        load.wait_for(50)
        (dead,) = controllers(up)
        postgres.end()
        ended = time.monotonic()
        dead.kill()
        try:
            until(lambda: [one for one in controllers(up) if one.pid != dead.pid], what="it is started again")
            until(lambda: "cannot begin its work: the database failed" in ask().text, what="the true cause")
            assert (ask().status_code, ask().json()["code"]) == (503, "unavailable"), ask().text
            until(lambda: time.monotonic() - ended > AWAY_S, what="its database has been away for a while")
        finally:
            postgres.start()
        until(lambda: ask().status_code == 200, what="verbs answer again")
        health = lambda: httpx.get(f"{url}/api/monitoring/system-health", timeout=60).json()  # noqa: E731
        until(lambda: health()["components"]["gateway"]["status"] == "healthy", what="gateways are known again")
        load.wait_for(50)
    assert not load.failed, load.summary()
