import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from streamb.stats.two_sample import (
    benjamini_hochberg,
    combined_p_values,
    g_test_p_values,
    kolmogorov_tail,
    ks_p_values,
    single_p_values,
)

pytestmark = pytest.mark.slow

tables = st.lists(st.tuples(st.integers(5, 500), st.integers(5, 500)), min_size=2, max_size=8)


def test_the_kolmogorov_tail_is_scipys():
    points = np.linspace(0.4, 4, 50)
    assert kolmogorov_tail(points) == pytest.approx(special.kolmogorov(points), abs=1e-9)


def g_test(b, w):
    """SciPy's, divided by Williams' factor."""
    table = np.vstack([b, w]).astype(float)
    statistic, _, freedom, _ = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    n = table.sum()
    factor = 1 + ((n / table.sum(axis=0)).sum() - 1) * ((n / table.sum(axis=1)).sum() - 1) / (6 * n * freedom)
    return stats.chi2.sf(statistic / factor, freedom)


@settings(max_examples=40)
@given(tables)
def test_the_g_test_is_scipys_while_no_class_is_rare(rows):
    b, w = (np.array([[row[side] for row in rows]]) for side in (0, 1))
    smaller = min(b.sum(), w.sum()) / (b.sum() + w.sum())
    if ((b + w) * smaller < 5).any():
        return
    assert g_test_p_values(b, w)[0] == pytest.approx(g_test(b, w), rel=1e-6, abs=1e-12)


def test_rare_classes_are_counted_together():
    b, w = np.array([[5000, 10, 20, 10, 10]]), np.array([[990, 4, 2, 2, 2]])
    assert g_test_p_values(b, w)[0] == pytest.approx(g_test([5000, 50], [990, 10]))
    too_few = np.array([[5000, 1, 2, 1, 1]]), np.array([[990, 0, 1, 1, 0]])
    assert g_test_p_values(*too_few)[0] == 1.0


@pytest.mark.parametrize(("n", "m"), [(200, 10_000), (10_000, 200), (1000, 1000)])
def test_bins_of_the_baseline_s_own_quantiles_do_not_make_small_p_values(n, m):
    random = np.random.default_rng(12)
    shares = np.full(20, 0.05)
    b = np.tile((m * shares).astype(np.int64), (20_000, 1))
    w = random.multinomial(n, random.dirichlet(m * shares, len(b)))
    found = g_test_p_values(b, w)
    for level in (0.05, 0.01, 0.001):
        assert np.mean(found <= level) <= 1.25 * level + 3e-4


def test_a_new_class_is_found_by_itself():
    b, w = np.array([[50_000, 0]]), np.array([[993, 7]])
    exact = (1000 / 51_000) ** 7
    assert single_p_values(b, w)[0] == pytest.approx(2 * exact, rel=1e-6)
    assert combined_p_values(b, w, np.array([False]))[0] < 1e-6


@pytest.mark.parametrize(("n", "m"), [(200, 1000), (1000, 1000), (5000, 1000), (200, 20_000)])
def test_while_nothing_changed_few_p_values_are_small(n, m):
    random = np.random.default_rng(11)
    shares = np.array([0.3, 0.2, 0.1, *[0.04] * 8, *[0.01] * 6, *[0.002] * 10])
    b, w = random.multinomial(m, shares, 20_000), random.multinomial(n, shares, 20_000)
    found = combined_p_values(b, w, np.ones(len(b), np.bool_))
    for level in (0.05, 0.01, 0.001):
        assert np.mean(found <= level) <= 1.3 * level + 2e-4
    assert np.mean(ks_p_values(b, w) <= 0.05) <= 0.05


def test_without_observations_nothing_is_significant():
    nothing, some = np.zeros((1, 3), np.int64), np.array([[3, 4, 5]])
    assert combined_p_values(nothing, some, np.array([True]))[0] == 1.0
    assert combined_p_values(some, nothing, np.array([True]))[0] == 1.0


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_benjamini_hochberg_is_scipys(p_values):
    expected = stats.false_discovery_control(p_values) <= 0.1 * (1 + 1e-12)
    found = benjamini_hochberg(p_values, 0.1 * (1 + 1e-12))
    assert found.tolist() == expected.tolist()


def test_no_tests_no_findings():
    assert benjamini_hochberg([], 0.1).size == 0
