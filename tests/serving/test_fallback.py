import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InvalidFeatures,
    ModelFailed,
    Overloaded,
    RateLimited,
    Unavailable,
)
from streamb.serving.fallback import BUDGET_BURST, BUDGET_SHARE, BUDGET_WINDOW_S, FallbackBudget, may_fall_back


@pytest.mark.parametrize("error", [ModelFailed("x"), DeadlineExceeded("x"), Unavailable("x"), InvalidFeatures("x")])
def test_another_version_may_answer_what_one_failed_at(error):
    assert may_fall_back(error)


@pytest.mark.parametrize("error", [Overloaded("x"), RateLimited("x"), BodyTooLarge("x")])
def test_no_version_can_help_with_what_is_not_the_versions(error):
    assert not may_fall_back(error)


def test_a_fifth_of_the_requests_and_at_least_ten():
    budget = FallbackBudget()
    assert [budget.take(5.0) for _ in range(12)] == [True] * 10 + [False] * 2
    for _ in range(100):
        budget.count(5.5)
    assert [budget.take(5.9) for _ in range(12)] == [True] * 10 + [False] * 2
    assert budget.take(16.0)


def test_a_clock_that_looks_back_gives_nothing_away():
    budget = FallbackBudget()
    granted = sum(budget.take(now) for now in [50.9, 51.0, 49.0, 51.5] * 20)
    budget.count(3.0)
    assert granted == 10
    assert not budget.take(51.9)


moments = st.lists(
    st.tuples(st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.7, 3.0, 11.0]), st.sampled_from(["count", "count", "take"])),
    max_size=300,
)


@given(moments, st.integers(0, 200))
def test_the_budget_is_never_exceeded_over_any_ten_seconds(steps, crowd):
    budget, now = FallbackBudget(), 1000.0
    counted, taken = [], []
    for _ in range(crowd):
        budget.count(now)
        counted.append(now)
    for pause, step in steps:
        now += pause
        if step == "count":
            budget.count(now)
            counted.append(now)
            continue
        first = int(now) - BUDGET_WINDOW_S + 1
        requests = sum(at >= first for at in counted)
        granted = sum(at >= first for at in taken)
        fits = granted + 1 <= max(BUDGET_BURST, BUDGET_SHARE * requests)
        assert budget.take(now) == fits
        if fits:
            taken.append(now)
