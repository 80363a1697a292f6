"""Climbing from many starts at once, inside of a box."""

from __future__ import annotations

import numpy as np
import pytest

from streamb.hpo.gp.ascent import climb


def bowl(centre: np.ndarray, steepness: np.ndarray):
    return lambda x: (-(steepness * (x - centre) ** 2).sum(axis=1), -2.0 * steepness * (x - centre))


def rosenbrock(x: np.ndarray):
    a, b = x[:, 0], x[:, 1]
    value = -(100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2)
    return value, np.stack([400.0 * a * (b - a * a) + 2.0 * (1.0 - a), -200.0 * (b - a * a)], axis=1)


class TestClimb:
    def test_reaches_the_top_from_everywhere(self):
        starts = np.random.default_rng(0).random((7, 4))
        tops, heights = climb(
            bowl(np.full(4, 0.3), np.array([1.0, 10.0, 100.0, 1000.0])), starts, np.zeros(4), np.ones(4)
        )
        assert np.abs(tops - 0.3).max() < 1e-3
        assert heights.min() > -1e-5

    def test_stays_in_the_box_and_finds_its_edge(self):
        tops, _ = climb(
            bowl(np.array([1.4, 0.5]), np.array([1.0, 50.0])), np.full((2, 2), 0.2), np.zeros(2), np.ones(2)
        )
        assert tops == pytest.approx(np.array([[1.0, 0.5]] * 2), abs=1e-4)

    def test_follows_a_bent_valley(self):
        starts = np.array([[-1.2, 1.0], [0.0, 0.0]])
        tops, _ = climb(rosenbrock, starts, np.full(2, -2.0), np.full(2, 2.0), steps=200, tolerance=1e-12)
        assert tops == pytest.approx(np.ones((2, 2)), abs=1e-3)

    def test_what_is_not_free_does_not_move(self):
        free = np.array([[True, False]])
        tops, _ = climb(bowl(np.zeros(2), np.ones(2)), np.array([[0.9, 0.7]]), np.zeros(2), np.ones(2), free=free)
        assert tops[0] == pytest.approx([0.0, 0.7], abs=1e-4)

    def test_a_cliff_is_not_fallen_off(self):
        def cliff(x: np.ndarray):
            value = np.where(x[:, 0] < 0.5, x[:, 0], np.nan)
            return value, np.ones_like(x)

        tops, heights = climb(cliff, np.array([[0.1]]), np.zeros(1), np.ones(1))
        assert 0.1 <= tops[0, 0] < 0.5
        assert np.isfinite(heights).all()
