"""What monitoring costs from end to end: on and off in turns, in one platform that goes on running.

Two platforms differ from each other by more than monitoring costs. So one is started, with everything on, and each
arm switches monitoring off or on in the processes that serve:

- replicas: what they answered is handed to the collector, or not; their pushes run, or not;
- gateways: their pushes run, or not;
- the Monitor: its process is stopped (SIGSTOP) and goes on.

Arms are short and come in the order on, off, off, on, so that a slow minute of the machine slows both. Of each arm two
figures are taken: answers per second, and the processor time of all of the platform's processes per answer, which
neighbours disturb less. Sources push every two seconds here, not every five, and the Monitor looks at least once in
each arm: a little more than it has to do in service.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks import workload
from benchmarks.loadgen import LoadResult, load
from benchmarks.monitored_platform import MODEL, VERSION, set_baseline, target_of
from benchmarks.servers import CONCURRENT_REQUESTS, START_TIMEOUT_S, ServerError, bodies, end_processes
from streamb import ProductionMLManager
from streamb.config import load_settings

CONNECTIONS: Final = 64
SETTLE_S: Final = 15.0
"""Load before the first arm: by then replicas fold by the baseline."""
PUSH_S: Final = 2.0
CALM_S: Final = 1.5
"""Between a switch and its load: what was on the way is folded and gone."""
GOAL: Final = 0.97
_REPLICAS: Final = "SERVE_REPLICA::"
_CALL_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Arm:
    """One load with monitoring on or off.

    Attributes:
        cpu_s: processor time of all processes of the platform.
        own_s: of it, that of the threads that fold and of the Monitor: measured apart, it hardly varies.
    """

    on: bool
    result: LoadResult
    cpu_s: float
    own_s: float = 0.0

    @property
    def cpu_us(self) -> float:
        """Processor time per answer."""
        return self.cpu_s * 1e6 / self.result.requests


@dataclass(frozen=True, slots=True)
class Interval:
    """A median, and the bounds between which the true one lies in at least 95 of 100 such measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """From order statistics: how many of `n` values are below the true median is binomial with one half.

        >>> Interval.of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        Interval(median=3.5, low=1.0, high=6.0)
        """
        ordered, n = sorted(values), len(values)
        cut, tail = 0, 2 * 0.5**n
        while tail <= 0.05 and cut < n // 2:
            cut += 1
            tail += 2 * math.comb(n, cut) * 0.5**n
        low = ordered[cut - 1] if cut else -math.inf  # too few values bound nothing
        return cls(statistics.median(ordered), low, ordered[n - cut] if cut else math.inf)

    def verdict(self) -> str:
        """PASS or FAIL against the goal; OPEN where the bounds do not tell."""
        return "PASS" if self.low >= GOAL else "FAIL" if self.high < GOAL else "OPEN"

    def format(self) -> str:
        """As `median (low to high)`."""
        return f"{self.median:.3f} (95 %: {self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class Throughput:
    """Rounds of four arms, and what they say."""

    arms: tuple[Arm, ...]

    @property
    def by_rate(self) -> Interval:
        """Answers per second with monitoring over those without, pair by pair."""
        return Interval.of([on.result.rate / off.result.rate for on, off in self._pairs()])

    @property
    def by_cpu(self) -> Interval:
        """Processor time per answer without monitoring over that with it: what full cores would answer."""
        return Interval.of([off.cpu_us / on.cpu_us for on, off in self._pairs()])

    @property
    def by_part(self) -> Interval:
        """What is left of the processor time without the threads that fold and the Monitor, each load by itself.

        Handing over and pushing are not in it: half a microsecond a request, and some milliseconds every few seconds.
        """
        return Interval.of([1.0 - arm.own_s / arm.cpu_s for arm in self.arms if arm.on])

    @property
    def failures(self) -> int:
        """Requests without a good answer."""
        return sum(arm.result.failures for arm in self.arms)

    @property
    def passed(self) -> bool:
        """Nothing failed, and the goal is met; where the rates leave it open, the processor time decides."""
        rate = self.by_rate.verdict()
        return not self.failures and (rate == "PASS" or (rate == "OPEN" and self.by_cpu.verdict() == "PASS"))

    def describe(self) -> str:
        """As text."""
        rates = {on: statistics.median(arm.result.rate for arm in self.arms if arm.on is on) for on in (True, False)}
        spent = {on: statistics.median(arm.cpu_us for arm in self.arms if arm.on is on) for on in (True, False)}
        own = statistics.median(arm.own_s * 1e6 / arm.result.requests for arm in self.arms if arm.on)
        return (
            f"{self.by_rate.verdict()}  throughput with monitoring over that without, {len(self.arms) // 2} pairs: "
            f"{self.by_rate.format()}, {rates[True]:,.0f} and {rates[False]:,.0f} requests/s (goal ≥ {GOAL:g})\n"
            f"{self.by_cpu.verdict()}  the same by processor time per answer: {self.by_cpu.format()}, "
            f"{spent[True]:.0f} and {spent[False]:.0f} µs\n"
            f"      without folding and the Monitor, which took {own:.1f} µs an answer, the processor time is "
            f"{self.by_part.format()}\n"
            f"{'FAIL' if self.failures else 'PASS'}  failed requests: {self.failures}"
        )

    def _pairs(self) -> Iterator[tuple[Arm, Arm]]:
        for first, second in zip(self.arms[::2], self.arms[1::2], strict=True):
            yield (first, second) if first.on else (second, first)


def measure_throughput(rounds: int, seconds: float) -> Throughput:
    """Start a platform, and load it with monitoring on and off in turns.

    Args:
        rounds: of two pairs each.
        seconds: of each load.
    """
    with _platform() as manager:
        url, headers = target_of(manager)
        switch = Switch()

        def arm(*, on: bool, seconds: float) -> Arm:
            switch.turn(on=on)
            time.sleep(CALM_S)
            before, own = _cpu_times(), switch.own_s()
            result = load(url, bodies(), connections=CONNECTIONS, seconds=seconds, headers=headers)
            found = Arm(on, result, _spent(before, _cpu_times()), switch.own_s() - own)
            state = "on " if on else "off"
            print(
                f"monitoring {state} {result.rate:8,.0f} requests/s, {found.cpu_us:.0f} µs, failed {result.failures}",
                file=sys.stderr,
                flush=True,
            )
            return found

        try:
            arm(on=True, seconds=SETTLE_S)
            order = (True, False, False, True)
            return Throughput(tuple(arm(on=on, seconds=seconds) for _ in range(rounds) for on in order))
        finally:
            switch.turn(on=True)


class Switch:
    """Turns monitoring off and on in the processes of the platform that this process has started."""

    def __init__(self) -> None:
        import ray

        names = [one for one in ray.util.list_named_actors(all_namespaces=True) if one["name"].startswith(_REPLICAS)]
        self._replicas = [ray.get_actor(one["name"], one["namespace"]) for one in names]
        self._monitors = [
            process
            for process in psutil.Process().children(recursive=True)
            if any("MonitorActor" in part for part in process.cmdline())
        ]
        if not self._replicas or not self._monitors:
            raise ServerError("there is no monitored platform in this process: its replicas or its Monitor are missing")

        found = ray.get([replica.__ray_call__.remote(_folding) for replica in self._replicas], timeout=_CALL_S)
        self._folding = [one for one in found if one is not None]

    def own_s(self) -> float:
        """Processor time so far of the threads that fold, and of the Monitor."""
        total = sum(sum(process.cpu_times()[:2]) for process in self._monitors)
        for pid, thread in self._folding:
            total += sum(one.user_time + one.system_time for one in psutil.Process(pid).threads() if one.id == thread)
        return total

    def turn(self, *, on: bool) -> None:
        """Monitoring is on, or off, when this returns. Idempotent."""
        import ray

        if on:
            for process in self._monitors:
                process.resume()
        calls = [replica.__ray_call__.remote(_turn, on) for replica in self._replicas]
        switched = sum(ray.get(calls, timeout=_CALL_S))
        if switched < 2:
            raise ServerError(f"{switched} processes were switched; there are a gateway and a replica at least")
        if not on:
            for process in self._monitors:
                process.suspend()


def _folding(actor: Any) -> tuple[int, int] | None:
    """Runs in a replica of Serve; says in which process and thread it folds, if it does."""
    served = vars(attrgetter("_replica_impl._user_callable_wrapper._callable")(actor))
    collection = served.get("_collection")
    return (
        None if collection is None else (psutil.Process().pid, attrgetter("_collector._thread.native_id")(collection))
    )


def _turn(actor: Any, on: bool) -> int:
    """Runs in a replica of Serve, beside its event loop; says how many pushers of the process were switched."""
    served = vars(attrgetter("_replica_impl._user_callable_wrapper._callable")(actor))
    collection = served.get("taken_out") or served.get("_collection")
    pusher = served.get("_pusher") if collection is None else vars(collection)["_pusher"]
    if pusher is None:
        return 0
    if collection is not None:
        served.update(taken_out=None if on else collection, _collection=collection if on else None)
    task = vars(pusher)["_task"]
    if task is not None:
        served["pushing_loop"] = task.get_loop()
    if on and task is None:
        served["pushing_loop"].call_soon_threadsafe(pusher.start)
    elif not on and task is not None:
        served["pushing_loop"].call_soon_threadsafe(task.cancel)
        vars(pusher)["_task"] = None
    return 1


@contextlib.contextmanager
def _platform() -> Iterator[ProductionMLManager]:
    """A platform in this process, which may therefore reach into its actors; ended at the end with all it started."""
    from streamb.cluster import start_platform  # takes seconds

    state_dir = Path(tempfile.mkdtemp(prefix="sb-monitoring-"))
    settings = load_settings(
        environment="development",
        state_dir=state_dir,
        port=0,
        max_concurrent_requests=CONCURRENT_REQUESTS,
        monitoring_interval_s=PUSH_S,
        alert_channels="none",
    )
    running, tree = start_platform(settings), list[psutil.Process]()
    try:
        tree = psutil.Process().children(recursive=True)
        with ProductionMLManager(address=running.url, api_key=running.api_key, state_dir=state_dir) as manager:
            manager.register_model(MODEL, "Benchmark", "", workload.pipeline(), VERSION)
            deployment = manager.deploy_model(model_id=MODEL, target_version=VERSION, rollout_strategy="immediate")
            status = deployment.wait(timeout=START_TIMEOUT_S)
            if status.state != "completed":
                raise ServerError(f"the deployment ended as {status.state}: {status.reason}")
            set_baseline(manager)
            tree = psutil.Process().children(recursive=True)
            yield manager
    finally:
        running.stop()
        end_processes(tree)
        shutil.rmtree(state_dir, ignore_errors=True)


def _cpu_times() -> dict[psutil.Process, float]:
    """Processor time so far of every process of the platform."""
    found: dict[psutil.Process, float] = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[process] = times.user + times.system
    return found


def _spent(before: dict[psutil.Process, float], after: dict[psutil.Process, float]) -> float:
    """By those that were there all the time: the load generator was not."""
    return sum(after[process] - seconds for process, seconds in before.items() if process in after)
