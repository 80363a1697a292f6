import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamb.stats.edetector import Bets, Detection

LOSSES = st.lists(st.floats(0, 1e6) | st.just(0.0), min_size=1, max_size=30)


def sums(losses):
    return len(losses), math.fsum(losses), math.fsum(one * one for one in losses)


def exact(bets, losses):
    """What the losses multiply each stake by, one by one."""
    return [math.fsum(math.log1p(f * (one / bets.mean - 1)) for one in losses) for f in bets.fractions]


def test_a_bet_on_errors_is_the_likelihood_ratio():
    bets = Bets.on_errors(0.2)
    rates = [0.2 + f * 0.8 for f in bets.fractions]
    ratios = [30 * math.log(p / 0.2) + 70 * math.log((1 - p) / 0.8) for p in rates]
    assert bets.log_factors(100, 30, 30) == pytest.approx(ratios)


@pytest.mark.parametrize("rate", [1e-9, 0.001, 0.5, 0.97, 1 - 1e-9])
def test_every_bet_risks_something_and_never_all(rate):
    assert all(0 < f <= 0.9 for f in Bets.on_errors(rate).fractions)
    assert len(set(Bets.on_errors(rate).fractions)) == len(Bets.on_errors(rate).fractions)


def test_one_step_is_the_recursion_of_shiryaev_and_roberts():
    bets, wrong = Bets.on_errors(0.2), [1, 0, 0, 1, 1]
    detection, stakes = Detection.start(bets), [0.0] * 4
    for x in wrong:
        detection = detection.after(bets, 1, x, x)
        stakes = [(s + 1) * (1 + f * (x / 0.2 - 1)) for s, f in zip(stakes, bets.fractions, strict=True)]
    assert detection.log_sums == pytest.approx([math.log1p(s) for s in stakes])
    assert detection.evidence == pytest.approx(math.log1p(sum(stakes) / 4))
    assert detection.count == 5


@given(LOSSES, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
@example([1.0, 0.0, 1.0], 0.2, 0.4)
@example([1e-200, 0.0], 1.0, 1.0)  # a square that is too small for a number
@settings(max_examples=50)
def test_a_batch_is_never_worth_more_than_its_losses_one_by_one(losses, mean, deviation):
    bets = Bets.on_losses(mean, deviation)
    count, total, squares = sums(losses)
    for bound, true in zip(bets.log_factors(count, total, squares), exact(bets, losses), strict=True):
        assert bound <= true + 1e-6 * (1 + abs(true))


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.01, 0.95))
@settings(max_examples=50)
def test_for_errors_a_batch_is_exact(wrong, right, rate):
    bets = Bets.on_errors(rate)
    if wrong + right:
        assert bets.log_factors(wrong + right, wrong, wrong) == pytest.approx(
            exact(bets, [1.0] * wrong + [0.0] * right)
        )


def test_nobody_wins_on_average_while_the_mean_is_what_it_was():
    random = np.random.default_rng(5)
    bets = Bets.on_losses(2.0, 2.0)
    losses = random.exponential(2.0, 200_000)  # their mean is 2
    for f in bets.fractions:
        factors = 1 + f * (losses / 2.0 - 1)
        assert factors.mean() == pytest.approx(1.0, abs=0.01)
        assert factors.min() > 0


def test_no_losses_change_nothing():
    bets = Bets.on_errors(0.2)
    detection = Detection.start(bets).after(bets, 10, 3, 3)
    assert detection.after(bets, 0, 0, 0) is detection


@given(st.lists(st.integers(0, 5), min_size=2, max_size=30))
@settings(max_examples=50)
def test_the_lead_says_since_when(errors):
    """The lead of each bet is the best of all starts, and its sum is what came since."""
    bets = Bets.on_errors(0.2)
    detection = Detection.start(bets)
    for at, wrong in enumerate(errors):
        detection = detection.after(bets, 5, wrong, wrong, at=float(at))
    for k, lead in enumerate(detection.leads):
        starts = range(len(errors) + 1)
        worth = [sum(bets.log_factors(5, wrong, wrong)[k] for wrong in errors[start:]) for start in starts]
        assert lead.log_stake == pytest.approx(max(worth), abs=1e-9)
        assert lead.total == sum(errors[lead.since // 5 :])
        assert lead.since_at == (None if lead.since == 0 else lead.since / 5 - 1)


def test_extremes_stay_finite():
    bets = Bets.on_losses(1e-6, 1e-6)
    detection = Detection.start(bets)
    for losses in ([1e12] * 3, [0.0] * 1000, [1e12], [1e-9] * 10):
        detection = detection.after(bets, *sums(losses), limit=20.0)
        assert math.isfinite(detection.evidence)
        assert 0 <= detection.evidence <= 20.0
    huge = detection.after(bets, 10**9, 10**9, 10**9)
    assert math.isfinite(huge.evidence)


def test_a_single_outlier_is_no_evidence_and_many_larger_losses_are():
    bets = Bets.on_losses(1.0, 0.5)
    calm = Detection.start(bets).after(bets, *sums([1.0] * 100))
    assert calm.after(bets, *sums([1.0] * 99 + [1e6])).evidence < calm.evidence + 5
    assert calm.after(bets, *sums([1.6] * 100)).evidence > 20
