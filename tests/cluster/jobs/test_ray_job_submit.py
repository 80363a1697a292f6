"""The training job as Ray's own job, on a Ray of its own with a dashboard: how it is run on a real cluster."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from streamb.config import child_environment

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

RAY = Path(sys.executable).parent / "ray"
ROOT = Path(__file__).resolve().parents[3]
PORT_OPTIONS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
    "ray-client-server-port",
    "runtime-env-agent-port",
    "node-manager-port",
    "object-manager-port",
)


def environment() -> dict[str, str]:
    """Without what connects this process to the Ray of the other tests."""
    inherited = child_environment(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")
    inherited["PATH"] = f"{RAY.parent}:{inherited['PATH']}"
    kept = {"RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED"}
    return {name: value for name, value in inherited.items() if not name.startswith("RAY_") or name in kept}


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


@pytest.fixture(scope="module")
def dashboard() -> Iterator[str]:
    """The address of the dashboard of a head node that runs in the foreground of a child process."""
    folder = Path(tempfile.mkdtemp(prefix="sbr-"))
    heads = []
    try:
        for attempt in range(2):  # a port may be taken meanwhile, or Ray's own patience with its dashboard be too short
            head, url = start_head(folder / str(attempt))
            heads.append(head)
            if answers(url, head):
                break
            end(head)
        else:
            pytest.fail((folder / "1" / "head.log").read_text())
        yield url
    finally:
        end(heads[-1])
        shutil.rmtree(folder, ignore_errors=True)


def start_head(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    folder.mkdir()
    ports = dict(zip(PORT_OPTIONS, free_ports(len(PORT_OPTIONS)), strict=True))
    options = [f"--{name}={port}" for name, port in ports.items()]
    command = [RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", "--num-cpus=2", *options]
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(
            [*command, f"--temp-dir={folder}"],
            env=environment(),
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return head, f"http://127.0.0.1:{ports['dashboard-port']}"


def answers(url: str, head: subprocess.Popen[bytes]) -> bool:
    """Wait for the dashboard; whether it came."""
    deadline = time.monotonic() + 150
    while head.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/api/jobs/", timeout=5, trust_env=False).is_success:
                return True
        time.sleep(0.5)
    return False


def end(head: subprocess.Popen[bytes]) -> None:
    """End exactly this Ray: never `ray stop`, which ends every Ray of the machine."""
    if head.poll() is not None:
        return
    tree = psutil.Process(head.pid).children(recursive=True)
    head.terminate()
    try:
        head.wait(20)
    except subprocess.TimeoutExpired:
        head.kill()
        head.wait()
    for process in tree:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(tree, timeout=10)


@pytest.fixture(scope="module")
def working_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user would submit from: the code and the data."""
    folder = tmp_path_factory.mktemp("submit")
    for package in ("streamb", "tune_jobs"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data.csv").write_text("a,b,label\n" + "".join(f"{i},{i % 5},{int(i > 30)}\n" for i in range(60)))
    return folder


def submit(dashboard: str, working_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    job = ["python", "-m", "tune_jobs.train", "--csv", "data.csv", "--model-id", "m", "--version", "1.0.0", *arguments]
    return subprocess.run(
        [RAY, "job", "submit", "--address", dashboard, "--working-dir", str(working_dir), "--", *job],
        env=environment(),
        cwd=working_dir,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_the_training_job_runs_as_a_ray_job(dashboard: str, working_dir: Path, tmp_path: Path) -> None:
    finished = submit(dashboard, working_dir, "--target", "label", "--output", str(tmp_path / "out"))
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "read 60 rows, 2 columns" in finished.stdout
    assert "accuracy" in finished.stdout
    assert (tmp_path / "out" / "model" / "manifest.json").exists()
    assert '"job_id": "raysubmit_' in (tmp_path / "out" / "report.json").read_text()


def test_a_wrong_argument_fails_the_ray_job(dashboard: str, working_dir: Path) -> None:
    finished = submit(dashboard, working_dir, "--target", "nothing", "--dry-run")
    assert finished.returncode != 0
    assert "no such column; there are a, b, label" in finished.stdout
