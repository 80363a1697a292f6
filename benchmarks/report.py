"""What the serving benchmark concludes from its samples: medians, paired ratios, and the goals of the project."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.loadgen import LoadResult


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of the load generator: which server (by letter), how many connections, in which round."""

    server: str
    connections: int
    round: int
    result: LoadResult


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the least and the greatest of the rounds."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Summarise at least one value."""
        ordered = sorted(values)
        return cls(statistics.median(ordered), ordered[0], ordered[-1])

    def format(self, digits: int = 0) -> str:
        """As `median (least to greatest)`."""
        return f"{self.median:,.{digits}f} ({self.least:,.{digits}f} to {self.greatest:,.{digits}f})"


@dataclass(frozen=True, slots=True)
class Goal:
    """A comparison that must hold: `measure` of streamb over that of a peer, at so many connections."""

    peer: str
    connections: int
    measure: str
    limit: float
    at_least: bool

    def describe(self) -> str:
        """As it is printed: `at 64 connections: requests/s of a ≥ 3.5 x b`."""
        sign = "≥" if self.at_least else "≤"
        connections = f"at {self.connections} connection{'s' if self.connections > 1 else ''}"
        return f"{connections}: {self.measure} of a {sign} {self.limit:g} x {self.peer}"

    def holds(self, ratio: float) -> bool:
        """Whether a ratio a/peer meets the goal."""
        return ratio >= self.limit if self.at_least else ratio <= self.limit


RATE = "requests/s"
P50 = "p50"
GOALS = (
    Goal("b", 64, RATE, 5.0, at_least=True),
    Goal("c", 64, RATE, 40.0, at_least=True),
    Goal("d", 64, RATE, 6.0, at_least=True),
    Goal("b", 1, P50, 1.5, at_least=False),
)

_MEASURES: dict[str, Callable[[LoadResult], float]] = {RATE: lambda run: run.rate, P50: lambda run: run.p50_ms}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal, the ratio of the rounds, and whether its median meets the goal."""

    goal: Goal
    ratio: Spread
    passed: bool


def paired_ratio(samples: Sequence[Sample], peer: str, connections: int, measure: str) -> Spread | None:
    """The ratio a/peer of each round that measured both, so that a slow minute of the machine slows both sides."""
    read = _MEASURES[measure]
    by_round = {
        server: {s.round: read(s.result) for s in samples if s.server == server and s.connections == connections}
        for server in ("a", peer)
    }
    rounds = by_round["a"].keys() & by_round[peer].keys()
    return Spread.of(by_round["a"][r] / by_round[peer][r] for r in rounds) if rounds else None


def judge(samples: Sequence[Sample]) -> list[Verdict]:
    """The goals that these samples say something about."""
    verdicts = []
    for goal in GOALS:
        ratio = paired_ratio(samples, goal.peer, goal.connections, goal.measure)
        if ratio is not None:
            verdicts.append(Verdict(goal, ratio, goal.holds(ratio.median)))
    return verdicts


def table(samples: Sequence[Sample], names: dict[str, str]) -> str:
    """The measurements as text: one block per number of connections, one line per server."""
    lines = []
    for connections in sorted({sample.connections for sample in samples}):
        lines.append(f"\n{connections} connection{'s' if connections > 1 else ''}")
        header = f"{'requests/s, median (range)':>30} {'p50 ms':>8} {'p99 ms':>8} {'failed':>7}  a/this (range)"
        lines.append(f"  {'':24}{header}")
        for server, name in names.items():
            runs = [s.result for s in samples if s.server == server and s.connections == connections]
            if runs:
                lines.append(_line(samples, server, name, connections, runs))
    return "\n".join(lines)


def _line(samples: Sequence[Sample], server: str, name: str, connections: int, runs: Sequence[LoadResult]) -> str:
    ratio = None if server == "a" else paired_ratio(samples, server, connections, RATE)
    return (
        f"  ({server}) {name:20}{Spread.of(run.rate for run in runs).format():>30} "
        f"{statistics.median(run.p50_ms for run in runs):8.2f} {statistics.median(run.p99_ms for run in runs):8.2f} "
        f"{sum(run.failures for run in runs):7d}  {ratio.format(1) if ratio else ''}"
    )


def conclusion(samples: Sequence[Sample]) -> tuple[str, bool]:
    """One line per goal with PASS or FAIL, one for failed requests, and whether everything passed."""
    verdicts = judge(samples)
    failures = sum(sample.result.failures for sample in samples)
    lines = [f"{'PASS' if v.passed else 'FAIL'}  {v.goal.describe()}: measured {v.ratio.format(2)}" for v in verdicts]
    lines.append(f"{'FAIL' if failures else 'PASS'}  failed requests over all runs: {failures}")
    return "\n".join(lines), not failures and all(verdict.passed for verdict in verdicts)
