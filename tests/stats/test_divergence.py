import numpy as np
import pytest
from scipy import stats

from streamb.stats.divergence import LARGEST_SHIFT, equivalent_shift


def histogram(values, edges):
    return np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)[None, :]


@pytest.mark.parametrize("shift", [0.1, 0.25, 0.5])
def test_a_normal_mean_that_moves_is_found_as_far_as_it_moved(shift):
    edges = stats.norm.ppf(np.arange(1, 20) / 20)
    before = np.diff(np.concatenate([[0], stats.norm.cdf(edges), [1]]))
    after = np.diff(np.concatenate([[0], stats.norm.cdf(edges - shift), [1]]))
    found = equivalent_shift(*(np.rint(share * 1e9).astype(np.int64)[None, :] for share in (before, after)))
    assert found[0] == pytest.approx(shift, rel=0.06)


@pytest.mark.parametrize(("n", "m"), [(200, 5000), (1000, 1000), (20_000, 1000)])
def test_what_chance_gives_is_taken_off_also_where_most_classes_are_rare(n, m):
    random = np.random.default_rng(5)
    shares = 1 / np.arange(1, 41) ** 1.5
    shares /= shares.sum()
    b, w = random.multinomial(m, shares, 4000), random.multinomial(n, shares, 4000)
    p, q = w / n, b / m
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / middle), 0) + np.where(q > 0, q * np.log(q / middle), 0)
    raw = terms.sum(axis=1) / 2
    squares = equivalent_shift(b, w) ** 2 / 8
    chance = raw[squares > 0] - squares[squares > 0]
    assert np.mean(raw) == pytest.approx(np.mean(chance), rel=0.05)


def test_nothing_in_common_is_the_largest_shift_and_no_data_is_none():
    apart = equivalent_shift(np.array([[10**6, 0], [0, 0]]), np.array([[0, 10**6], [5, 5]]))
    assert apart == pytest.approx([LARGEST_SHIFT, 0.0], abs=1e-3)
