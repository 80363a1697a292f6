from collections import Counter

import numpy as np
import pytest

from streamb.stats.percentile import compare_percentile, count_above, quantile_bin


def bins(values):
    return sorted(Counter(int(value) for value in values).items())


def test_the_quantile_is_the_bin_of_its_rank():
    values = np.arange(100)
    assert [quantile_bin(bins(values), q) for q in (0.0, 0.5, 0.95, 1.0)] == [0, 49, 94, 99]
    assert quantile_bin([], 0.5) is None


def test_what_is_above_a_bin():
    assert [count_above([(1, 2), (5, 3)], one) for one in (0, 1, 4, 5)] == [5, 3, 3, 0]


@pytest.mark.parametrize("sides", [([], [(1, 1)]), ([(1, 1)], [])])
def test_nothing_is_compared_with_nothing(sides):
    assert compare_percentile(*sides, 0.95, 5) is None


def test_a_slower_side_is_told_from_an_equal_one():
    random = np.random.default_rng(0)
    usual = bins(random.normal(100, 20, 6000))
    same, slower = (bins(random.normal(mean, 20, 2000)) for mean in (100, 110))
    equal, worse = (compare_percentile(side, usual, 0.95, 8) for side in (same, slower))
    assert worse.slower > 7 > equal.slower
    assert equal.tolerable > 7 > worse.tolerable
    assert worse.bin_a > worse.bin_b
