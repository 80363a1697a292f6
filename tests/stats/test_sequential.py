import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.stats.sequential import difference_bounds, fall_evidence, mean_bounds, proportion_evidence, rise_evidence

pytestmark = pytest.mark.slow

ALPHA = 0.05
RUNS = 300
LOOKS = 60
# 300 runs, each wrong with chance 5 % at most: more than 27 is a chance of 1 in 1,000.
MOST_WRONG = 27


def paths(p_a, p_b, *, per_look=(30, 90), seed=1):
    """Counts of both sides, growing from look to look, for each run; the rates may differ between looks."""
    random = np.random.default_rng(seed)
    shape = (RUNS, LOOKS)
    k_a = random.binomial(per_look[0], np.broadcast_to(p_a, shape)).cumsum(axis=1)
    k_b = random.binomial(per_look[1], np.broadcast_to(p_b, shape)).cumsum(axis=1)
    n = np.arange(1, LOOKS + 1)
    for run in range(RUNS):
        yield [
            (int(k_a[run, i]), int(per_look[0] * n[i]), int(k_b[run, i]), int(per_look[1] * n[i])) for i in range(LOOKS)
        ]


def ever(rejects, *args, **kwargs):
    """In how many runs some look rejects."""
    return sum(any(rejects(*counts) for counts in path) for path in paths(*args, **kwargs))


SURE = -math.log(ALPHA)


class TestTwoProportions:
    @pytest.mark.parametrize("p", [0.002, 0.02, 0.2])
    def test_equal_rates_are_hardly_ever_called_worse_however_often_one_looks(self, p):
        assert ever(lambda *counts: rise_evidence(*counts) >= SURE, p, p) <= MOST_WRONG
        assert ever(lambda *counts: fall_evidence(*counts) >= SURE, p, p) <= MOST_WRONG

    def test_a_bad_minute_of_both_is_no_evidence(self):
        p = np.where(np.arange(LOOKS) % 20 < 4, 0.5, 0.01)
        assert ever(lambda *counts: rise_evidence(*counts) >= SURE, p, p) <= MOST_WRONG

    def test_a_rise_up_to_the_margin_is_hardly_ever_called_more(self):
        assert ever(lambda *counts: rise_evidence(*counts, margin=0.01) >= SURE, 0.03, 0.02) <= MOST_WRONG
        assert ever(lambda *counts: fall_evidence(*counts, margin=0.01) >= SURE, 0.03, 0.02) <= MOST_WRONG

    def test_a_real_difference_is_found(self):
        assert ever(lambda *counts: rise_evidence(*counts) >= SURE, 0.06, 0.02) > 0.95 * RUNS
        assert ever(lambda *counts: fall_evidence(*counts, margin=0.02) >= SURE, 0.02, 0.02) > 0.95 * RUNS

    @given(st.integers(1, 3000), st.integers(1, 3000), st.floats(0, 1), st.floats(0, 1))
    def test_the_bounds_hold_the_estimate(self, n_a, n_b, share_a, share_b):
        k_a, k_b = int(n_a * share_a), int(n_b * share_b)
        lower, upper = difference_bounds(k_a, n_a, k_b, n_b, 0.01)
        assert -1 <= lower <= k_a / n_a - k_b / n_b <= upper <= 1

    def test_more_evidence_narrows_the_bounds(self):
        small, large = (difference_bounds(4 * m, 100 * m, 6 * m, 300 * m, 0.01) for m in (5, 100))
        assert large[0] > small[0]
        assert large[1] < small[1]

    def test_without_requests_on_a_side_nothing_is_known(self):
        assert rise_evidence(5, 10, 0, 0) == fall_evidence(0, 0, 5, 10) == 0.0
        assert difference_bounds(0, 0, 3, 10, 0.01) == (-1.0, 1.0)


class TestOneProportion:
    @pytest.mark.parametrize("p", [0.005, 0.05, 0.5])
    def test_the_truth_is_hardly_ever_excluded(self, p):
        wrong = ever(lambda k, n, *_: proportion_evidence(k, n, p) >= SURE, p, p)
        assert wrong <= MOST_WRONG

    def test_the_ends(self):
        assert proportion_evidence(1, 5, 0.0) == proportion_evidence(4, 5, 1.0) == math.inf


def test_a_mean_is_hardly_ever_outside_its_bounds():
    random = np.random.default_rng(4)
    wrong = 0
    for _ in range(RUNS):
        values = random.exponential(2.0, LOOKS * 50)
        for n in range(50, len(values) + 1, 50):
            seen = values[:n]
            lower, upper = mean_bounds(n, float(seen.mean()), float(seen.std()), ALPHA)
            if not lower <= 2.0 <= upper:
                wrong += 1
                break
    assert wrong <= MOST_WRONG
    assert mean_bounds(1, 3.0, 0.0, ALPHA) == (-math.inf, math.inf)
