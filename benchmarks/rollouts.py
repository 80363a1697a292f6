"""Weight changes under load: no request may fail while versions take over, are rolled back, or break.

    python -m benchmarks.rollouts [--transitions 40] [--requests 100000] [--rate auto] [--json FILE]

One platform with two gateways. Open-loop load at 70 % of what it can do goes on without a pause while versions of a
model take over by every strategy in turn and are rolled back, mid-way and after completion. Then comes a canary that
raises on every call. No window is left out. Exit code 0: every goal is met; 1: one is not; 2: it cannot run.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.client
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import psutil

from benchmarks import workload
from benchmarks.epoch_watch import EpochWatch
from benchmarks.open_load import LoadProcess, LoadSpec, OpenLoadResult
from benchmarks.rollout_report import BROKEN_PERCENT, CONNECTIONS, GATEWAYS, Moved, Results, describe
from benchmarks.servers import CONCURRENT_REQUESTS, ServerError, bodies, end_processes
from streamb import Deployment, ProductionMLManager
from streamb.clock import SystemClock
from streamb.errors import StreambError

MODEL: Final = "benchmark"
LOAD_SHARE: Final = 0.7
LEAST_RATE: Final = 550.0
"""So that a tenth of it is at least 50 requests a second."""
_WAIT_S: Final = 120.0
_QUICK: Final = {
    "step_seconds": 1,
    "min_samples": 50,
    # What is measured here is that nothing fails on the way; two cores under load are no place to judge latencies.
    "health_check_criteria": {"latency_slack_ms": 10_000},
}
_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Move:
    """One transition: a deployment, one that is rolled back mid-way, or the rollback of the one before."""

    name: str
    strategy: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    ends: str = "completed"


PLAN: Final = (
    Move("immediate", "immediate"),
    Move("blue_green", "blue_green", {**_QUICK, "hold_seconds": 60}),
    Move("rollback to a warm version", ends="rolled_back"),
    Move("canary", "canary", {**_QUICK, "steps": [5, 50], "hold_seconds": 60}),
    Move("rollback to a warm version", ends="rolled_back"),
    Move("rolling", "rolling", {**_QUICK, "hold_seconds": 0}),
    Move("rollback to a version that has to start", ends="rolled_back"),
    Move("rollback mid-canary", "canary", {**_QUICK, "steps": [25, 50]}, ends="rolled_back"),
)


class Transitions:
    """Brings version after version into traffic."""

    def __init__(self, manager: ProductionMLManager) -> None:
        self._manager = manager
        self._major = 0
        self._last: Deployment | None = None
        self.done: list[Moved] = []

    def run(self, move: Move) -> Moved:
        """Make one transition and wait for its end."""
        began = _clock.monotonic()
        try:
            state, reason = self._carry_out(move)
        except StreambError as error:
            state, reason = "stuck", error.message
            if self._last is not None:
                with contextlib.suppress(StreambError):
                    self._last.abort(reason="the benchmark goes on")
        moved = Moved(move.name, move.ends, state, reason, _clock.monotonic() - began)
        self.done.append(moved)
        return moved

    def register(self, model: Any) -> str:
        """Register the next version."""
        self._major += 1
        version = f"{self._major}.0.0"
        self._manager.register_model(MODEL, "Benchmark", "", model, version)
        return version

    def _carry_out(self, move: Move) -> tuple[str, str]:
        if move.strategy:
            version = self.register(_variant(self._major))
            self._last = self._manager.deploy_model(
                model_id=MODEL, target_version=version, rollout_strategy=move.strategy, **move.options
            )
            if move.ends == "rolled_back":
                _wait_for_traffic(self._last)
                self._last.rollback(reason="forced, mid-way")
        elif self._last is not None:
            self._last.rollback(reason="forced, after completion")
        assert self._last is not None
        status = self._last.wait(_WAIT_S)
        return status.state, status.reason


def _variant(number: int) -> Any:
    """The benchmark's pipeline with another regularisation."""
    from sklearn.base import clone
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    return clone(workload.pipeline()).set_params(logisticregression__C=1.0 + number / 10).fit(features, labels)


def _raising() -> Any:
    """A pipeline that loads, and raises on every call: its weights do not fit its features."""
    damaged = _variant(0)
    damaged[-1].coef_ = damaged[-1].coef_[:, :-1]
    return damaged


def _wait_for_traffic(deployment: Deployment) -> None:
    deadline = _clock.monotonic() + _WAIT_S
    while (status := deployment.status()).weight == 0 and not status.ended and _clock.monotonic() < deadline:
        time.sleep(0.02)


@contextlib.contextmanager
def _platform() -> Iterator[ProductionMLManager]:
    """A platform with two gateways, in a folder of its own; every process of it is ended at the end."""
    state_dir = Path(tempfile.mkdtemp(prefix="sb-rollouts-"))
    said = {"ML_MAX_CONCURRENT_REQUESTS": str(CONCURRENT_REQUESTS), "ML_GATEWAY_REPLICAS": str(GATEWAYS)}
    tree: list[psutil.Process] = []
    os.environ |= said
    try:
        with ProductionMLManager(environment="development", state_dir=state_dir) as manager:
            try:
                yield manager
            finally:
                with contextlib.suppress(OSError, psutil.NoSuchProcess):
                    root = psutil.Process(json.loads((state_dir / "platform.json").read_text())["pid"])
                    tree = [root, *root.children(recursive=True)]
    finally:
        end_processes(tree)
        for name in said:
            del os.environ[name]
        shutil.rmtree(state_dir, ignore_errors=True)


def _measure(manager: ProductionMLManager, arguments: argparse.Namespace) -> Results:
    transitions = Transitions(manager)
    first = transitions.run(PLAN[0])
    if not first.as_wanted:
        raise ServerError(f"the first deployment ended as {first.state}: {first.reason}")
    headers = {"Authorization": f"Bearer {manager.api_key}"} if manager.api_key else {}
    address = urlsplit(manager.url)
    texts = [body.decode() for body in bodies()]
    path = f"/v2/models/{MODEL}/predict"
    spec = LoadSpec(address.hostname or "", address.port or 80, path, texts, 0.0, CONNECTIONS, headers)
    with EpochWatch(manager.url, headers) as watch:
        capacity = _capacity(spec)
        rate = max(LEAST_RATE, LOAD_SHARE * capacity if arguments.rate is None else arguments.rate)
        _progress(f"capacity {capacity:,.0f}/s; load at {rate:,.0f}/s")
        spec = dataclasses.replace(spec, rate=rate)
        moves, load = _under_load(transitions, spec, arguments)
        acknowledged, look_ms = tuple(watch.times_ms), float(np.median(watch.looks_ms))
        broken, broken_load, broken_s = _break(manager, transitions, spec)
    return Results(capacity, rate, moves, load, acknowledged, look_ms, broken, broken_load, broken_s)


def _capacity(spec: LoadSpec) -> float:
    """Answers per second when every connection asks again at once: the same client, and the watch beside it."""
    with LoadProcess(spec) as load:
        while load.answered < CONNECTIONS:
            time.sleep(0.05)
        time.sleep(2)  # warm-up
        before, began = load.answered, _clock.monotonic()
        time.sleep(4)
        return (load.answered - before) / (_clock.monotonic() - began)


def _under_load(
    transitions: Transitions, spec: LoadSpec, arguments: argparse.Namespace
) -> tuple[list[Moved], OpenLoadResult]:
    before = len(transitions.done)
    with LoadProcess(spec) as load:
        time.sleep(1)
        for move in cycle((*PLAN[1:], PLAN[0])):
            count = len(transitions.done) - before
            if count >= arguments.transitions and load.answered >= arguments.requests:
                break
            moved = transitions.run(move)
            told = "" if moved.as_wanted else f": {moved.state}, not {moved.wanted}: {moved.reason}"
            _progress(
                f"  {count + 1:3} {moved.name}{told} in {moved.seconds:.1f} s; {load.answered:,} answers, "
                f"{load.failed} failed"
            )
        time.sleep(1)
        return transitions.done[before:], load.stop()


def _break(
    manager: ProductionMLManager, transitions: Transitions, spec: LoadSpec
) -> tuple[Moved, OpenLoadResult, float]:
    """A canary that raises on every call; the seconds from the publication of its share to share 0 everywhere."""
    version = transitions.register(_raising())
    began = _clock.monotonic()
    with LoadProcess(spec) as load:
        time.sleep(2)
        deployment = manager.deploy_model(
            model_id=MODEL,
            target_version=version,
            rollout_strategy="canary",
            traffic_split_percentage=BROKEN_PERCENT,
        )
        status = deployment.wait(_WAIT_S)
        time.sleep(2)
        result = load.stop()
    moved = Moved("a canary that raises", "rolled_back", status.state, status.reason, _clock.monotonic() - began)
    at = {event["kind"]: event["at"] for event in _history(manager, deployment.id)}
    # The share is published before its first request arrives, so this is no shorter than from that request on.
    return moved, result, at.get("rolled_back", float("inf")) - at.get("step", 0.0)


def _history(manager: ProductionMLManager, deployment_id: str) -> list[dict[str, Any]]:
    """What happened to a deployment, the newest first."""
    address = urlsplit(manager.url)
    connection = http.client.HTTPConnection(address.netloc, timeout=30)
    headers = {"Authorization": f"Bearer {manager.api_key}"} if manager.api_key else {}
    connection.request("GET", f"/api/deployments/history?model_id={MODEL}", headers=headers)
    items: list[dict[str, Any]] = json.loads(connection.getresponse().read())["items"]
    connection.close()
    return [item for item in items if item["deployment_id"] == deployment_id]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollouts", description="weight changes under load")
    parser.add_argument("--transitions", type=int, default=40, help="transitions under load, at least (40)")
    parser.add_argument("--requests", type=int, default=100_000, help="requests under load, at least (100000)")
    parser.add_argument("--rate", type=_rate, default=None, help="requests per second; auto: 70 %% of the capacity")
    parser.add_argument("--json", type=Path, help="write every measurement to this file")
    arguments = parser.parse_args(argv)
    try:
        with _platform() as manager:
            results = _measure(manager, arguments)
    except (ServerError, StreambError, RuntimeError) as error:
        print(f"the benchmark cannot run: {error}", file=sys.stderr)
        return 2
    text, passed = describe(results, arguments)
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(dataclasses.asdict(results), indent=1) + "\n")
    return 0 if passed else 1


def _rate(text: str) -> float | None:
    return None if text == "auto" else float(text)


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
