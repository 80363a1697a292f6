"""Acquisitions: one contract for all of them, and the logarithms where a plain formula has long been 0."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from streamb.errors import InvalidInput
from streamb.hpo import ACQUISITIONS
from streamb.hpo.gp.acquisition import (
    ConfidenceBound,
    ExpectedImprovement,
    ProbabilityOfImprovement,
    log_h,
)
from streamb.hpo.gp.portfolio import TURNS, acquisition_for

ALL = [ExpectedImprovement(), ExpectedImprovement(0.1), ProbabilityOfImprovement(), ConfidenceBound()]


@pytest.mark.parametrize("acquisition", ALL, ids=repr)
class TestEvery:
    def test_derivatives_are_differences(self, acquisition):
        mean = np.concatenate([np.linspace(-3.0, 3.0, 25), np.linspace(4.0, 60.0, 15)])
        deviation, step = np.full_like(mean, 0.7), 1e-5
        _, by_mean, by_deviation = acquisition(mean, deviation, 0.2)
        numeric = acquisition(mean + step, deviation, 0.2)[0] - acquisition(mean - step, deviation, 0.2)[0]
        assert by_mean == pytest.approx(numeric / (2 * step), rel=1e-5, abs=1e-5)
        numeric = acquisition(mean, deviation + step, 0.2)[0] - acquisition(mean, deviation - step, 0.2)[0]
        assert by_deviation == pytest.approx(numeric / (2 * step), rel=1e-5, abs=1e-5)

    def test_lower_means_promise_more(self, acquisition):
        value = acquisition(np.linspace(-5.0, 500.0, 400), np.full(400, 0.5), 0.0)[0]
        assert np.all(np.diff(value) < 0)

    def test_is_finite_everywhere(self, acquisition):
        mean, deviation = np.meshgrid([-1e6, -1.0, 0.0, 1.0, 1e6], [1e-9, 1e-3, 1.0, 1e3])
        found = acquisition(mean.ravel(), deviation.ravel(), 0.0)
        assert all(np.isfinite(part).all() for part in found)


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


class TestPortfolio:
    def test_every_name_has_turns(self):
        assert set(TURNS) == set(ACQUISITIONS)
        assert all(acquisition_for(name, turn) in TURNS[name] for name in TURNS for turn in range(5))

    def test_an_unknown_name_is_refused(self):
        with pytest.raises(InvalidInput, match="'best'"):
            acquisition_for("best", 0)
