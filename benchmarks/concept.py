"""Concept drift: how rarely a detector of rising errors is wrong, and how soon it is right, beside those of River.

    python -m benchmarks.concept [--peer-python PATH] [--streams 40] [--runs 100] [--json FILE]

Errors at a rate of 0.20, label by label, at medium sensitivity: false alarms over `streams` x 100,000 labels, and the
labels it takes to notice a rise to 0.25, 0.30 and 0.40, each after 5,000 labels as usual. Ours starts from a baseline:
once a known error rate, once one estimated from 5,000 labels, a new baseline for each detector. River's detectors know
no baseline, and learn the usual rate from the stream; that they can do without is worth something that this does not
show. What such detectors all assume is that errors are independent: the last two columns have false alarms where they
are not (each answer copies the one before with a chance of 0.2) and where the rate swings by ±0.03 about 0.20.
River runs in the interpreter at `--peer-python`, or in this one if it is installed there. Exit code 0: every goal is
met; 1: one is not.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.concept_streams import RISES, STREAM, USUAL, Make, Measured, Step, measure
from streamb.monitoring.drift.concept import ErrorDetector

BASELINE: Final = 5000
MOST_ALARMS: Final = 1.0
MOST_DELAY: Final = dict(zip(map(str, RISES), (800, 250, 110), strict=True))
_EXACT: Final = 10**9
"""So many labels of a baseline that its error rate is known."""
_PARTS: Final = 10
_ROOT: Final = Path(__file__).parent.parent


def known(_: np.random.Generator) -> Step:
    """Our detector, with a baseline whose error rate is known."""
    return _step(ErrorDetector(round(USUAL * _EXACT), _EXACT))


def estimated(random: np.random.Generator) -> Step:
    """Our detector, with a baseline of 5,000 labels."""
    return _step(ErrorDetector(int(random.binomial(BASELINE, USUAL)), BASELINE))


OURS: Final[dict[str, Make]] = {"streamb, p0 known": known, "streamb, p0 from 5,000": estimated}


def _step(detector: ErrorDetector) -> Step:
    def step(wrong: int) -> bool:
        detector.update(1, wrong)
        return detector.drifted

    return step


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    arguments = _parse(argv)
    found = list(_ours(arguments))
    print(_header(), *map(_row, found), sep="\n", flush=True)
    peers = _river(arguments)
    for one in peers:
        print(_row(one))
    print()
    lines = [line for one in found for line in conclude(one)]
    print(*(f"{'PASS' if passed else 'FAIL'}  {text}" for passed, text in lines), sep="\n")
    print(*ratios(found[-1], peers), sep="\n")
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(one) for one in [*found, *peers]]) + "\n")
    return 0 if all(passed for passed, _ in lines) else 1


def conclude(one: Measured) -> list[tuple[bool, str]]:
    """The goals of one detector of ours."""
    rate = per_stream(one.alarms)
    text = f"{one.name}: {rate:.2f} false alarms in 100,000 labels (limit {MOST_ALARMS:g}; {_counted(one.alarms)})"
    lines = [(rate <= MOST_ALARMS, text)]
    for rise, most in MOST_DELAY.items():
        median = median_delay(one.delays[rise])
        text = f"{one.name}: {USUAL:.2f} -> {float(rise):.2f} found after {_shown(one.delays[rise])} labels"
        lines.append((median <= most, f"{text} (limit {most})"))
    return lines


def ratios(ours: Measured, peers: Sequence[Measured]) -> Iterator[str]:
    """Our median delays over each peer's, with the false alarms that either pays for them."""
    for peer in peers:
        parts = [median_delay(ours.delays[rise]) / median_delay(peer.delays[rise]) for rise in MOST_DELAY]
        shown = " / ".join(f"{part:.2f}" for part in parts)
        yield f"      delay over {peer.name}'s: {shown}; false alarms {_over(ours.alarms, peer.alarms)}"


def per_stream(alarms: Sequence[int]) -> float:
    """False alarms in 100,000 labels."""
    return sum(alarms) / len(alarms)


def median_delay(delays: Sequence[int | None]) -> float:
    """The median, where an alarm that never came is later than any other."""
    return statistics.median(math.inf if one is None else one for one in delays)


def _over(ours: Sequence[int], theirs: Sequence[int]) -> str:
    return f"{per_stream(ours):.2f} against {per_stream(theirs):.2f}"


def _counted(alarms: Sequence[int]) -> str:
    return f"{sum(alarms)} in {len(alarms) * STREAM:,}"


def _shown(delays: Sequence[int | None]) -> str:
    ordered = sorted(math.inf if one is None else one for one in delays)
    low, high = ordered[len(ordered) // 10], ordered[len(ordered) * 9 // 10]
    missed = sum(one is None for one in delays)
    return f"{median_delay(delays):.0f} ({low:.0f} to {high:.0f}{f', {missed} missed' if missed else ''})"


def _header() -> str:
    delays = "".join(f"{f'-> {rise:.2f}, median (80 %)':>34}" for rise in RISES)
    return f"{'':24}{'alarms/100k':>12}{delays}{'sticky':>8}{'seasonal':>10}{'µs':>7}"


def _row(one: Measured) -> str:
    delays = "".join(f"{_shown(one.delays[rise]):>34}" for rise in MOST_DELAY)
    odd = f"{per_stream(one.sticky):8.2f}{per_stream(one.seasonal):10.2f}"
    return f"{one.name:24}{per_stream(one.alarms):12.2f}{delays}{odd}{one.micros:7.1f}"


def _ours(arguments: argparse.Namespace) -> Iterator[Measured]:
    """Every part with seeds of its own, so that the cores share the work."""
    with multiprocessing.Pool(arguments.workers) as pool:
        for name in OURS:
            parts = pool.map(_part, [(name, part, arguments) for part in range(_PARTS)], chunksize=1)
            yield Measured(
                name,
                alarms=[count for part in parts for count in part.alarms],
                delays={rise: [one for part in parts for one in part.delays[rise]] for rise in MOST_DELAY},
                sticky=[count for part in parts for count in part.sticky],
                seasonal=[count for part in parts for count in part.seasonal],
                micros=statistics.median(part.micros for part in parts),
            )


def _part(task: tuple[str, int, argparse.Namespace]) -> Measured:
    name, part, arguments = task
    streams, runs = max(1, arguments.streams // _PARTS), max(1, arguments.runs // _PARTS)
    return measure(name, OURS[name], streams=streams, odd_streams=1, runs=runs, seed=part)


def _river(arguments: argparse.Namespace) -> list[Measured]:
    """River's detectors; none where it is not installed."""
    python = arguments.peer_python
    if python is None and importlib.util.find_spec("river") is None:
        print("peer not installed: River is skipped (give --peer-python, an interpreter with river and numpy)")
        return []
    counts = (max(1, arguments.streams // 4), 5, arguments.runs, 0)
    command = [python or sys.executable, "-m", "benchmarks.peers.river_detectors", *map(str, counts)]
    ran = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        print(f"peer failed: River is skipped ({(ran.stderr.strip().splitlines() or ['no message'])[-1]})")
        return []
    document: dict[str, Any] = json.loads(ran.stdout)
    return [Measured(**{**one, "name": f"River {one['name']}"}) for one in document["detectors"]]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.concept", description="concept drift, measured")
    parser.add_argument("--peer-python", help="an interpreter that has river and numpy")
    parser.add_argument("--streams", type=int, default=40, help="streams of 100,000 labels without drift (40)")
    parser.add_argument("--runs", type=int, default=100, help="changes of each size (100)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (one per core)")
    parser.add_argument("--json", type=Path, help="write every measurement to this file")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
