"""The four servers of the serving benchmark: how each is started, asked whether it answers right, and ended.

One is up at a time: an idle Ray Serve alone uses a sixth of a core. A server is a process tree of its own; `stop` asks
its root to end and then ends what is left of exactly that tree.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks import workload
from streamb.clock import SystemClock

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
CONCURRENT_REQUESTS = 200

_clock = SystemClock()


class ServerError(Exception):
    """A server did not start, or its answers are wrong."""


@dataclass(frozen=True, slots=True)
class Target:
    """A running server.

    Attributes:
        url: where rows are posted.
        headers: what each request carries besides its content type.
        root: the process whose tree is the server.
    """

    url: str
    root: psutil.Process
    headers: Mapping[str, str] = field(default_factory=dict)

    def processes(self) -> list[psutil.Process]:
        """The server's processes that run now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self.root, *self.root.children(recursive=True)]
        return []


@dataclass(frozen=True, slots=True)
class Server:
    """One of the four: its letter in the report, its name, and how it is run."""

    letter: str
    name: str
    module: str | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[Target]:
        """Start it, wait until it answers right, and end it at the end.

        Raises:
            ServerError: it did not start in time, or its answers differ from the pipeline's own.
        """
        with _streamb() if self.module is None else _peer(self.module) as target:
            check_answers(target)
            yield target


SERVERS = (
    Server("a", "streamb"),
    Server("b", "FastAPI + uvicorn", "benchmarks.peers.fastapi_app"),
    Server("c", "Ray Serve, defaults", "benchmarks.peers.ray_serve_app"),
    Server("d", "LitServe, batching", "benchmarks.peers.litserve_app"),
)


def bodies() -> list[bytes]:
    """The requests, one row each, that every server gets."""
    return [json.dumps({"instances": [row]}).encode() for row in workload.rows()]


def check_answers(target: Target) -> None:
    """Send every row once and compare with the pipeline in this process.

    Raises:
        ServerError: an answer is not a 2xx, or differs.
    """
    expected = workload.answer(workload.rows())["predictions"]
    with httpx.Client(headers=dict(target.headers), timeout=30) as client:
        for index, row in enumerate(workload.rows()):
            response = client.post(target.url, json={"instances": [row]})
            if response.status_code != httpx.codes.OK:
                raise ServerError(
                    f"{target.url} answered row {index} with {response.status_code}: {response.text[:300]}"
                )
            answer: dict[str, Any] = response.json()
            if answer["predictions"] != [expected[index]]:
                raise ServerError(f"{target.url} answered row {index} wrong: {response.text[:300]}")


@contextlib.contextmanager
def _peer(module: str) -> Iterator[Target]:
    port = _free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--port", str(port)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        target = Target(f"http://127.0.0.1:{port}/predict", psutil.Process(process.pid))
        try:
            _wait_for_answer(module, target, process, log)
            yield target
        finally:
            tree = target.processes()
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
            end_processes(tree)
            process.wait()


def _wait_for_answer(module: str, target: Target, process: subprocess.Popen[bytes], log: Any) -> None:
    deadline = _clock.monotonic() + START_TIMEOUT_S
    body = bodies()[0]
    while _clock.monotonic() < deadline:
        if process.poll() is not None:
            log.seek(0)
            tail = log.read()[-2_000:].decode(errors="replace")
            raise ServerError(f"{module} ended with exit code {process.returncode}:\n{tail}")
        with contextlib.suppress(httpx.TransportError):
            response = httpx.post(target.url, content=body, headers={"Content-Type": "application/json"}, timeout=10)
            if response.status_code == httpx.codes.OK:
                return
        time.sleep(0.2)
    raise ServerError(f"{target.url} did not answer within {START_TIMEOUT_S:.0f} s")


@contextlib.contextmanager
def _streamb() -> Iterator[Target]:
    """A whole platform, started as a user of the library starts one, with the pipeline registered and deployed."""
    import streamb

    state_dir = Path(tempfile.mkdtemp(prefix="sb-bench-"))
    tree: list[psutil.Process] = []
    os.environ["ML_MAX_CONCURRENT_REQUESTS"] = str(CONCURRENT_REQUESTS)
    try:
        with streamb.ProductionMLManager(environment="development", state_dir=state_dir) as manager:
            manager.register_model(
                model_id="benchmark",
                name="Benchmark",
                description="The serving benchmark's pipeline",
                model=workload.pipeline(),
                version="1.0.0",
                metadata={},
                owner="benchmarks",
            )
            deployment = manager.deploy_model(
                model_id="benchmark", target_version="1.0.0", rollout_strategy="immediate"
            )
            status = deployment.wait(timeout=START_TIMEOUT_S)
            if status.state != "completed":
                raise ServerError(f"the deployment ended as {status.state}: {status.reason}")
            pid = json.loads((state_dir / "platform.json").read_text())["pid"]
            headers = {"Authorization": f"Bearer {manager.api_key}"} if manager.api_key else {}
            target = Target(f"{manager.url}/v2/models/benchmark/predict", psutil.Process(pid), headers)
            try:
                yield target
            finally:
                tree = target.processes()
    finally:
        end_processes(tree)
        del os.environ["ML_MAX_CONCURRENT_REQUESTS"]
        shutil.rmtree(state_dir, ignore_errors=True)


def end_processes(processes: list[psutil.Process]) -> None:
    """End those of `processes` that are still the ones we started (psutil compares their start times)."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
