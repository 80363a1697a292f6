"""Warping keeps the order, can be undone, and tames tails."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.hpo.gp.warping import fit_warping

lists = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=30)


@settings(max_examples=50)
@given(lists)
def test_standardised_values_are_finite_and_keep_their_order(values: list[float]):
    told = np.array(values)
    found = fit_warping(told).apply(told)
    assert np.isfinite(found).all()
    assert np.all(np.diff(found[np.argsort(told)]) >= -1e-9)


@pytest.mark.parametrize(
    "skewed", [np.geomspace(1.0, 1e6, 40), -np.geomspace(1.0, 1e6, 40), np.linspace(-1.0, 1.0, 40)]
)
def test_tails_are_tamed_and_the_way_back_is_exact(skewed: np.ndarray):
    warping = fit_warping(skewed)
    found = warping.apply(skewed)
    assert np.abs(found).max() < 3.5
    assert [warping.invert(one) for one in found] == pytest.approx(skewed, rel=1e-6)


def test_slopes_are_differences():
    values = np.geomspace(1.0, 1e4, 30)
    warping = fit_warping(values)
    numeric = (warping.apply(values + 1e-4) - warping.apply(values - 1e-4)) / 2e-4
    assert warping.slope(values) == pytest.approx(numeric, rel=1e-4)


def test_few_values_are_not_bent():
    assert fit_warping(np.array([1.0, 10.0, 1e5])).power == 1.0
    assert fit_warping(np.geomspace(1.0, 1e6, 40), bend=False).power == 1.0
