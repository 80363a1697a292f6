"""What monitoring costs: per request inside a replica, in throughput from end to end, and while the Monitor is dead.

    python -m benchmarks.monitoring_cost [--rounds 15] [--seconds 4] [--json FILE]
    python -m benchmarks.monitoring_cost --only request
    python -m benchmarks.monitoring_cost --outage 60

`request`: one row of 20 features with its prediction, handed to a collector that folds by a baseline in its background
thread. `throughput`: the serving benchmark's pipeline at 64 connections, with monitoring on and off in turns, in one
running platform (`benchmarks.monitoring_switch`). `--outage`: the Monitor is killed, and killed again
whenever it comes back, for so many seconds under load; then every count must be there. Exit code 0: every goal is met;
1: one is not; 2: it cannot run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from benchmarks.loadgen import LoadError, wrk_command
from benchmarks.monitored_platform import MODEL, VERSION
from benchmarks.monitoring_outage import measure_outage
from benchmarks.monitoring_switch import measure_throughput
from benchmarks.servers import ServerError
from streamb.clock import SystemClock
from streamb.errors import StreambError
from streamb.monitoring.collection.collector import Collector
from streamb.monitoring.profiles.baseline import Baseline

FEATURES: Final = 20
REQUESTS: Final = 200_000
BURST: Final = 50
"""Requests between two pauses: about 10,000 a second, as a busy replica has them."""
P50_GOAL_US, P99_GOAL_US = 5.0, 20.0
_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class RequestCost:
    """What `observe` takes, and what folding takes in the background.

    Attributes:
        dropped: rows that were not looked at.
    """

    p50_us: float
    p99_us: float
    p999_us: float
    fold_us_per_row: float
    dropped: int

    @property
    def passed(self) -> bool:
        """Within the goals, and nothing was dropped to get there."""
        return self.p50_us <= P50_GOAL_US and self.p99_us <= P99_GOAL_US and not self.dropped

    def describe(self) -> str:
        """As text."""
        return (
            f"{_verdict(self.passed)}  per request of {FEATURES} features: p50 {self.p50_us:.2f} µs, p99 "
            f"{self.p99_us:.2f} µs (limits {P50_GOAL_US:g} and {P99_GOAL_US:g}), p99.9 {self.p999_us:.1f} µs; "
            f"folding in the background {self.fold_us_per_row:.2f} µs a row; dropped {self.dropped}"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; returns the exit code."""
    arguments = _parse(argv)
    document: dict[str, Any] = {"machine": {"cores": os.cpu_count()}}
    passed = True
    try:
        if arguments.outage:
            wrk_command()
            outage = measure_outage(arguments.outage)
            print(outage.describe())
            document["outage"], passed = dataclasses.asdict(outage), outage.passed
        else:
            if arguments.only != "throughput":
                cost = measure_request()
                print(cost.describe(), flush=True)
                document["request"], passed = dataclasses.asdict(cost), cost.passed
            if arguments.only != "request":
                wrk_command()
                throughput = measure_throughput(arguments.rounds, arguments.seconds)
                print(throughput.describe())
                document["throughput"] = dataclasses.asdict(throughput)
                passed = throughput.passed and passed
    except (LoadError, ServerError, StreambError, httpx.HTTPError) as error:
        print(f"the benchmark cannot run: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if passed else 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitoring_cost", description="What monitoring costs")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of monitoring on, off, off and on (15)")
    parser.add_argument("--seconds", type=int, default=4, help="whole seconds of each load (4)")
    parser.add_argument("--only", choices=("request", "throughput"), help="measure only this")
    parser.add_argument("--outage", type=float, metavar="SECONDS", help="only kill the Monitor for so long (60)")
    parser.add_argument("--json", type=Path, help="write every measurement to this file")
    return parser.parse_args(argv)


# --- per request ------------------------------------------------------------------------------------------------------


def measure_request(requests: int = REQUESTS) -> RequestCost:
    """Hand `requests` rows to a collector, one by one, and time each."""
    rng = np.random.default_rng(0)
    rows, predictions = rng.normal(size=(4_096, FEATURES)), rng.normal(size=4_096)
    baseline = Baseline.learn(rows, predictions)
    names = list(baseline.features)
    collector = Collector("benchmark", "1", MODEL, VERSION, _clock, columns=names, baseline=baseline)
    collector.observe(rows, predictions)
    began = time.perf_counter()
    collector.fold()
    fold_us = (time.perf_counter() - began) * 1e6 / len(rows)
    given = [(rows[place : place + 1], predictions[place : place + 1]) for place in range(len(rows))]
    taken = np.empty(requests, np.int64)
    collector.start()
    now = time.perf_counter_ns
    for number in range(requests):
        row, prediction = given[number & 4_095]
        start = now()
        collector.observe(row, prediction)
        taken[number] = now() - start
        if number % BURST == BURST - 1:
            time.sleep(BURST / 10_000)
    collector.close()
    p50, p99, p999 = (float(value) / 1_000 for value in np.percentile(taken, [50, 99, 99.9]))
    return RequestCost(p50, p99, p999, fold_us, collector.dropped)


def _verdict(passed: bool) -> str:
    return "PASS" if passed else "FAIL"


if __name__ == "__main__":
    sys.exit(main())
