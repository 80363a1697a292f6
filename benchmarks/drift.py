"""Drift reports: how fast they are, what they find, and how often they cry wolf; beside Evidently and NannyML.

    python -m benchmarks.drift [--rounds 5] [--only speed,power,stationary] [--peer-python PATH] [--json FILE]

One thread (set OMP_NUM_THREADS=1). `speed`: a report of 100 columns and 100,000 rows, folded and compared, in turns
with Evidently on 20 such columns, scaled by five. `power`: NannyML's synthetic sets in chunks of 1,000 rows.
`stationary`: 100 features that do not change. The peers may live in another interpreter: `--peer-python`. Exit code
0: every goal is met.
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

import numpy as np
import pandas as pd

from benchmarks import drift_power, drift_stationary
from benchmarks.drift_peers import Peers, open_peers
from benchmarks.report import Spread
from streamb.monitoring.drift.drift import compare
from streamb.monitoring.profiles.baseline import Baseline

COLUMNS, ROWS, PEER_COLUMNS = 100, 100_000, 20
SECONDS_GOAL, RATIO_GOAL = 0.3, 200.0
POWER_GOAL = 0.93
CHUNK_ROWS = 1_000
BYTES_GOAL = 1024
STATIONARY = (
    *((1_000, 200, 200), (1_000, 1_000, 200), (1_000, 10_000, 200), (1_000, 1_000_000, 10)),
    *((10_000, 200, 200), (10_000, 1_000, 200), (10_000, 10_000, 100), (100_000, 1_000_000, 10)),
)
"""Rows of the baseline, rows of the window, reports."""


@dataclass(frozen=True, slots=True)
class Line:
    """A goal, what was measured, and whether it is met."""

    goal: str
    measured: str
    passed: bool

    def __str__(self) -> str:
        return f"{'PASS' if self.passed else 'FAIL'}  {self.goal}: {self.measured}"


def speed(rounds: int, peers: Peers | None) -> list[Line]:
    """Ours and Evidently's report in turns."""
    random = np.random.default_rng(0)
    names = [f"c{index}" for index in range(COLUMNS)]
    baseline = Baseline.learn(pd.DataFrame(random.normal(size=(ROWS, COLUMNS)), columns=names))
    moved = np.where(np.arange(COLUMNS) < COLUMNS / 2, 0.5, 0.0)
    window = pd.DataFrame(random.normal(moved, 1, (ROWS, COLUMNS)), columns=names)
    baseline.fold(window.head(1_000))
    ours, cpu, ratios, theirs = [], [], [], []
    for number in range(rounds):
        started, busy = time.perf_counter(), time.process_time()
        report = compare(baseline, baseline.fold(window), "medium")
        ours.append(time.perf_counter() - started)
        cpu.append(time.process_time() - busy)
        if sum(one.drifted for one in report.features.values()) != COLUMNS // 2:
            raise SystemExit("the report did not name the 50 columns that moved")
        if peers is not None:
            answer = peers.ask("report", columns=PEER_COLUMNS, rows=ROWS, seed=number)
            theirs.append(answer["seconds"] * COLUMNS / PEER_COLUMNS)
            ratios.append(theirs[-1] / ours[-1])
    size = f"{COLUMNS} columns x {ROWS:,} rows"
    spread, learned = Spread.of(ours), len(baseline.to_bytes())
    lines = [
        Line(
            f"a report of {size} in <= {SECONDS_GOAL} s",
            f"{spread.format(3)} s, of it {Spread.of(cpu).format(3)} s on the processor",
            spread.median <= SECONDS_GOAL,
        ),
        Line(
            f"a baseline takes <= {BYTES_GOAL} bytes a column",
            f"{learned / COLUMNS:.0f} bytes; a window {len(baseline.fold(window).to_bytes()) / COLUMNS:.0f}",
            learned <= BYTES_GOAL * COLUMNS,
        ),
    ]
    if ratios:
        measured = (
            f"{Spread.of(ratios).format()} times; Evidently {Spread.of(theirs).format(1)} s, measured on "
            f"{PEER_COLUMNS} columns and scaled by {COLUMNS / PEER_COLUMNS:g}"
        )
        lines.append(
            Line(f"faster than Evidently by >= {RATIO_GOAL:g}", measured, Spread.of(ratios).median >= RATIO_GOAL)
        )
    return lines


def power(peers: Peers | None) -> list[Line]:
    """NannyML's sets, by us and by the peers."""
    if peers is None:
        print("power: the data sets come with nannyml: skipped")
        return []
    tallies = drift_power.run(peers, CHUNK_ROWS)
    print(f"\n  {f'chunks of {CHUNK_ROWS:,} rows':34} {'power':>7} {'false':>9} clean chunks alarmed")
    for name, tally in tallies.items():
        print(tally.describe(name))
    high = tallies["streamb, high"]
    alarmed = sum(tally.alarmed_chunks for name, tally in tallies.items() if name.startswith("streamb"))
    return [
        Line(
            f"power at high sensitivity >= {POWER_GOAL}",
            f"{high.power:.3f} of {high.drifted}",
            high.power >= POWER_GOAL,
        ),
        Line("clean chunks alarmed, at any sensitivity: none", f"{alarmed} of {high.clean_chunks}", alarmed == 0),
    ]


def stationary(share: float) -> list[Line]:
    """Reports over features that do not change."""
    lines = []
    print()
    for number, (baseline_rows, rows, reports) in enumerate(STATIONARY):
        found = drift_stationary.run(baseline_rows, rows, max(5, round(reports * share)), seed=number)
        print(found.describe(), flush=True)
        goal = f"100 stationary features, baseline {baseline_rows:,}, window {rows:,}: named in <= 1 % of reports"
        lines.append(Line(goal, f"{found.worst:.1%} of {found.reports}", found.worst <= drift_stationary.MOST_NAMED))
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description="drift reports, measured")
    parser.add_argument("--rounds", type=int, default=5, help="reports of each side in turns (5)")
    parser.add_argument("--only", default="speed,power,stationary", help="parts, separated by commas")
    parser.add_argument("--peer-python", help="an interpreter with evidently and nannyml (default: this one)")
    parser.add_argument("--reports", type=float, default=1.0, help="stationary: this share of the reports (1)")
    parser.add_argument("--json", type=Path, help="write the lines to this file")
    arguments = parser.parse_args(argv)
    parts = arguments.only.split(",")
    peers = open_peers(arguments.peer_python) if {"speed", "power"} & set(parts) else None
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}" + (f"; {peers.versions}" if peers else ""), flush=True
    )
    lines: list[Line] = []
    for name, part in {
        "speed": lambda: speed(arguments.rounds, peers),
        "power": lambda: power(peers),
        "stationary": lambda: stationary(arguments.reports),
    }.items():
        if name in parts:
            found = part()
            lines += found
            print("\n".join(map(str, found)), flush=True)
    if peers is not None:
        peers.close()
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(line) for line in lines]) + "\n")
    return 0 if all(line.passed for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
