"""The Gaussian process: gradients against differences, predictions against another implementation, and hard numbers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from streamb.hpo import Space
from streamb.hpo.gp.factorization import IllConditioned, cholesky
from streamb.hpo.gp.kernel import squared_distances
from streamb.hpo.gp.likelihood import LEAST_NOISE, Evidence, log_likelihood, log_posterior, starting_point
from streamb.hpo.gp.surrogate import Surrogate, condition, fit

MIXED = {
    "a": (0.0, 1.0),
    "b": (1, 9),
    "c": ["x", "y", "z"],
    "d": {"type": "float", "low": 1e-3, "high": 1.0, "log": True, "when": {"c": ["x", "y"]}},
}


def evidence(n: int = 25, *, noisy: bool = False, space: Space | None = None) -> Evidence:
    space = space or Space.of(MIXED)
    rng = np.random.default_rng(n)
    rows = space.sample(rng, n)
    values = np.sin(5.0 * rows[:, 0]) + rows[:, 1] + rng.normal(size=n) * 0.3
    return Evidence(rows, (values - values.mean()) / values.std(), np.full(n, 1e-3), space.categorical, noisy=noisy)


def slopes(function, at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    return np.array([(function(at + e) - function(at - e)) / (2 * step) for e in np.eye(len(at)) * step])


class TestGradients:
    @pytest.mark.parametrize("noisy", [False, True])
    @pytest.mark.parametrize("function", [log_likelihood, log_posterior])
    def test_of_the_likelihood(self, noisy: bool, function):
        known = evidence(noisy=noisy)
        theta = starting_point(known) + np.random.default_rng(1).normal(size=len(starting_point(known))) * 0.5
        numeric = slopes(lambda t: function(known, t)[0], theta)
        assert np.abs(function(known, theta)[1] - numeric).max() < 1e-5 * max(1.0, np.abs(numeric).max())

    def test_of_the_prediction(self):
        known = evidence(noisy=True)
        surrogate = condition(known, starting_point(known))
        for point in Space.of(MIXED).sample(np.random.default_rng(2), 4):
            _, _, by_mean, by_deviation = surrogate.predict_with_gradients(point[None, :])
            for which, gradient in ((0, by_mean[0]), (1, by_deviation[0])):
                numeric = slopes(lambda p, which=which: surrogate.predict(p[None, :])[which][0], point)
                assert np.abs(gradient[:2] - numeric[:2]).max() < 1e-5


class TestAgainstScikitLearn:
    def test_likelihood_and_predictions_are_the_same(self):
        space = Space.of({"a": (0.0, 1.0), "b": (0.0, 1.0)})
        known = evidence(30, space=space)
        theta = np.array([2.0, 0.5, 0.3])
        ours = condition(known, theta)
        kernel = ConstantKernel(np.exp(0.3)) * Matern(np.exp([-1.0, -0.25]), nu=2.5)
        theirs = GaussianProcessRegressor(kernel, alpha=LEAST_NOISE + 1e-3, optimizer=None)
        theirs.fit(known.rows, known.values - ours.mean)
        assert log_likelihood(known, theta)[0] == pytest.approx(theirs.log_marginal_likelihood_value_, abs=1e-6)
        points = space.sample(np.random.default_rng(3), 20)
        mean, deviation = theirs.predict(points, return_std=True)
        assert ours.predict(points)[0] == pytest.approx(mean + ours.mean, abs=1e-6)
        assert ours.predict(points)[1] == pytest.approx(deviation, abs=1e-6)


class TestAgainstBoTorch:
    def test_likelihood_is_the_same(self):
        gpytorch = pytest.importorskip("gpytorch")
        import torch

        known = evidence(20, space=Space.of({"a": (0.0, 1.0), "b": (0.0, 1.0)}))
        rows = torch.tensor(known.rows)
        kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(nu=2.5, ard_num_dims=2)).double()
        kernel.outputscale, kernel.base_kernel.lengthscale = float(np.exp(0.3)), torch.tensor([np.exp([-1.0, -0.25])])
        theta = np.array([2.0, 0.5, 0.3])
        covariance = kernel(rows).to_dense().detach() + torch.eye(20) * (LEAST_NOISE + 1e-3)
        mean = torch.full((20,), condition(known, theta).mean, dtype=torch.double)
        theirs = torch.distributions.MultivariateNormal(mean, covariance).log_prob(torch.tensor(known.values))
        assert log_likelihood(known, theta)[0] == pytest.approx(float(theirs), abs=1e-6)


class TestOnePointMore:
    def test_is_as_if_it_had_been_there(self):
        known = evidence(12)
        theta = starting_point(known)
        whole = condition(known, theta)
        part = Evidence(known.rows[:-1], known.values[:-1], known.known[:-1], known.categorical, noisy=False)
        extended = condition(part, theta).with_point(known.rows[-1], known.values[-1], LEAST_NOISE + 1e-3)
        points = Space.of(MIXED).sample(np.random.default_rng(4), 10)
        assert extended.predict(points)[1] == pytest.approx(whole.predict(points)[1], abs=1e-8)

    def test_of_a_known_point_keeps_finite(self):
        known = evidence(12)
        surrogate = condition(known, starting_point(known))
        for _ in range(3):
            surrogate = surrogate.with_point(known.rows[0], float(known.values[0]))
        assert all(np.isfinite(part).all() for part in surrogate.predict(known.rows))


class TestFit:
    def test_finds_the_parameter_that_matters(self):
        space = Space.of({"matters": (0.0, 1.0), "idle": (0.0, 1.0), "kind": ["a", "b"]})
        rows = space.sample(np.random.default_rng(0), 40)
        values = np.sin(6.0 * rows[:, 0])
        known = Evidence(rows, values, np.zeros(40), space.categorical, noisy=False)
        theta = fit(known, [])
        assert theta[0] > theta[1] + 3.0
        assert theta[0] > theta[2] + 3.0
        assert np.abs(condition(known, theta).predict(rows)[0] - values).max() < 1e-3

    def test_ripples_do_not_hide_the_slope_beneath_them(self):
        """Ackley's function: near maximum likelihood alone, lengths that explain its ripples reach 0.53 here."""

        def ackley(x: np.ndarray) -> np.ndarray:
            z = 60.0 * (x - 0.4)
            return -20.0 * np.exp(-0.2 * np.sqrt((z * z).mean(axis=1))) - np.exp(np.cos(2 * np.pi * z).mean(axis=1))

        found = []
        for seed in range(10):
            rng = np.random.default_rng(seed)
            rows, points = rng.random((30, 5)), rng.random((300, 5))
            values = ackley(rows)
            values = (values - values.mean()) / values.std()
            known = Evidence(rows, values, np.zeros(30), np.zeros(5, dtype=bool), noisy=False)
            predicted = condition(known, fit(known, [])).predict(points)[0]
            found.append(np.corrcoef(predicted, ackley(points))[0, 1])
        assert np.mean(found) > 0.58

    def test_a_short_length_is_found_where_the_data_show_it(self):
        rows = np.linspace(0.0, 1.0, 60)[:, None]
        known = Evidence(rows, np.sin(50.0 * rows[:, 0]), np.zeros(60), np.zeros(1, dtype=bool), noisy=False)
        points = np.linspace(0.05, 0.95, 101)[:, None]
        assert np.abs(condition(known, fit(known, [])).predict(points)[0] - np.sin(50.0 * points[:, 0])).max() < 0.05

    def test_beats_where_it_began(self):
        known = evidence(30, noisy=True)
        begin = starting_point(known)
        assert log_posterior(known, fit(known, []))[0] > log_posterior(known, begin)[0] + 1.0

    @pytest.mark.parametrize("n", [1, 2])
    def test_of_hardly_any_trials(self, n: int):
        known = Evidence(np.full((n, 2), 0.3), np.zeros(n), np.zeros(n), np.zeros(2, dtype=bool), noisy=True)
        surrogate = condition(known, fit(known, []))
        assert isinstance(surrogate, Surrogate)
        assert all(np.isfinite(part).all() for part in surrogate.predict(np.random.default_rng(0).random((5, 2))))


class TestNumbers:
    def test_jitter_rescues_duplicates(self):
        lower, jitter = cholesky(np.ones((5, 5)))
        assert jitter > 0.0
        assert lower @ lower.T == pytest.approx(np.ones((5, 5)), abs=1e-6)

    def test_not_a_number_is_said(self):
        with pytest.raises(IllConditioned):
            cholesky(np.full((2, 2), np.nan))

    def test_distances_do_not_cancel_far_from_the_origin(self):
        left = np.array([[1.0 - 1e-9, 1.0]])
        assert squared_distances(left, np.ones((1, 2)), np.ones(2))[0, 0] == pytest.approx(1e-18, abs=1e-20)
