"""A platform on a Ray cluster that somebody else has started: it comes, tolerates no second one, and goes."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import ray

from streamb.cluster.ray_token import MODE, Protection, protection_of
from streamb.cluster.session import CLOSED, RAY_VARIABLES
from tests.cluster.listeners import assert_closed, family_of, joins, listeners_of
from tests.cluster.processes import until

pytestmark = pytest.mark.ray

_BIN = Path(sys.executable).parent
_TOKEN = {"RAY_AUTH_MODE": "token"}  # `ray start` has it by itself where an earlier Ray has left a token
KEYS = {"ML_ENABLE_AUTHENTICATION": "true"}
_LIST_APPS = """
import json, sys, ray
from ray import serve
ray.init(sys.argv[1], log_to_driver=False)
serve.start()
print(json.dumps({name: str(app.status) for name, app in serve.status().applications.items()}))
print(json.dumps([one["name"] for one in ray.util.list_named_actors(all_namespaces=True)]))
"""


@pytest.fixture
def cluster(tmp_path):
    """The address of a Ray of its own that demands a token."""
    with started(tmp_path, _TOKEN) as address:
        yield address


@pytest.fixture
def open_cluster(tmp_path):
    """The address of a Ray of its own that lets everybody in."""
    with started(tmp_path, {"RAY_AUTH_MODE": "disabled"}) as address:
        yield address


@contextmanager
def started(tmp_path, variables):
    """The address of a Ray of its own, which a child process holds."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path: Ray puts Unix sockets there
    command = [_BIN / "ray", "start", "--head", "--block", f"--port={port}", f"--temp-dir={folder}"]
    command += ["--num-cpus=4", "--include-dashboard=false"]
    environment = {**os.environ, **RAY_VARIABLES, **variables, "PYTHONUNBUFFERED": "1"}
    log = folder / "start.log"
    with log.open("wb") as output:
        head = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        until(lambda: "Ray runtime started" in log.read_text(), 90, "Ray has started")
        yield f"{ray.util.get_node_ip_address()}:{port}"
    finally:
        for process in [*psutil.Process(head.pid).children(recursive=True), head, *started_with(tmp_path)]:
            process.kill()
        head.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def started_with(folder: Path) -> list[psutil.Process]:
    """What a test that failed has left in the background: it has the folder in its command line."""
    return [one for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or [])]


def streamb(cluster: str, *arguments: str, state_dir: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ML_RAY_ADDRESS": cluster, "ML_STATE_DIR": str(state_dir), **more}
    command = [_BIN / "streamb", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=290, check=False)


def running(cluster: str) -> tuple[dict[str, str], list[str]]:
    """Serve's applications on the cluster, and the named actors."""
    command = [sys.executable, "-c", _LIST_APPS, cluster]
    environment = {**os.environ, **_TOKEN}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    said = ended.stdout.splitlines()
    return json.loads(said[-2]), json.loads(said[-1])


def test_one_platform_on_a_cluster_that_goes_on_without_it(cluster, tmp_path):
    first = streamb(cluster, "up", "--detach", "--port", "0", "--sample", "--json", state_dir=tmp_path / "a")
    assert first.returncode == 0, first.stderr
    url = json.loads(first.stdout)["url"]

    second = streamb(cluster, "up", "--port", "0", state_dir=tmp_path / "b")
    assert second.returncode == 1
    assert "another platform runs on the Ray cluster" in second.stderr
    assert httpx.get(f"{url}/v2/models/iris/ready").status_code == 200, "the first one goes on"

    stopped = streamb(cluster, "down", state_dir=tmp_path / "a")
    assert stopped.returncode == 0, stopped.stderr
    until(lambda: not running(cluster)[0], 30, "no application of ours is left")
    assert not [name for name in running(cluster)[1] if name.startswith("streamb-")]


def test_only_development_joins_a_cluster_without_a_token(open_cluster, cluster, tmp_path, monkeypatch):
    monkeypatch.delenv(MODE, raising=False)
    assert protection_of(cluster)[0] is Protection.TOKEN
    assert protection_of(open_cluster)[0] is Protection.NONE
    for environment in ("staging", "production"):
        refused = streamb(open_cluster, "up", "--env", environment, "--port", "0", state_dir=tmp_path / environment)
        assert refused.returncode == 1
        assert "[ray_unprotected]" in refused.stderr
        assert "RAY_AUTH_MODE=token" in refused.stderr
        assert "`ray get-auth-token --generate`" in refused.stderr
    up = streamb(open_cluster, "up", "--detach", "--port", "0", "--no-sample", "--json", state_dir=tmp_path / "dev")
    assert up.returncode == 0, up.stderr
    log = (tmp_path / "dev" / "up.log").read_text()
    assert log.count("lets anybody in who reaches its ports") == 1, log
    assert json.loads(up.stdout)["api_key"] not in log
    assert streamb(open_cluster, "down", state_dir=tmp_path / "dev").returncode == 0


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_the_doors_are_closed_on_any_ray(mode, tmp_path):
    """On a Ray without a token, Ray's own ports let everybody in, and streamb's still nobody without a key."""
    with started(tmp_path, {"RAY_AUTH_MODE": mode, **CLOSED}) as cluster:
        up = streamb(cluster, "up", "--detach", "--port", "0", "--sample", "--json", state_dir=tmp_path / "a", **KEYS)
        assert up.returncode == 0, up.stderr
        found = family_of([int(json.loads(up.stdout)["pid"]), *(one.pid for one in processes_of(cluster))])
        speaking = assert_closed(listeners_of(found), tmp_path / "unpickled", tokened=mode == "token")
        assert speaking["HTTP"] >= 3 <= speaking["gRPC"]
        assert joins(cluster, RAY_AUTH_MODE="disabled") == (mode == "disabled")
        assert streamb(cluster, "down", state_dir=tmp_path / "a").returncode == 0


def processes_of(cluster: str) -> list[psutil.Process]:
    """What runs on a Ray: its own processes know its address."""
    return [one for one in psutil.process_iter(["cmdline"]) if cluster in " ".join(one.info["cmdline"] or [])]


def test_serve_run_is_refused_as_well(open_cluster, tmp_path):
    command = [_BIN / "serve", "run", "serve_apps.gateway:app", f"state_dir={tmp_path / 'a'}", "environment=staging"]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": open_cluster}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode != 0
    assert "the environment staging joins no Ray cluster without token authentication" in ended.stdout + ended.stderr
