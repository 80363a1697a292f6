"""Autoscaling of a version when a load comes at once and goes again.

    python -m benchmarks.scaling [--connections 64] [--row-ms 30] [--most 4] [--seconds 60] [--json FILE]

One platform, one model that sleeps for some milliseconds a row (so that the number of cores does not matter), one to
`--most` replicas. A few requests a second; then so many connections that each ask again at once; then a few again,
until one replica is left. Exit code 0: every goal is met; 1: one is not; 2: it cannot run.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import psutil

from benchmarks.monitored_platform import key_of, root_of
from benchmarks.servers import CONCURRENT_REQUESTS, START_TIMEOUT_S, ServerError, end_processes
from streamb import ProductionMLManager
from streamb.clock import SystemClock
from streamb.errors import StreambError

MODEL: Final = "sleeper"
GOAL_UP_S: Final = 10.0
"""From the first request of the load to an answer of the last replica, beyond the time that their starts take."""
GOAL_DOWN_S: Final = 75.0
SETTLED_S: Final = 20.0
"""The rate and the latency are those of the last seconds of the load."""
_LONGEST_DOWN_S: Final = 600.0
_clock = SystemClock()


class Sleeps:
    """Works on each row for a while without a processor, and says in which process."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def predict(self, rows: Any) -> Any:
        import os
        import time

        import numpy as np

        time.sleep(self.seconds * len(rows))
        return np.full(len(rows), os.getpid())


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it was sent, how long it took, and which process answered (0: it failed)."""

    at: float
    seconds: float
    process: int


class Clients:
    """Connections that ask again as soon as they have an answer, or after a pause."""

    def __init__(self, manager: ProductionMLManager, connections: int, pause_s: float = 0.0) -> None:
        self._address, self._headers = urlsplit(manager.url).netloc, key_of(manager)
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]
        self.asked: list[Asked] = []

    def __enter__(self) -> Clients:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for one in self._threads:
            one.join(START_TIMEOUT_S)

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=60)
        headers = {"Content-Type": "application/json", **self._headers}
        while not self._stop.wait(self._pause_s):
            at, process = _clock.monotonic(), 0
            try:
                connection.request("POST", f"/v2/models/{MODEL}/predict", b'{"instances": [[1.0]]}', headers)
                reply = connection.getresponse()
                body = reply.read()
                process = int(json.loads(body)["predictions"][0]) if reply.status == http.client.OK else 0
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()
            self.asked.append(Asked(at, _clock.monotonic() - at, process))
        connection.close()


@dataclass(frozen=True, slots=True)
class Results:
    """What was measured; times in seconds, counted from the load's begin or end.

    Attributes:
        start_s: how long the deployment took, which starts one replica.
        ordered: when there were so many processes: (time, number) at each change.
        answering: when the n-th replica gave its first answer.
        rate: answers per second once it had settled.
        p95_ms: of the same answers.
        down_s: from the end of the load until one process is left; None: it did not happen.
    """

    start_s: float
    ordered: Sequence[tuple[float, int]]
    answering: Sequence[float]
    rate: float
    p95_ms: float
    failed: int
    requests: int
    down_s: float | None


@contextlib.contextmanager
def _platform(arguments: argparse.Namespace) -> Iterator[tuple[ProductionMLManager, psutil.Process, float]]:
    state_dir = Path(tempfile.mkdtemp(prefix="sb-scaling-"))
    said = {
        "ML_ENABLE_AUTO_SCALING": "true",
        "ML_MAX_INSTANCES": str(arguments.most),
        "ML_MAX_CONCURRENT_REQUESTS": str(CONCURRENT_REQUESTS),
        "ML_ALERT_CHANNELS": "none",
    }
    tree: list[psutil.Process] = []
    os.environ |= said
    try:
        with ProductionMLManager(environment="development", state_dir=state_dir) as manager:
            try:
                manager.register_model(MODEL, "Sleeper", "", Sleeps(arguments.row_ms / 1e3), "1.0.0")
                began = _clock.monotonic()
                deployed = manager.deploy_model(model_id=MODEL, target_version="1.0.0", rollout_strategy="immediate")
                if (status := deployed.wait(START_TIMEOUT_S)).state != "completed":
                    raise ServerError(f"the deployment ended as {status.state}: {status.reason}")
                yield manager, root_of(state_dir), _clock.monotonic() - began
            finally:
                root = root_of(state_dir)
                tree = [root, *root.children(recursive=True)]
    finally:
        end_processes(tree)
        for name in said:
            del os.environ[name]
        shutil.rmtree(state_dir, ignore_errors=True)


class Replicas:
    """The processes of the model, with those that are starting; a process is known by its title, which changes."""

    def __init__(self, root: psutil.Process) -> None:
        self._root = root
        self._known: set[psutil.Process] = set()

    def count(self) -> int:
        """How many there are now."""
        for child in self._root.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                title = "".join(child.cmdline()[:1])
                if title.startswith("ray::") and "ModelVersion" in title:
                    self._known.add(child)
        self._known = {one for one in self._known if one.is_running() and one.status() != psutil.STATUS_ZOMBIE}
        return len(self._known)


def _measure(
    manager: ProductionMLManager, root: psutil.Process, start_s: float, arguments: argparse.Namespace
) -> Results:
    replicas = Replicas(root)
    with Clients(manager, 1, 0.25):
        time.sleep(15)
    ordered: list[tuple[float, int]] = []
    began = _clock.monotonic()

    def look(since: float) -> int:
        count = replicas.count()
        if not ordered or ordered[-1][1] != count:
            ordered.append((_clock.monotonic() - since, count))
            _progress(f"  {ordered[-1][0]:6.1f} s: {count} replica(s)")
        return count

    with Clients(manager, arguments.connections) as clients:
        while _clock.monotonic() - began < arguments.seconds:
            look(began)
            time.sleep(0.5)
        ended = _clock.monotonic()
    up, down_s = list(ordered), None
    _progress("the load has ended")
    with Clients(manager, 1, 1.0) as few:
        while down_s is None and _clock.monotonic() - ended < _LONGEST_DOWN_S:
            if look(ended) == 1:
                down_s = _clock.monotonic() - ended
            time.sleep(0.5)
    first: dict[int, float] = {}
    for one in clients.asked:
        if one.process:
            first[one.process] = min(first.get(one.process, np.inf), one.at + one.seconds - began)
    late = [one.seconds for one in clients.asked if ended - SETTLED_S <= one.at + one.seconds <= ended]
    everything = clients.asked + few.asked
    return Results(
        start_s,
        up,
        sorted(first.values()),
        len(late) / SETTLED_S,
        1e3 * float(np.quantile(late, 0.95)) if late else float("nan"),
        sum(not one.process for one in everything),
        len(everything),
        down_s,
    )


def describe(found: Results, most: int) -> tuple[str, bool]:
    """Return the results as text, and whether every goal is met."""
    up_s = found.answering[most - 1] if len(found.answering) >= most else None
    steps = len(found.ordered) - 1
    limit_s = GOAL_UP_S + (most - 1) * found.start_s
    goals = {
        f"{most} replicas answer within {limit_s:.0f} s": up_s is not None and up_s <= limit_s,
        f"one is left within {GOAL_DOWN_S:g} s": found.down_s is not None and found.down_s <= GOAL_DOWN_S,
        "no request failed": found.failed == 0,
    }
    lines = [
        f"a deployment of one replica: {found.start_s:.1f} s",
        f"replicas over time: {', '.join(f'{count} at {at:.1f} s' for at, count in found.ordered)} ({steps} change(s))",
        f"answering: {', '.join(f'{number} at {at:.1f} s' for number, at in enumerate(found.answering, 1))}",
        f"settled: {found.rate:.0f} answers/s, p95 {found.p95_ms:.0f} ms; {found.failed} of {found.requests} failed",
        "back at one: " + (f"after {found.down_s:.0f} s" if found.down_s is not None else "never"),
        *(f"{'ok  ' if met else 'MISS'} {goal}" for goal, met in goals.items()),
    ]
    return "\n".join(lines), all(goals.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description="a load comes at once and goes")
    parser.add_argument("--connections", type=int, default=64, help="connections that ask again at once (64)")
    parser.add_argument("--row-ms", type=float, default=30, help="what a row takes, in milliseconds (30)")
    parser.add_argument("--most", type=int, default=4, help="replicas at most (4)")
    parser.add_argument("--seconds", type=float, default=60, help="how long the load lasts (60)")
    parser.add_argument("--json", type=Path, help="write every measurement to this file")
    arguments = parser.parse_args(argv)
    try:
        with _platform(arguments) as (manager, root, start_s):
            found = _measure(manager, root, start_s, arguments)
    except (ServerError, StreambError, RuntimeError) as error:
        print(f"the benchmark cannot run: {error}", file=sys.stderr)
        return 2
    text, passed = describe(found, arguments.most)
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(found), indent=1) + "\n")
    return 0 if passed else 1


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
