"""Judging rollouts, measured on simulated ones. The full form is `python -m benchmarks.rollout_statistics`.

Here each step takes seconds at a high rate, so that 100 rollouts of a kind take one. A goal for a share is checked
against what chance makes of 100: a true share at the goal is missed once in 1,000 times.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.rollout_outputs import CASES, judged
from benchmarks.rollout_simulation import Behaviour, End, Result, simulate
from benchmarks.rollout_statistics import (
    BUSY_SAME,
    BUSY_SLOWER,
    FAILS_NOW_AND_THEN,
    LADDER,
    SCENARIOS,
    STARVED,
    Scenario,
    conclude,
    found,
    main,
    run,
)
from streamb.rollouts.analysis import HealthCriteria

ROLLOUTS = 100
RATE = 4000.0
QUICK = tuple(replace(step, min_time_s=2.0, max_time_s=150.0) for step in LADDER)


@pytest.mark.parametrize(
    "scenario",
    [one for one in SCENARIOS if one is not FAILS_NOW_AND_THEN and not one.busy],
    ids=lambda scenario: scenario.name,
)
def test_good_versions_are_left_alone_and_bad_ones_are_found(scenario: Scenario):
    results = run(scenario, RATE, range(ROLLOUTS), QUICK)
    if scenario.most_rolled_back is not None:
        rolled_back = sum(result.end is End.ROLLED_BACK for result in results)
        assert rolled_back <= binom.ppf(0.999, ROLLOUTS, scenario.most_rolled_back)
        assert sum(result.end is End.COMPLETED for result in results) >= 0.95 * ROLLOUTS
    else:
        assert sum(map(found, results)) >= binom.ppf(0.001, ROLLOUTS, scenario.least_found)


def test_an_open_breaker_rolls_nothing_back_but_what_it_hides_is_no_pass():
    step = replace(LADDER[2], max_time_s=120.0)
    results = run(FAILS_NOW_AND_THEN, 1000.0, range(30), [step])
    assert {result.end for result in results} <= {End.COMPLETED, End.HELD}
    assert sum(result.end is End.HELD for result in results) >= 5, "so many met an open breaker"


def test_a_busy_machine_rolls_no_good_version_back_and_hides_no_slow_one():
    """One step with a quarter of the traffic; latencies of the same version are correlated over seconds."""
    step, runs = [replace(LADDER[2], max_time_s=600.0)], 20
    same = run(BUSY_SAME, 200.0, range(runs), step)
    assert sum(result.end is End.ROLLED_BACK for result in same) <= binom.ppf(0.999, runs, 0.01)
    assert sum(result.end is End.COMPLETED for result in same) >= 0.9 * runs
    slower = run(BUSY_SLOWER, 200.0, range(runs), step)
    assert sum(map(found, slower)) >= binom.ppf(0.001, runs, 0.95)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equal_answers_are_left_alone_and_changed_ones_ask(case):
    passed, line = judged(replace(case, least=case.least and binom.ppf(0.001, 20, case.least) / 20), 20)
    assert passed, line


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_without_enough_traffic_nothing_is_promoted(rate):
    results = run(STARVED, rate, range(20), QUICK)
    assert {(result.end, result.percent) for result in results} == {(End.HELD, 1.0)}


def test_a_version_that_fails_every_request_goes_at_its_tenth():
    results = run(Scenario("broken", Behaviour(error_rate=1.0)), 50.0, range(50), [replace(LADDER[1], share=1000)])
    assert {result.failed for result in results} == {"fast_abort"}
    assert np.median([result.seconds for result in results]) <= 3
    assert max(result.seconds for result in results) <= 6


def test_the_criteria_of_the_user_decide():
    random = np.random.default_rng(1)
    slow = HealthCriteria(max_latency_ms=50.0)
    result = simulate(QUICK, Behaviour(), Behaviour(), requests_per_second=RATE, random=random, criteria=slow)
    assert (result.end, result.failed) == (End.ROLLED_BACK, "p95_latency")


def test_the_same_seed_gives_the_same_rollouts():
    assert run(SCENARIOS[0], RATE, range(3), QUICK) == run(SCENARIOS[0], RATE, range(3), QUICK)


class TestConclusions:
    def results(self, **ends):
        percents = {"completed": 100.0, "rolled_back": 5.0, "held": 1.0}
        return [Result(End[name.upper()], percents[name], 60) for name, count in ends.items() for _ in range(count)]

    @pytest.mark.parametrize(
        ("goal", "ends", "passed"),
        [
            ({"most_rolled_back": 0.01}, {"completed": 99, "rolled_back": 1}, True),
            ({"most_rolled_back": 0.01}, {"completed": 98, "rolled_back": 2}, False),
            ({"least_found": 0.95}, {"rolled_back": 95, "held": 5}, True),
            ({"least_found": 0.95}, {"rolled_back": 94, "held": 6}, False),
            ({}, {"held": 100}, True),
            ({}, {"held": 99, "completed": 1}, False),
        ],
    )
    def test_each_goal(self, goal, ends, passed):
        line = conclude(Scenario("s", Behaviour(), **goal), 200.0, self.results(**ends))
        assert line.passed is passed
        assert str(line).startswith("PASS  s, 200 requests/s: " if passed else "FAIL  s, 200 requests/s: ")

    def test_the_command_prints_one_line_per_goal(self, capsys, monkeypatch, tmp_path):
        monkeypatch.setattr("benchmarks.rollout_statistics.SCENARIOS", SCENARIOS[:1])
        monkeypatch.setattr("benchmarks.rollout_statistics.STARVED_RATES", ())
        assert main(["--rollouts", "2", "--rates", "4000", "--workers", "1", "--json", str(tmp_path / "x.json")]) == 0
        assert capsys.readouterr().out.startswith("PASS  the same version, 4000 requests/s: rolled back in <= 1.0%")
        assert (tmp_path / "x.json").stat().st_size > 100
