"""A minute of full load on streamb alone: no request may fail, and its memory must not grow.

Memory is the resident set summed over the platform's processes, sampled each second while the load runs. Pages that
processes share count once per process, which does not matter here: it is growth that is judged.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from benchmarks.loadgen import LoadResult, load
from benchmarks.servers import Target, bodies
from streamb.clock import SystemClock

CONNECTIONS = 64
SETTLING_S = 15.0
WINDOW_S = 5.0
MOST_GROWTH = 0.02
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Resident bytes of the process tree, `at_s` seconds after the load began."""

    at_s: float
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class SoakResult:
    """What the minute showed."""

    load: LoadResult
    memory: tuple[MemorySample, ...]

    @property
    def growth(self) -> float:
        """Share by which memory grew from the 15 s mark to the end (medians of 5 s windows)."""
        return growth(self.memory)

    @property
    def passed(self) -> bool:
        """No failed request, and memory flat."""
        return self.load.failures == 0 and self.growth < MOST_GROWTH

    def _failures(self) -> str:
        counts = {str(status): count for status, count in sorted(self.load.statuses.items()) if status >= 300}
        counts |= {"broken connections": self.load.socket_errors, "timeouts": self.load.timeouts}
        shown = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
        return f"({shown})" if shown else ""

    def describe(self) -> str:
        """The result as text."""
        first, last = self.memory[0].resident_bytes / _MIB, self.memory[-1].resident_bytes / _MIB
        return (
            f"soak: {self.load.requests:,} requests in {self.load.duration_s:.0f} s over {CONNECTIONS} connections, "
            f"{self.load.rate:,.0f}/s, p50 {self.load.p50_ms:.2f} ms, p99 {self.load.p99_ms:.2f} ms, "
            f"longest {self.load.max_ms:.0f} ms\n"
            f"{_verdict(self.load.failures == 0)}  failed requests: {self.load.failures} {self._failures()}\n"
            f"{_verdict(self.growth < MOST_GROWTH)}  memory: {first:,.0f} MiB at the start, {last:,.0f} at "
            f"the end; after {SETTLING_S:.0f} s it grew by {self.growth:+.2%} (limit {MOST_GROWTH:.0%}), "
            f"slope {slope_bytes_per_s(self.memory) * 60 / _MIB:+.2f} MiB a minute"
        )


def _verdict(passed: bool) -> str:
    return "PASS" if passed else "FAIL"


def soak(target: Target, seconds: float) -> SoakResult:
    """Load `target` for `seconds` and sample the memory of its process tree."""
    samples: list[MemorySample] = []
    ended = threading.Event()
    sampler = threading.Thread(target=_sample_memory, args=(target, samples, ended), daemon=True)
    sampler.start()
    try:
        result = load(
            target.url,
            bodies(),
            connections=CONNECTIONS,
            seconds=seconds,
            headers=target.headers,
            count_statuses=True,
        )
    finally:
        ended.set()
        sampler.join()
    return SoakResult(result, tuple(samples))


def growth(memory: Sequence[MemorySample]) -> float:
    """Relative growth between the window that begins at 15 s (a quarter of a shorter soak) and the last window."""
    end = memory[-1].at_s
    start = min(SETTLING_S, end / 4)
    window = min(WINDOW_S, end / 4)
    before = statistics.median(s.resident_bytes for s in memory if start <= s.at_s <= start + window)
    after = statistics.median(s.resident_bytes for s in memory if s.at_s >= end - window)
    return after / before - 1


def slope_bytes_per_s(memory: Sequence[MemorySample]) -> float:
    """Least-squares slope of the samples from the 15 s mark (a quarter of a shorter soak) on."""
    settled = [s for s in memory if s.at_s >= min(SETTLING_S, memory[-1].at_s / 4)]
    return statistics.linear_regression([s.at_s for s in settled], [s.resident_bytes for s in settled]).slope


def _sample_memory(target: Target, samples: list[MemorySample], ended: threading.Event) -> None:
    clock = SystemClock()
    start = clock.monotonic()
    while True:
        resident = sum(_resident_bytes(process) for process in target.processes())
        samples.append(MemorySample(clock.monotonic() - start, resident))
        if ended.wait(1.0):
            return


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
