"""What judging a rollout is worth: how often a good version is rolled back, and how surely a bad one is found.

    python -m benchmarks.rollout_statistics [--rollouts 1000] [--rates 50,200,1000] [--json FILE]

Simulated rollouts (no Ray, no traffic): a canary of 1, 5, 25, 50 and 100 % with one look per second, judged by
`streamb.rollouts.analysis`. Found means rolled back before half of the traffic moved. Exit code 0: every goal is met.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.rollout_simulation import Behaviour, End, Result, Rung, simulate
from streamb.rollouts.options import RolloutOptions
from streamb.rollouts.strategies import Strategy, plan

RATES = (50.0, 200.0, 1000.0)
HALF_PERCENT = 50.0
_PART = 25
Way = Callable[[range], list[Result]]
"""Simulates one rollout for each seed."""


LADDER = tuple(step for step in plan(Strategy.CANARY, RolloutOptions()) if step.share)
"""The steps of a canary as it is by default, without its preview at 0 percent, and with the last one judged."""

USUAL = Behaviour()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A pair of versions, and what must come of it.

    Attributes:
        most_rolled_back: of all rollouts; None where rolling back is the point.
        least_found: rolled back before half of the traffic moved; None where nothing is wrong.
        busy: what all latencies of both versions have in common; see `simulate`.
    """

    name: str
    target: Behaviour
    stable: Behaviour = USUAL
    most_rolled_back: float | None = None
    least_found: float | None = None
    busy: float = 0.0


FAILS_NOW_AND_THEN = Scenario("the same version, errors 8 %", Behaviour(0.08), Behaviour(0.08), most_rolled_back=0.01)
"""Often enough for three in a row, which open a gateway's circuit breaker: that must not be held against a version."""
DISTURBED = Behaviour(drift=0.2)
"""Its latencies move together by 20 % for some 5 s; 30 % are added by a machine that is busy for some 10 s."""
CLIENT_ERRORS = Scenario("client errors 0 % -> 2 %", Behaviour(client_errors=0.02), least_found=0.95)
BUSY_SAME = Scenario("the same version, busy machine", DISTURBED, DISTURBED, most_rolled_back=0.01, busy=0.3)
BUSY_SLOWER = Scenario(
    "p95 + 50 %, busy machine", replace(DISTURBED, p95_ms=150.0), DISTURBED, least_found=0.95, busy=0.3
)
SCENARIOS = (
    Scenario("the same version", USUAL, most_rolled_back=0.01),
    Scenario("the same version, no errors", Behaviour(0.0), Behaviour(0.0), most_rolled_back=0.01),
    FAILS_NOW_AND_THEN,
    Scenario("errors 2 % -> 4 %", Behaviour(error_rate=0.04), least_found=0.95),
    Scenario("p95 + 30 % (log-normal, sigma 0.5)", Behaviour(p95_ms=130.0), least_found=0.95),
    Scenario("errors 2 % -> 30 %", Behaviour(error_rate=0.30), least_found=0.99),
    CLIENT_ERRORS,
    BUSY_SAME,
    BUSY_SLOWER,
)
STARVED = Scenario("no traffic, or too little to judge", USUAL)
"""Run at rates that never give a step its samples: none of these may be promoted."""
STARVED_RATES = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Line:
    """One goal: what was measured, and whether it holds."""

    goal: str
    measured: str
    passed: bool

    def __str__(self) -> str:
        return f"{'PASS' if self.passed else 'FAIL'}  {self.goal}: {self.measured}"


def run(scenario: Scenario, rate: float, seeds: Iterable[int], ladder: Sequence[Rung] = LADDER) -> list[Result]:
    """One simulated rollout for each seed."""
    return [
        simulate(
            ladder,
            scenario.stable,
            scenario.target,
            requests_per_second=rate,
            random=np.random.default_rng([3, seed]),
            busy=scenario.busy,
        )
        for seed in seeds
    ]


def found(result: Result) -> bool:
    """Rolled back before half of the traffic moved."""
    return result.end is End.ROLLED_BACK and result.percent < HALF_PERCENT


def conclude(scenario: Scenario, rate: float, results: Sequence[Result]) -> Line:
    """What the results say about the scenario's goal."""
    ends = Counter(result.end for result in results)
    count = len(results)
    seconds = sorted(result.seconds for result in results)
    rest = (
        f"{count:,} rollouts: {ends[End.COMPLETED]:,} completed, {ends[End.ROLLED_BACK]:,} rolled back, "
        f"{ends[End.HELD]:,} held; median {seconds[count // 2]} s, 95 % within {seconds[int(count * 0.95)]} s"
    )
    name = f"{scenario.name}, {rate:g} requests/s"
    if scenario.most_rolled_back is not None:
        share = ends[End.ROLLED_BACK] / count
        goal = f"{name}: rolled back in <= {scenario.most_rolled_back:.1%}"
        return Line(goal, f"{share:.1%} ({rest})", share <= scenario.most_rolled_back)
    if scenario.least_found is not None:
        share = sum(map(found, results)) / count
        goal = f"{name}: found before {HALF_PERCENT:g} % in >= {scenario.least_found:.0%}"
        return Line(goal, f"{share:.1%} ({rest})", share >= scenario.least_found)
    promoted = sum(result.percent > LADDER[0].weight for result in results)
    return Line(f"{name}: promoted in 0", f"{promoted} ({rest})", promoted == 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run all scenarios; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollout_statistics", description="judging, measured")
    parser.add_argument("--rollouts", type=int, default=1000, help="rollouts of each scenario (1000)")
    parser.add_argument("--rates", type=_rates, default=RATES, help="requests per second, as 50,200,1000")
    parser.add_argument("--only", default="", help="only scenarios whose name contains this")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (one per core)")
    parser.add_argument("--json", type=Path, help="write every result to this file")
    arguments = parser.parse_args(argv)
    tasks = [(scenario, rate) for scenario in SCENARIOS for rate in arguments.rates]
    tasks += [(STARVED, rate) for rate in STARVED_RATES]
    tasks = [(scenario, rate) for scenario, rate in tasks if arguments.only in scenario.name]
    document = []
    passed = True
    with runner(arguments.workers) as run_all:
        for scenario, rate in tasks:
            results = run_all(partial(run, scenario, rate), arguments.rollouts)
            line = conclude(scenario, rate, results)
            passed &= line.passed
            document.append({**dataclasses.asdict(line), "results": [dataclasses.astuple(one) for one in results]})
            print(line, flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(document) + "\n")
    return 0 if passed else 1


@contextmanager
def runner(workers: int) -> Iterator[Callable[[Way, int], list[Result]]]:
    """Runs so many rollouts in one way, in several processes unless one is enough."""
    if workers == 1:
        yield lambda way, count: way(range(count))
        return
    # Every breaker that opens says so.
    with multiprocessing.Pool(workers, logging.disable, (logging.WARNING,)) as pool:

        def in_parts(way: Way, count: int) -> list[Result]:
            parts = [range(start, min(start + _PART, count)) for start in range(0, count, _PART)]
            return [result for chunk in pool.map(way, parts, chunksize=1) for result in chunk]

        yield in_parts


def _rates(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
