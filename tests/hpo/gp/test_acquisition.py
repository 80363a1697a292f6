"""Acquisitions: the logarithms where a plain formula has long been 0, and names. What holds for all is in contracts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from streamb.errors import InvalidInput
from streamb.hpo.gp.acquisition import ExpectedImprovement, acquisition_for, log_h


class TestLogarithm:
    def test_is_the_integral(self):
        for mean, deviation in ((0.5, 1.0), (2.0, 0.4)):
            expected, _ = quad(lambda y, m=mean, s=deviation: -y * norm.pdf(y, m, s), -15.0, 0.0)
            value = ExpectedImprovement()(np.array([mean]), np.array([deviation]), 0.0)[0][0]
            assert np.exp(value) == pytest.approx(expected, rel=1e-6)

    def test_is_finite_and_monotone_down_to_minus_ten_thousand(self):
        u = np.concatenate([-np.geomspace(1e4, 1e-3, 100_000), np.linspace(0.0, 30.0, 1000)])
        value, slope = log_h(u)
        assert np.isfinite(value).all()
        assert np.all(np.diff(value) > 0)
        assert np.all(slope > 0)

    def test_branches_meet(self):
        for edge in (-1.0, -60.0):
            value, slope = log_h(np.array([edge - 1e-9, edge + 1e-9]))
            assert value[0] == pytest.approx(value[1], rel=1e-8)
            assert slope[0] == pytest.approx(slope[1], rel=1e-8)

    def test_against_botorch(self):
        helper = pytest.importorskip("botorch.acquisition.analytic")
        import torch

        u = np.linspace(-1000.0, 5.0, 500)
        assert log_h(u)[0] == pytest.approx(helper._log_ei_helper(torch.tensor(u)).numpy(), rel=1e-9, abs=1e-9)


def test_auto_takes_turns():
    assert [acquisition_for("auto", turn).margin for turn in range(4)] == [0.0, 0.02, 0.0, 0.02]


def test_an_unknown_name_is_refused():
    with pytest.raises(InvalidInput, match="'best' is not known; use one of auto, ei, pi, ucb"):
        acquisition_for("best", 0)
