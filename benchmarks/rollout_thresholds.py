"""Judging a rollout by statistics beside judging it by fixed thresholds, on the same simulated versions.

    python -m benchmarks.rollout_thresholds [--rollouts 200] [--rates 50,200]

The fixed thresholds are what the examples of Flagger and Argo Rollouts set, looked at as often as those do:

- flagger:       a step of 10 % each minute up to 50 %; a minute passes with >= 99 % successes and a p99 of <= 500 ms;
                 five that do not end the rollout (docs.flagger.app, "How it works").
- flagger tuned: the same with 97 % and 160 ms, half-way between the good and the bad version: somebody knew both.
- argo:          20 % more each ten minutes; measured every five, >= 95 % successes; more than three measurements below
                 that end the rollout (argo-rollouts.readthedocs.io, "Analysis").

They are simulated here from their documents; neither runs. What is wrong: a good version rolled back; a bad one not
rolled back before half of the traffic moved.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np

from benchmarks.rollout_simulation import Behaviour, End, Result
from benchmarks.rollout_statistics import HALF_PERCENT, SCENARIOS, Scenario, Way, found, run, runner


@dataclass(frozen=True, slots=True)
class Thresholds:
    """A ladder that is climbed by the clock, and what ends it.

    Attributes:
        percents: of the traffic, one after the other; after the last everything moves.
        step_s: from one to the next; when `waits`, a look that failed does not climb.
        look_s: between looks, each at what happened since the one before.
        failures: so many failed looks are suffered.
        success: the least share of successes.
        p99_ms: the largest 99th percentile of the latency.
    """

    percents: tuple[float, ...]
    step_s: int
    look_s: int
    failures: int
    success: float
    p99_ms: float = math.inf
    waits: bool = False


FLAGGER = Thresholds((10, 20, 30, 40, 50), 60, 60, failures=4, success=0.99, p99_ms=500.0, waits=True)
TUNED = Thresholds((10, 20, 30, 40, 50), 60, 60, failures=4, success=0.97, p99_ms=160.0, waits=True)
ARGO = Thresholds((20, 40, 60, 80), 600, 300, failures=3, success=0.95)
RULES = {"flagger": FLAGGER, "flagger tuned": TUNED, "argo": ARGO}


def passes(rule: Thresholds, behaviour: Behaviour, requests: int, errors: int, random: np.random.Generator) -> bool:
    """One look at so many requests of the new version; nothing to look at does not pass."""
    if not requests or errors > requests * (1 - rule.success):
        return False
    if math.isinf(rule.p99_ms):
        return True
    latencies_s = random.lognormal(behaviour.middle, behaviour.sigma, requests)
    return bool(np.quantile(latencies_s, 0.99) * 1e3 <= rule.p99_ms)


def by_thresholds(rule: Thresholds, target: Behaviour, rate: float, random: np.random.Generator) -> Result:
    """One rollout from the first percent to its end."""
    failed = seconds = errors = 0
    for percent in rule.percents:
        left_s = rule.step_s
        while left_s > 0:
            seconds += rule.look_s
            requests = int(random.poisson(rate * rule.look_s * percent / 100))
            now = int(random.binomial(requests, target.error_rate))
            errors += now
            well = passes(rule, target, requests, now, random)
            failed += not well
            if failed > rule.failures:
                return Result(End.ROLLED_BACK, percent, seconds, "threshold", errors)
            left_s -= rule.look_s if well or not rule.waits else 0
    return Result(End.COMPLETED, 100.0, seconds, errors=errors)


def run_thresholds(rule: Thresholds, scenario: Scenario, rate: float, seeds: range) -> list[Result]:
    """One simulated rollout for each seed."""
    return [by_thresholds(rule, scenario.target, rate, np.random.default_rng([5, seed])) for seed in seeds]


def is_wrong(scenario: Scenario, result: Result) -> bool:
    """A good version rolled back, or a bad one not found in time."""
    if scenario.least_found is not None:
        return not found(result)
    return result.end is End.ROLLED_BACK


def line(name: str, scenario: Scenario, results: Sequence[Result]) -> str:
    """How often this way of judging was wrong, how long it took, and what the new version failed meanwhile."""
    wrong = sum(is_wrong(scenario, result) for result in results) / len(results)
    held = sum(result.end is End.HELD for result in results) / len(results)
    seconds, errors = median(one.seconds for one in results), median(one.errors for one in results)
    shares = f"wrong {wrong:6.1%}, held for a person {held:6.1%}"
    return f"    {name:14} {shares}; medians {seconds:6,.0f} s, {errors:6,.0f} errors"


def ways(scenario: Scenario, rate: float) -> dict[str, Way]:
    """Every way of judging the same scenario."""
    found: dict[str, Way] = {"streamb": partial(run, scenario, rate)}
    return found | {name: partial(run_thresholds, rule, scenario, rate) for name, rule in RULES.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate and print; 0 when ours was wrong least often over all scenarios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollout_thresholds", description="statistics or limits")
    parser.add_argument("--rollouts", type=int, default=200, help="rollouts of each scenario (200)")
    parser.add_argument("--rates", default="50,200", help="requests per second (50,200)")
    arguments = parser.parse_args(argv)
    wrong: Counter[str] = Counter()
    rates = [float(rate) for rate in arguments.rates.split(",")]
    with runner(os.cpu_count() or 1) as run_all:
        for scenario, rate in itertools.product(SCENARIOS, rates):
            due = "to be left alone" if scenario.least_found is None else f"to be found before {HALF_PERCENT:g} %"
            print(f"{scenario.name}, {rate:g} requests/s: {due}")
            for name, way in ways(scenario, rate).items():
                results = run_all(way, arguments.rollouts)
                wrong[name] += sum(is_wrong(scenario, result) for result in results)
                print(line(name, scenario, results), flush=True)
    of = arguments.rollouts * len(SCENARIOS) * len(rates)
    print("wrong in all: " + ", ".join(f"{name} {wrong[name] / of:.1%}" for name in ("streamb", *RULES)))
    return 0 if wrong["streamb"] <= min(wrong.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
