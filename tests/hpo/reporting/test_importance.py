"""Importance: exact marginals of a forest, and what they find in functions whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from streamb.hpo import Space
from streamb.hpo.reporting import importance
from streamb.hpo.reporting.board import axes_of
from streamb.hpo.reporting.marginals import Marginals
from streamb.hpo.study.study import Outcome, TrialResult


def study(space: Space, function, count: int = 80, seed: int = 0):
    rng = np.random.default_rng(seed)
    made = []
    for number, row in enumerate(space.sample(rng, count)):
        parameters = space.decode(row)
        score = function(parameters)
        made.append(TrialResult(number, parameters, score, (score,), Outcome.COMPLETED, 1.0, float(number)))
    return axes_of(space, [trial.parameters for trial in made]), made


class TestMarginals:
    def test_they_are_the_means_of_the_forest(self):
        """Against the forest itself, asked at many random points."""
        rng = np.random.default_rng(0)
        rows = rng.random((120, 3))
        values = 3 * rows[:, 0] + np.sin(6 * rows[:, 1]) * rows[:, 2]
        marginals = Marginals(rows, values, (0, 0, 0), seed=1)
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(64, min_samples_leaf=2, random_state=1).fit(rows, values)
        points = rng.random((4000, 3))
        for position in (0.1, 0.6, 0.95):
            points[:, 1] = position
            asked = forest.predict(points)
            error = asked.std() / np.sqrt(len(asked))
            assert abs(marginals.curve(1, np.array([position]))[0] - asked.mean()) < 5 * error

    def test_shares_of_an_additive_function_are_its_variances(self):
        rng = np.random.default_rng(0)
        rows = rng.random((800, 3))
        marginals = Marginals(rows, 3 * rows[:, 0] + rows[:, 1], (0, 0, 0))
        assert marginals.main_shares().mean(axis=0) == pytest.approx([0.9, 0.1, 0.0], abs=0.03)
        assert marginals.pair_shares(0, 1).mean() < 0.02

    def test_a_product_is_an_interaction(self):
        """xor of two halves: nothing alone, everything together."""
        rows = np.random.default_rng(0).random((800, 3))
        values = np.where((rows[:, 0] > 0.5) ^ (rows[:, 1] > 0.5), 1.0, 0.0)
        marginals = Marginals(rows, values, (0, 0, 0))
        assert marginals.main_shares().mean(axis=0).max() < 0.1
        assert marginals.pair_shares(0, 1).mean() > 0.8

    def test_effects_of_a_tree_add_up_to_its_variance(self):
        rows = np.random.default_rng(0).random((60, 2))
        marginals = Marginals(rows, rows[:, 0] * np.cos(3 * rows[:, 1]), (0, 0))
        total = marginals.main_shares().sum(axis=1) + marginals.pair_shares(0, 1)
        assert total == pytest.approx(np.ones(len(total)))

    def test_categories_have_equal_weights(self):
        rng = np.random.default_rng(0)
        numbers = np.minimum(rng.geometric(0.5, 600) - 1, 3)  # tried very unevenly
        rows = np.column_stack([(numbers + 0.5) / 4, rng.random(600)])
        values = np.array([0.0, 1.0, 4.0, 2.0])[numbers]
        marginals = Marginals(rows, values, (4, 0))
        assert marginals.curve(0, (np.arange(4) + 0.5) / 4) == pytest.approx([0, 1, 4, 2], abs=0.15)
        assert marginals.curve(1, np.array([0.3])) == pytest.approx([1.75], abs=0.15)

    def test_the_surface_averages_to_the_curve(self):
        rows = np.random.default_rng(0).random((60, 3))
        marginals = Marginals(rows, rows[:, 0] + rows[:, 1] * rows[:, 2], (0, 0, 0))
        at = np.array([0.35])

        grid = (np.arange(20000) + 0.5) / 20000
        assert marginals.surface(0, 1, at, grid).mean() == pytest.approx(marginals.curve(0, at)[0], abs=1e-3)


class TestImportance:
    def test_the_one_parameter_that_matters_is_found(self):
        space = Space.of({f"x{k}": (0.0, 1.0) for k in range(6)} | {"kind": ["a", "b", "c"]})
        worth = {"a": 0.0, "b": 1.0, "c": 0.3}
        for matters, function in (("x3", lambda p: (p["x3"] - 0.4) ** 2), ("kind", lambda p: worth[p["kind"]])):
            found = importance(*study(space, function), maximize=False)
            assert found.alone[0].names == (matters,)
            assert found.alone[0].share > 0.85
            assert sum(effect.share for effect in found.alone[1:]) < 0.1
            assert len(found.together) == 10

    def test_on_a_logarithmic_range_decades_count_alike(self):
        space = Space.of({"rate": (1e-5, 1.0, "log"), "other": (1e-5, 1.0)})
        found = importance(*study(space, lambda p: abs(np.log10(p["rate"]) + 3)), maximize=False)
        assert found.alone[0].label == "rate"
        assert found.alone[0].share > 0.9

    def test_a_child_takes_no_credit_of_its_parent(self):
        """`degree` exists only for poly: it must not stand for `kernel`."""
        space = Space.of(
            {"kernel": ["rbf", "poly"], "degree": {"type": "int", "low": 1, "high": 9, "when": {"kernel": "poly"}}}
        )
        found = importance(*study(space, lambda p: 1.0 if p["kernel"] == "poly" else 0.0), maximize=True)
        assert found.alone[0].names == ("kernel",)
        assert found.alone[0].share > 0.95

    def test_one_diverged_trial_is_not_all_there_is(self):
        space = Space.of({"a": (0.0, 1.0), "b": (0.0, 1.0)})
        axes, made = study(space, lambda p: p["a"])
        wild = TrialResult(80, {"a": 0.5, "b": 0.99}, 1e12, (1e12,), Outcome.COMPLETED, 1.0, 80.0)
        assert importance(axes, [*made, wild], maximize=False).alone[0].names == ("a",)

    def test_too_few_trials_or_equal_scores_say_nothing(self):
        space = Space.of({"a": (0.0, 1.0)})
        for count, function in ((7, lambda p: p["a"]), (30, lambda p: 1.0)):
            found = importance(*study(space, function, count), maximize=True)
            assert (found.alone, found.together, found.marginals) == ((), (), None)
            assert found.to_json() == []

    def test_the_same_trials_give_the_same(self):
        space = Space.of({"a": (0.0, 1.0), "b": ["u", "v"]})
        axes, made = study(space, lambda p: p["a"], 20)
        assert importance(axes, made, maximize=True).to_json() == importance(axes, made, maximize=True).to_json()
