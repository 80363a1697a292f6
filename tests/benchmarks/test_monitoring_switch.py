"""What pairs of loads with monitoring on and off say, and how surely."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.loadgen import LoadResult
from benchmarks.monitoring_switch import Arm, Interval, Throughput


def arm(*, on: bool, rate: float, cpu_us: float, failed: int = 0) -> Arm:
    requests = round(rate * 4)
    cpu_s = cpu_us * requests / 1e6
    return Arm(on, LoadResult(requests, 4.0, failed, 0, 0, 1.0, 2.0, 3.0), cpu_s, 0.01 * cpu_s)


def measured(slower: float, noise: float, rounds: int = 15, failed: int = 0) -> Throughput:
    """Rounds on a machine whose speed drifts by a third, with so much noise on each load."""
    chance = np.random.default_rng(1)
    arms = []
    for number in range(rounds):
        speed = 2_000 * (1 + np.sin(number / 3) / 3)
        for on in (True, False, False, True):
            rate = speed * (slower if on else 1.0) * chance.normal(1, noise)
            cpu_us = 450 / (slower if on else 1.0) * chance.normal(1, noise / 8)
            arms.append(arm(on=on, rate=rate, cpu_us=cpu_us, failed=failed))
    return Throughput(tuple(arms))


@pytest.mark.parametrize("n", [6, 15, 30, 60])
def test_the_bounds_hold_the_true_median_as_often_as_they_say(n):
    chance = np.random.default_rng(n)
    held = [(found := Interval.of(chance.lognormal(0, 1, n).tolist())).low <= 1 <= found.high for _ in range(4_000)]
    assert np.mean(held) >= 0.945


def test_few_values_bound_nothing():
    assert Interval.of([1.0] * 5).verdict() == "OPEN"


def test_a_small_cost_passes_and_a_large_one_does_not():
    small, large = measured(0.99, 0.02), measured(0.9, 0.02)
    assert (small.by_rate.verdict(), small.by_cpu.verdict(), small.passed) == ("PASS", "PASS", True)
    assert (large.by_rate.verdict(), large.by_cpu.verdict(), large.passed) == ("FAIL", "FAIL", False)
    assert small.by_rate.median == pytest.approx(0.99, abs=0.01)
    assert small.by_cpu.median == pytest.approx(0.99, abs=0.005)


def test_where_rates_leave_it_open_the_processor_time_decides():
    noisy = measured(0.99, 0.12)
    assert (noisy.by_rate.verdict(), noisy.by_cpu.verdict(), noisy.passed) == ("OPEN", "PASS", True)
    assert noisy.by_part == Interval(pytest.approx(0.99), pytest.approx(0.99), pytest.approx(0.99))
    assert noisy.describe().startswith("OPEN  throughput with monitoring")


def test_one_failed_request_fails_it():
    assert not measured(0.99, 0.02, failed=1).passed
