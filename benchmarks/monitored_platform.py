"""A monitored platform, for the benchmarks of what monitoring costs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from benchmarks import workload
from benchmarks.servers import CONCURRENT_REQUESTS, START_TIMEOUT_S, ServerError, end_processes
from streamb import ProductionMLManager
from streamb.clock import SystemClock

MODEL, VERSION = "benchmark", "1.0.0"
_clock = SystemClock()


@contextlib.contextmanager
def monitored_platform() -> Iterator[tuple[ProductionMLManager, Path]]:
    """A platform with the pipeline deployed, and its folder; every process of it is ended at the end."""
    state_dir = Path(tempfile.mkdtemp(prefix="sb-monitoring-"))
    said = {
        "ML_MAX_CONCURRENT_REQUESTS": str(CONCURRENT_REQUESTS),
        "ML_ALERT_CHANNELS": "none",
    }
    tree: list[psutil.Process] = []
    os.environ |= said
    try:
        with ProductionMLManager(environment="development", state_dir=state_dir) as manager:
            manager.register_model(MODEL, "Benchmark", "", workload.pipeline(), VERSION)
            deployment = manager.deploy_model(model_id=MODEL, target_version=VERSION, rollout_strategy="immediate")
            status = deployment.wait(timeout=START_TIMEOUT_S)
            if status.state != "completed":
                raise ServerError(f"the deployment ended as {status.state}: {status.reason}")
            try:
                yield manager, state_dir
            finally:
                root = root_of(state_dir)
                tree = [root, *root.children(recursive=True)]
    finally:
        end_processes(tree)
        for name in said:
            del os.environ[name]
        shutil.rmtree(state_dir, ignore_errors=True)


def root_of(state_dir: Path) -> psutil.Process:
    return psutil.Process(json.loads((state_dir / "platform.json").read_text())["pid"])


def target_of(manager: ProductionMLManager) -> tuple[str, dict[str, str]]:
    return f"{manager.url}/v2/models/{MODEL}/predict", key_of(manager)


def key_of(manager: ProductionMLManager) -> dict[str, str]:
    return {"Authorization": f"Bearer {manager.api_key}"} if manager.api_key else {}


def set_baseline(manager: ProductionMLManager) -> None:
    """The rows that are sent, with the right answers, as the baseline: nothing drifts, and every column is folded."""
    rows = workload.rows() * 20
    body = {
        "model_id": MODEL,
        "version": VERSION,
        "instances": rows,
        "predictions": workload.answer(rows)["predictions"],
    }
    deadline = _clock.monotonic() + START_TIMEOUT_S
    while True:
        answer = httpx.post(f"{manager.url}/api/monitoring/baseline", json=body, headers=key_of(manager), timeout=30)
        if answer.status_code == httpx.codes.CREATED:
            return
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or _clock.monotonic() > deadline:
            raise ServerError(f"the baseline was not taken: {answer.status_code} {answer.text[:300]}")
        time.sleep(0.5)
