import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import special, stats

from streamb.stats.binomial import binomial_tail, binomial_upper
from streamb.stats.special import beta_cdf, chi_square_tail

counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
confidences = st.sampled_from((0.9, 0.99, 0.999))


@given(st.floats(0.3, 1e5), st.floats(0.3, 1e5), st.floats(0, 1))
def test_the_incomplete_beta_function_is_scipys(a, b, x):
    assert beta_cdf(x, a, b) == pytest.approx(special.betainc(a, b, x), abs=1e-8)


@given(st.integers(1, 300), st.floats(0, 1000))
@example(freedom=1, x=5e-324)
def test_the_chi_square_tail_is_scipys(freedom, x):
    assert chi_square_tail(x, freedom) == pytest.approx(stats.chi2.sf(x, freedom), abs=1e-10)


@given(counts, confidences)
def test_the_upper_bound_is_that_of_clopper_and_pearson(pair, confidence):
    k, n = pair
    exact = stats.binomtest(k, n).proportion_ci(1 - 2 * (1 - confidence), method="exact")
    assert binomial_upper(k, n, confidence) == pytest.approx(exact.high, abs=1e-7)


@given(counts, st.floats(0.001, 0.999))
def test_the_tail_is_that_of_the_binomial_distribution(pair, p):
    k, n = pair
    assert binomial_tail(k, n, p) == pytest.approx(stats.binom.sf(k - 1, n, p), abs=1e-8)


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3)])
def test_what_is_no_proportion_is_refused(k, n):
    with pytest.raises(ValueError, match="not a proportion"):
        binomial_upper(k, n, 0.99)
