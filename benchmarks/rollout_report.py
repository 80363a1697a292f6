"""What `benchmarks.rollouts` measures and what it concludes from that: its goals, and a verdict on each."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.open_load import OpenLoadResult

GATEWAYS: Final = 2
CONNECTIONS: Final = 64
BROKEN_PERCENT: Final = 10
MOST_ACKNOWLEDGE_MS: Final = 200.0
MOST_ABORT_S: Final = 3.0


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
