"""A platform on a Ray cluster that somebody else has started: it comes, tolerates no second one, and goes."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import psutil
import pytest
import ray

from streamb.cluster.session import RAY_VARIABLES
from tests.cluster.processes import until

pytestmark = pytest.mark.ray

_BIN = Path(sys.executable).parent
_TOKEN = {"RAY_AUTH_MODE": "token"}  # `ray start` has it by itself where an earlier Ray has left a token
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
    """The address of a Ray of its own, which a child process holds."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path: Ray puts Unix sockets there
    command = [_BIN / "ray", "start", "--head", "--block", f"--port={port}", f"--temp-dir={folder}"]
    command += ["--num-cpus=4", "--include-dashboard=false"]
    environment = {**os.environ, **RAY_VARIABLES, **_TOKEN, "PYTHONUNBUFFERED": "1"}
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


def streamb(cluster: str, *arguments: str, state_dir: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **_TOKEN, "ML_RAY_ADDRESS": cluster, "ML_STATE_DIR": str(state_dir)}
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
