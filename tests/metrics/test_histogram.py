import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.metrics.histogram import BUCKETS, SMALLEST_S, LatencyHistogram, bucket_of, bucket_value

DURATIONS = st.floats(min_value=SMALLEST_S, max_value=1000.0)


@given(DURATIONS)
def test_bucket_speaks_for_its_durations_within_one_percent(seconds):
    assert abs(bucket_value(bucket_of(seconds)) - seconds) <= 0.01 * seconds


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (-1.0, 0), (1e-9, 0), (1e9, BUCKETS - 1)])
def test_durations_out_of_range_are_counted_in_the_outermost_buckets(seconds, bucket):
    assert bucket_of(seconds) == bucket


@given(st.lists(DURATIONS, min_size=1, max_size=200), st.floats(min_value=0.0, max_value=1.0))
def test_quantiles_are_within_one_percent_of_the_exact_ones(durations, q):
    exact = sorted(durations)[max(0, -int(-q * len(durations) // 1) - 1)]
    assert LatencyHistogram.of(durations).quantile(q) == pytest.approx(exact, rel=0.01)


@given(st.lists(st.lists(DURATIONS, max_size=20), max_size=8), st.randoms(use_true_random=False))
def test_any_sharding_and_order_merges_to_the_same(shards, shuffle: random.Random):
    everything = LatencyHistogram.of([one for shard in shards for one in shard])
    parts = [LatencyHistogram.of(shard) for shard in shards]
    shuffle.shuffle(parts)
    cut = len(parts) // 2
    halves = [LatencyHistogram.merge(parts[:cut]), LatencyHistogram.merge(parts[cut:])]
    assert LatencyHistogram.merge(parts) == LatencyHistogram.merge(halves) == everything


@given(st.lists(DURATIONS, max_size=50), st.lists(DURATIONS, max_size=50))
def test_minus_undoes_merge(one, other):
    left, right = LatencyHistogram.of(one), LatencyHistogram.of(other)
    assert LatencyHistogram.merge([left, right]).minus(left) == right


@pytest.mark.parametrize("earlier", [[0.1], [0.3], [0.2, 0.2]])
def test_what_was_never_counted_is_not_subtracted(earlier):
    with pytest.raises(ValueError, match="does not contain"):
        LatencyHistogram.of([0.2]).minus(LatencyHistogram.of(earlier))


def test_count_mean_and_at_most():
    histogram = LatencyHistogram.of([0.010, 0.010, 0.100, 2.0])
    assert histogram.count == 4
    assert histogram.mean_s == pytest.approx(0.53)
    assert [histogram.at_most(bound) for bound in (0.001, 0.05, 0.5, 10.0)] == [0, 2, 3, 4]


def test_nothing_counted_has_no_mean_and_no_quantile():
    assert LatencyHistogram().mean_s is None
    assert LatencyHistogram().quantile(0.99) is None


def test_a_quantile_outside_zero_to_one_is_refused():
    with pytest.raises(ValueError, match="must be 0 to 1"):
        LatencyHistogram().quantile(99)
