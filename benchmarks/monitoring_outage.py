"""The Monitor dead for a while under load: nothing may fail, and afterwards every count must be there."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.loadgen import LoadError, LoadResult, load
from benchmarks.monitored_platform import MODEL, VERSION, key_of, monitored_platform, root_of, set_baseline, target_of
from benchmarks.servers import bodies
from streamb import ProductionMLManager
from streamb.clock import SystemClock
from streamb.monitoring.collection.aggregator import Aggregator
from streamb.store.durable import DurableLog

CONNECTIONS = 64
_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Outage:
    """What an outage of the Monitor did.

    Attributes:
        kills: how often it was killed.
        by_gateways: good answers, by the gateways' own count.
        outcomes: the same, as the Monitor has it on the disk.
        rows: rows that replicas folded, as the Monitor has it on the disk.
    """

    result: LoadResult
    seconds: float
    kills: int
    by_gateways: int
    outcomes: int
    rows: int

    @property
    def passed(self) -> bool:
        """Nothing failed, and nothing is missing.

        When the load ends it hangs up on what is under way: those rows are predicted, and answered to nobody.
        """
        nobody = self.rows - self.by_gateways
        return self.result.failures == 0 and self.by_gateways == self.outcomes and 0 <= nobody <= CONNECTIONS

    def describe(self) -> str:
        """As text."""
        return (
            f"{'PASS' if self.passed else 'FAIL'}  Monitor dead for {self.seconds:.0f} s ({self.kills} kills) under "
            f"{self.result.rate:,.0f} requests/s: {self.result.failures} failed, p99 {self.result.p99_ms:.1f} ms; "
            f"counted {self.by_gateways:,} by the gateways, {self.outcomes:,} by the Monitor, {self.rows:,} rows folded"
        )


def measure_outage(seconds: float) -> Outage:
    """Kill the Monitor again and again for `seconds` under load, and compare all counts afterwards."""
    with monitored_platform() as (manager, state_dir):
        set_baseline(manager)
        url, headers = target_of(manager)
        results: list[LoadResult] = []
        loading = threading.Thread(
            target=lambda: results.append(
                load(url, bodies(), connections=CONNECTIONS, seconds=seconds + 20, headers=headers)
            )
        )
        loading.start()
        time.sleep(8)
        kills = _kill_for(root_of(state_dir), seconds)
        loading.join()
        if not results:
            raise LoadError("the load did not run to its end")
        return _settled(manager, state_dir, results[0], seconds, kills)


def _kill_for(root: psutil.Process, seconds: float) -> int:
    kills, ends = 0, _clock.monotonic() + seconds
    while _clock.monotonic() < ends:
        for process in root.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any("MonitorActor" in part for part in process.cmdline()):
                    process.kill()
                    kills += 1
        time.sleep(0.1)
    return kills


def _settled(manager: ProductionMLManager, state_dir: Path, result: LoadResult, seconds: float, kills: int) -> Outage:
    """Wait until all counts agree, for a minute at most."""
    deadline = _clock.monotonic() + 60
    while True:
        described = httpx.get(f"{manager.url}/api/monitoring/system-health", headers=key_of(manager), timeout=30).json()
        outcomes, rows = _on_the_disk(state_dir)
        found = Outage(result, seconds, kills, described["models"][MODEL]["requests"].get("ok", 0), outcomes, rows)
        if found.passed or _clock.monotonic() > deadline:
            return found
        time.sleep(1)


def _on_the_disk(state_dir: Path) -> tuple[int, int]:
    """Good answers and folded rows, read from a copy of the Monitor's files."""
    with tempfile.TemporaryDirectory(prefix="sb-log-") as copy:
        for file in sorted((state_dir / "monitor" / "log").iterdir(), reverse=True):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(file, copy)
        aggregator = Aggregator(_clock, DurableLog(Path(copy)))
        aggregator.close()
        return aggregator.outcomes_total(MODEL, VERSION).ok, aggregator.totals(MODEL, VERSION).rows
