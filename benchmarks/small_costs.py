"""The small things that every request or every start pays, each beside the usual way of doing the same.

    python -m benchmarks.small_costs [--rounds 15]

    answer     counting one answer (outcome, rows, latency)            beside prometheus_client's Counter and Histogram
    check      checking a row of 30 numbers against a schema           beside pydantic's list[list[float]]
    predicted  counting 32 predicted labels                            beside numpy.unique and a Counter
    note       `EnhancedModelMonitoring.record_prediction`             beside appending one formatted line to a buffer
    import     `import streamb` in a new process                       beside `import fastapi`

Ours and the other run in turn, round after round; a ratio below 1 means that ours took less.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import timeit
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import prometheus_client
from pydantic import TypeAdapter

from benchmarks.report import Spread
from streamb import EnhancedModelMonitoring
from streamb.metrics.predictions import PredictionCounter
from streamb.metrics.recorder import VersionRecorder
from streamb.models import FeatureSchema

FEATURES = 30
LABELS = 32


@dataclass(frozen=True, slots=True)
class Pair:
    """One thing done in two ways, `number` times a round."""

    name: str
    ours: Callable[[], object]
    other: Callable[[], object]
    number: int


def answer() -> Pair:
    """What the gateway counts of one answer."""
    recorder = VersionRecorder("m", "1.0.0")
    registry = prometheus_client.CollectorRegistry()
    answers = prometheus_client.Counter("answers", "of a version", ["outcome"], registry=registry).labels("ok")
    rows = prometheus_client.Counter("rows", "of a version", registry=registry)
    latency = prometheus_client.Histogram("latency_seconds", "of a version", registry=registry)

    def other() -> None:
        answers.inc()
        rows.inc(1)
        latency.observe(0.0042)

    return Pair("answer", lambda: recorder.answered(0.0042, 1), other, 2_000)


def check() -> Pair:
    """A body of one row."""
    schema, rows = FeatureSchema.numbers(FEATURES), [np.linspace(0, 1, FEATURES).tolist()]
    adapter = TypeAdapter(list[list[float]])
    return Pair("check", lambda: schema.check_rows(rows), lambda: np.array(adapter.validate_python(rows)), 2_000)


def predicted() -> Pair:
    """The labels of a batch."""
    counter, tally = PredictionCounter(), Tally[float]()
    values = np.random.default_rng(0).integers(0, 3, LABELS).astype(float)

    def other() -> None:
        labels, counts = np.unique(values, return_counts=True)
        for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
            tally[label] += count

    return Pair("predicted", lambda: counter.count(values, "classification"), other, 500)


def note() -> Pair:
    """One prediction, told by the program that made it."""
    monitoring = EnhancedModelMonitoring(model_name="m")
    features = {"temperature": 25.0, "emissions": 100.0}
    lines = io.StringIO()

    def other() -> None:
        lines.write(f"r1 {0.5} {features} {10.0} {0.9}\n")

    return Pair("note", lambda: monitoring.record_prediction("r1", 0.5, features, 10.0, 0.9), other, 2_000)


def imported() -> Pair:
    """A new process; what an empty one takes is in both."""

    def run(module: str) -> None:
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)

    return Pair("import", lambda: run("streamb"), lambda: run("fastapi"), 1)


def measure(pair: Pair, rounds: int) -> tuple[Spread, Spread, Spread]:
    """Microseconds of ours, of the other, and their ratio, over the rounds."""
    ours, others = [], []
    for _ in range(rounds):
        ours.append(timeit.timeit(pair.ours, number=pair.number) / pair.number * 1e6)
        others.append(timeit.timeit(pair.other, number=pair.number) / pair.number * 1e6)
    ratios = [one / other for one, other in zip(ours, others, strict=True)]
    return Spread.of(ours), Spread.of(others), Spread.of(ratios)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; always 0, for these have no goal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small_costs", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="rounds of ours and the other, in turn (15)")
    rounds = parser.parse_args(argv).rounds
    print(f"median (least to greatest) of {rounds} rounds, in microseconds")
    for pair in (answer(), check(), predicted(), note(), imported()):
        ours, other, ratio = measure(pair, rounds)
        print(f"{pair.name:9}  {ours.format(1):>28}  other {other.format(1):>28}  ratio {ratio.format(2)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
