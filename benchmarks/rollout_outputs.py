"""What comparing answers is worth: how often equal versions are stopped, and in how many pairs a change is found.

    python -m benchmarks.rollout_outputs [--runs 1000] [--json FILE]

Simulated pairs of answers (no Ray, no traffic), one look at every 20 pairs up to 1,000, judged by
`streamb.rollouts.outputs`. Exit code 0: every goal is met.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamb.metrics.criteria import Verdict
from streamb.metrics.predictions import PredictionCounter
from streamb.metrics.snapshot import Snapshot
from streamb.rollouts.evidence import StepEvidence
from streamb.rollouts.options import HealthCriteria
from streamb.rollouts.outputs import compare_outputs

PAIRS = 1_000
LOOK = 20
LABELS = np.array(["a", "b", "c", "d"])
SHARES = (0.55, 0.3, 0.1, 0.05)
WITHIN = 0.1
"""Numbers agree if they differ by at most this share, as gateways compare them."""

Answers = NDArray[Any]
Draw = Callable[[np.random.Generator], tuple[Answers, Answers]]
"""Draws what stable and the target answer to `PAIRS` rows."""


@dataclass(frozen=True, slots=True)
class Case:
    """A pair of versions, and what must come of it.

    Attributes:
        name: what is different.
        draw: draws the answers.
        deterministic: whether both answer the same rows the same way each time.
        most: the largest share of runs that may be stopped; None where stopping is the point.
        least: the least share of runs that must be stopped.
    """

    name: str
    draw: Draw
    deterministic: bool = True
    most: float | None = None
    least: float | None = None


def labels(random: np.random.Generator) -> Answers:
    """Draw labels."""
    return random.choice(LABELS, PAIRS, p=SHARES)


def numbers(random: np.random.Generator) -> Answers:
    """Draw numbers, such as prices."""
    return np.exp(random.normal(3.0, 0.8, PAIRS))


def equal(draw: Callable[[np.random.Generator], Answers]) -> Draw:
    """Both versions answer the same."""

    def both(random: np.random.Generator) -> tuple[Answers, Answers]:
        said = draw(random)
        return said, said

    return both


def changed(share: float) -> Draw:
    """This share of the labels becomes another one."""

    def both(random: np.random.Generator) -> tuple[Answers, Answers]:
        said = labels(random)
        other = LABELS[(np.searchsorted(LABELS, said) + random.integers(1, len(LABELS), PAIRS)) % len(LABELS)]
        return said, np.where(random.random(PAIRS) < share, other, said)

    return both


def noisy(deviation: float, factor: float = 1.0) -> Draw:
    """Numbers that are multiplied, and differ by so much from call to call."""

    def both(random: np.random.Generator) -> tuple[Answers, Answers]:
        truth = numbers(random)
        first, second = (truth * np.exp(random.normal(0.0, deviation, PAIRS)) for _ in range(2))
        return first, second * factor

    return both


def sampled(shares: Sequence[float]) -> Draw:
    """Labels that are drawn at each call; the target draws by its own shares."""
    return lambda random: (labels(random), random.choice(LABELS, PAIRS, p=shares))


def constant(random: np.random.Generator) -> tuple[Answers, Answers]:
    """The most frequent label, always."""
    return labels(random), np.full(PAIRS, "a")


def sometimes_nan(random: np.random.Generator) -> tuple[Answers, Answers]:
    """Five percent of the numbers are not a number."""
    said = numbers(random)
    return said, np.where(random.random(PAIRS) < 0.05, np.nan, said)


CASES = (
    Case("equal labels", equal(labels), most=0.01),
    Case("equal numbers", equal(numbers), most=0.01),
    Case("labels, 1 % changed", changed(0.01), most=0.01),
    Case("labels, 2 % changed (the limit)", changed(0.02), most=0.02),
    Case("labels, 5 % changed", changed(0.05), least=0.95),
    Case("numbers that differ by 3 %", noisy(0.03), most=0.01),
    Case("numbers + 15 %", noisy(0.0, 1.15), least=0.95),
    Case("a constant", constant, least=0.99),
    Case("5 % NaN", sometimes_nan, least=0.95),
    Case("labels drawn anew at each call", sampled(SHARES), deterministic=False, most=0.01),
    Case("drawn anew, one label 30 % -> 45 %", sampled((0.4, 0.45, 0.1, 0.05)), deterministic=False, least=0.95),
    Case("numbers drawn anew", lambda random: (numbers(random), numbers(random)), deterministic=False, most=0.01),
    Case(
        "numbers drawn anew, doubled",
        lambda random: (numbers(random), 2.0 * numbers(random)),
        deterministic=False,
        least=0.95,
    ),
)


def stopped_at(case: Case, random: np.random.Generator) -> tuple[int, str]:
    """Return after how many pairs somebody is asked, and by which finding; 0 and "" if nobody is."""
    said, other = case.draw(random)
    task = "classification" if said.dtype.kind == "U" else "regression"
    differs = said != other
    if task == "regression":
        apart = np.abs(said - other) / np.maximum(np.abs(said), np.abs(other))
        differs = ~(apart <= WITHIN)
    expected, predicted = PredictionCounter(), PredictionCounter()
    none = Snapshot("m", "2")
    for count in range(LOOK, PAIRS + 1, LOOK):
        expected.count(said[count - LOOK : count], task)
        predicted.count(other[count - LOOK : count], task)
        shadow = {"sent": count, "compared": count, "disagreed": int(differs[:count].sum())}
        pairs = Snapshot(
            "m", "2", shadow=shadow, shadow_predictions=predicted.counts(), shadow_expected=expected.counts()
        )
        given = StepEvidence(none, Snapshot("m", "1"), none, 1.0, pairs=pairs, deterministic=case.deterministic)
        for finding in compare_outputs(HealthCriteria(), given, 100):
            if finding.verdict is Verdict.FAIL:
                return count, finding.criterion
    return 0, ""


def judged(case: Case, runs: int) -> tuple[bool, str]:
    """Return whether the goal of a case is met in so many runs, and a line about it."""
    ends = [stopped_at(case, np.random.default_rng([7, seed])) for seed in range(runs)]
    counts = sorted(count for count, _ in ends if count)
    share = len(counts) / runs
    passed = share <= case.most if case.most is not None else share >= (case.least or 0.0)
    goal = (
        f"stopped in <= {case.most:.0%}" if case.most is not None else f"asks within {PAIRS:,} in >= {case.least:.0%}"
    )
    by = ", ".join(f"{name} {count}" for name, count in Counter(name for _, name in ends if name).most_common())
    median = f"; median {counts[len(counts) // 2]} pairs" if counts else ""
    line = f"{'PASS' if passed else 'FAIL'}  {case.name}: {goal}: {share:.1%} of {runs:,} ({by or 'none'}{median})"
    return passed, line


def main(argv: Sequence[str] | None = None) -> int:
    """Run all cases; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollout_outputs", description="answers, compared")
    parser.add_argument("--runs", type=int, default=1000, help="runs of each case (1000)")
    parser.add_argument("--json", type=Path, help="write every line to this file")
    arguments = parser.parse_args(argv)
    results = []
    for case in CASES:
        results.append(judged(case, arguments.runs))
        print(results[-1][1], flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([line for _, line in results]) + "\n")
    return 0 if all(passed for passed, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
