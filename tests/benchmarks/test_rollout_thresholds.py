"""What fixed thresholds make of versions: the peer of the rollout benchmark."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.rollout_simulation import Behaviour, End
from benchmarks.rollout_statistics import Scenario
from benchmarks.rollout_thresholds import ARGO, FLAGGER, TUNED, by_thresholds, is_wrong, run_thresholds

GOOD, WORSE, BROKEN = Behaviour(), Behaviour(error_rate=0.04), Behaviour(error_rate=0.5)


@pytest.mark.parametrize(
    ("rule", "target", "end", "percent", "seconds"),
    [
        (FLAGGER, Behaviour(error_rate=0.0), End.COMPLETED, 100.0, 300),
        (FLAGGER, GOOD, End.ROLLED_BACK, 10, 300),  # two errors in a hundred are no reason, but one is allowed
        (FLAGGER, BROKEN, End.ROLLED_BACK, 10, 300),
        (ARGO, GOOD, End.COMPLETED, 100.0, 2400),
        (ARGO, WORSE, End.COMPLETED, 100.0, 2400),  # twice the errors, and below five in a hundred all the same
        (ARGO, BROKEN, End.ROLLED_BACK, 40, 1200),
        (TUNED, GOOD, End.COMPLETED, 100.0, 300),
        (TUNED, Behaviour(p95_ms=130.0), End.ROLLED_BACK, 10, 300),
    ],
)
def test_what_the_limits_make_of_a_version(rule, target, end, percent, seconds):
    result = by_thresholds(rule, target, 1000.0, np.random.default_rng(0))
    assert (result.end, result.percent, result.seconds) == (end, percent, seconds)
    assert (result.errors > 0) == (target.error_rate > 0)


def test_without_requests_flagger_rolls_back():
    assert by_thresholds(FLAGGER, GOOD, 0.0, np.random.default_rng(0)).end is End.ROLLED_BACK


def test_wrong_is_to_roll_back_the_good_and_to_let_the_bad_through():
    good, bad = Scenario("good", GOOD, most_rolled_back=0.01), Scenario("bad", WORSE, least_found=0.95)
    assert [is_wrong(good, one) for one in run_thresholds(FLAGGER, good, 200.0, range(5))] == [True] * 5
    assert [is_wrong(good, one) for one in run_thresholds(ARGO, good, 200.0, range(5))] == [False] * 5
    assert [is_wrong(bad, one) for one in run_thresholds(ARGO, bad, 200.0, range(5))] == [True] * 5
    assert [is_wrong(bad, one) for one in run_thresholds(TUNED, bad, 200.0, range(5))] == [False] * 5
