import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance

from streamb.stats.distance import jensen_shannon

tables = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=8).filter(
    lambda rows: all(sum(row[side] for row in rows) for side in (0, 1))
)


def counts(rows):
    return tuple({f"class {i}": row[side] for i, row in enumerate(rows)} for side in (0, 1))


@given(tables)
def test_the_raw_distance_is_scipys(rows):
    left, right = zip(*rows, strict=True)
    expected = distance.jensenshannon(left, right, base=2)
    assert jensen_shannon(*counts(rows)).raw == pytest.approx(expected, abs=1e-6)


@given(tables)
def test_it_is_symmetric_and_what_chance_gives_is_only_taken_off(rows):
    one, other = jensen_shannon(*counts(rows)), jensen_shannon(*counts(rows)[::-1])
    assert one.raw == pytest.approx(other.raw, abs=1e-9)
    assert 0 <= one.distance <= one.raw <= 1


def test_the_p_value_is_that_of_the_g_test():
    rows = [(30, 50), (40, 45), (20, 80)]
    expected = stats.chi2_contingency(np.array(rows).T, correction=False, lambda_="log-likelihood").pvalue
    assert jensen_shannon(*counts(rows)).p_value == pytest.approx(expected)


def test_two_samples_of_one_distribution_are_at_no_distance_on_average():
    random = np.random.default_rng(2)
    shares = np.array([0.4, 0.3, 0.2, 0.05, 0.05])
    found = []
    for _ in range(400):
        left, right = (dict(enumerate(random.multinomial(n, shares).tolist())) for n in (200, 1000))
        found.append(jensen_shannon(left, right))
    assert np.mean([one.p_value < 0.05 for one in found]) == pytest.approx(0.05, abs=0.035)
    assert np.median([one.distance for one in found]) < 0.25 * np.median([one.raw for one in found])


def test_without_observations_nothing_is_known():
    assert jensen_shannon({}, {"a": 3}).p_value == 1.0
    assert jensen_shannon({"a": 5}, {"a": 3}).distance == 0.0
