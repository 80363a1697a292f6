from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from streamb.errors import InvalidInput
from streamb.traffic import Split
from streamb.traffic import split as split_module

UNITS = [f"user-{number}" for number in range(20_000)]


@given(st.text(min_size=1), st.integers(min_value=1, max_value=9999))
def test_a_unit_gets_the_same_version_every_time(unit, share):
    split = Split.by_shares([("2.0.0", share), ("1.0.0", 10_000 - share)])
    assert split.choose(unit, salt="s") == split.choose(unit, salt="s")


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.text(min_size=1), st.text(min_size=1))
def test_raising_a_weight_only_moves_units_towards_the_growing_version(one, other, unit, salt):
    low, high = sorted((one, other))
    before = Split.by_shares([("2.0.0", low), ("1.0.0", 10_000 - low)]).choose(unit, salt=salt)
    after = Split.by_shares([("2.0.0", high), ("1.0.0", 10_000 - high)]).choose(unit, salt=salt)
    assert (before, after) != ("2.0.0", "1.0.0")


def test_long_units_are_as_sticky_but_not_kept_in_memory():
    split = Split.by_shares([("2.0.0", 5000), ("1.0.0", 5000)])
    units = [f"{number}" * 1000 for number in range(100)]
    before = split_module._place.cache_info().currsize
    first = [split.choose(unit, salt="long") for unit in units]
    assert [split.choose(unit, salt="long") for unit in units] == first
    assert set(first) == {"1.0.0", "2.0.0"}
    assert split_module._place.cache_info().currsize == before


def test_shares_come_out_as_weighted():
    split = Split.by_shares([("c", 1000), ("b", 2500), ("a", 6500)])
    counts = Counter(split.choose(unit, salt="rollout-1") for unit in UNITS)
    for version, share in (("c", 0.10), ("b", 0.25), ("a", 0.65)):
        assert counts[version] / len(UNITS) == pytest.approx(share, abs=0.012)  # 3.5 standard errors


def test_two_salts_assign_independently():
    split = Split.by_shares([("b", 5000), ("a", 5000)])
    agree = sum(split.choose(unit, salt="one") == split.choose(unit, salt="two") for unit in UNITS)
    assert agree / len(UNITS) == pytest.approx(0.5, abs=0.015)


@pytest.mark.parametrize("share", [0, 10_000])
def test_a_version_without_weight_gets_nobody(share):
    split = Split.by_shares([("b", share), ("a", 10_000 - share)])
    expected = "b" if share else "a"
    assert {split.choose(unit, salt="s") for unit in UNITS[:2000]} == {expected}


@pytest.mark.parametrize(
    "shares",
    [[], [("a", 9999)], [("a", 10_001)], [("a", 11_000), ("b", -1000)], [("a", 5000), ("a", 5000)]],
)
def test_shares_that_do_not_add_up_are_refused(shares):
    with pytest.raises(InvalidInput, match="10000"):
        Split.by_shares(shares)


@pytest.mark.parametrize("share", [1, 50, 1000, 2500, 5000, 9900])
def test_shares_of_100_000_units_lie_inside_the_interval_of_a_fair_draw(share):
    split = Split.by_shares([("2.0.0", share), ("1.0.0", 10_000 - share)])
    count = sum(split.choose(f"unit-{number}", salt="rollout-7") == "2.0.0" for number in range(100_000))
    low, high = binom.interval(0.999, 100_000, share / 10_000)
    assert low <= count <= high


@given(st.integers(0, 10_000), st.integers(0, 10**12))
def test_requests_without_a_unit_are_dealt_out_exactly(share, start):
    split = Split.by_shares([("2.0.0", share), ("1.0.0", 10_000 - share)])
    dealt = [split.deal(number) == "2.0.0" for number in range(start, start + 10_000)]
    assert sum(dealt) == share
    assert abs(sum(dealt[:100]) - share / 100) <= 3


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=5))
def test_weights_always_sum_to_one(cuts):
    bounds = [*sorted(cuts), 10_000]
    shares = [(f"{index}.0.0", high - low) for index, (low, high) in enumerate(pairwise([0, *bounds]))]
    split = Split.by_shares(shares)
    assert split.bounds[-1] == 10_000
    assert list(split.bounds) == bounds
    assert all(split.choose(unit, salt="s") in split.versions for unit in UNITS[:50])
