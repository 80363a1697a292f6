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
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import numpy as np
import psutil

from benchmarks import workload
from benchmarks.open_load import LoadProcess, LoadSpec, OpenLoadResult
from benchmarks.servers import CONCURRENT_REQUESTS, ServerError, bodies, end_processes
from streamb import Deployment, ProductionMLManager
from streamb.clock import SystemClock
from streamb.errors import StreambError

MODEL: Final = "benchmark"
GATEWAYS: Final = 2
CONNECTIONS: Final = 64
LOAD_SHARE: Final = 0.7
BROKEN_PERCENT: Final = 10
LEAST_RATE: Final = 550.0
"""So that a tenth of it is at least 50 requests a second."""
MOST_ACKNOWLEDGE_MS: Final = 200.0
MOST_ABORT_S: Final = 3.0
_WAIT_S: Final = 120.0
_LOOK_S: Final = 0.005
_IDLE_LOOK_S: Final = 0.02
"""While every gateway has the newest table: looking costs the platform some milliseconds of CPU each time."""
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


@dataclass(frozen=True, slots=True)
class Moved:
    """How a transition went."""

    name: str
    wanted: str
    state: str
    reason: str
    seconds: float

    @property
    def as_wanted(self) -> bool:
        """Whether it ended as it should."""
        return self.state == self.wanted


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that was measured."""

    capacity: float
    rate: float
    moves: Sequence[Moved]
    load: OpenLoadResult
    acknowledged_ms: Sequence[float]
    look_ms: float
    broken: Moved
    broken_load: OpenLoadResult
    broken_s: float


class EpochWatch:
    """Asks the platform all the time which routing table is newest and which each gateway has.

    A time counts from the beginning of the last look that did not show a table to the end of the first one that
    shows every gateway with it: never too short, and too long by two looks at most.

    Attributes:
        times_ms: of every table, how long it took to be everywhere.
        looks_ms: how long each look took.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._address = urlsplit(url).netloc
        self._headers = dict(headers)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._newest = -1
        self._open: dict[int, float] = {}
        self.times_ms: list[float] = []
        self.looks_ms: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(10)

    def _watch(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=10)
        last_look = _clock.monotonic()
        while not self._stopped.wait(_LOOK_S if self._open else _IDLE_LOOK_S):
            began = _clock.monotonic()
            try:
                connection.request("GET", "/api/status", headers=self._headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                continue
            if answer.status == http.client.OK:
                now = _clock.monotonic()
                self._see(json.loads(content), last_look, now)
                self.looks_ms.append((now - began) * 1e3)
                last_look = began

    def _see(self, status: Mapping[str, Any], last_look: float, now: float) -> None:
        if self._newest >= 0:
            self._open |= dict.fromkeys(range(self._newest + 1, status["epoch"] + 1), last_look)
        self._newest = status["epoch"]
        everywhere = min((gateway["epoch"] for gateway in status["gateways"]), default=-1)
        for epoch in [epoch for epoch in self._open if epoch <= everywhere]:
            self.times_ms.append((now - self._open.pop(epoch)) * 1e3)


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


# --- what it concludes ------------------------------------------------------------------------------------------------


def describe(results: Results, wanted: argparse.Namespace) -> tuple[str, bool]:
    """The report, and whether every goal is met."""
    load, times = results.load, results.acknowledged_ms
    astray = [move for move in results.moves if not move.as_wanted]
    worst = float(np.percentile(times, 99)) if times else float("inf")
    broken = (
        f"a canary that raises, at {BROKEN_PERCENT} % ({results.rate * BROKEN_PERCENT / 100:,.0f} req/s): "
        f"{results.broken.state}; failed requests {results.broken_load.failed} of {results.broken_load.requests:,} "
        f"{_counts(results.broken_load.failures)}"
    )
    verdicts = [
        (
            load.failed == 0 and load.requests >= wanted.requests,
            f"failed requests: {load.failed} of {load.requests:,} {_counts(load.failures)}",
        ),
        (
            not astray and len(results.moves) >= wanted.transitions,
            f"transitions that ended as ordered: {len(results.moves) - len(astray)} of {len(results.moves)}",
        ),
        (results.broken.as_wanted and results.broken_load.failed == 0, broken),
        (
            results.broken_s <= MOST_ABORT_S,
            f"its share is 0 everywhere {results.broken_s:.2f} s after it was published (limit {MOST_ABORT_S:g} s)",
        ),
        (
            worst <= MOST_ACKNOWLEDGE_MS,
            f"a weight change on every gateway: p99 {worst:.0f} ms of {len(times)} (limit {MOST_ACKNOWLEDGE_MS:g} ms)",
        ),
    ]
    lines = [_load_line(results), *(f"{'PASS' if passed else 'FAIL'}  {text}" for passed, text in verdicts)]
    lines += [f"      {move.name}: {move.state}, not {move.wanted}: {move.reason}" for move in astray]
    lines += [f"      {example}" for example in [*load.examples, *results.broken_load.examples]]
    return "\n".join(lines), all(passed for passed, _ in verdicts)


def _load_line(results: Results) -> str:
    load, times = results.load, results.acknowledged_ms
    kinds = ", ".join(f"{count} {name}" for name, count in Counter(move.name for move in results.moves).items())
    median = f"{np.median(times):.0f} ms" if times else "unknown"
    return (
        f"{GATEWAYS} gateways, capacity {results.capacity:,.0f}/s, load {results.rate:,.0f}/s over {CONNECTIONS} "
        f"connections for {load.duration_s:.0f} s: p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.0f} ms, longest "
        f"{load.max_ms:,.0f} ms from when a request fell due\n"
        f"transitions: {kinds}\n"
        f"published to acknowledged: median {median}, seen by looks of {results.look_ms:.0f} ms\n"
    )


def _counts(failures: Mapping[str, int]) -> str:
    shown = ", ".join(f"{name}: {count}" for name, count in failures.items())
    return f"({shown})" if shown else ""


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
