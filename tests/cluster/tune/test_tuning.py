"""Searches on a real Ray: studies through Ray Tune, and `GPSearcher` in a Tune experiment of somebody's own."""

from __future__ import annotations

import ctypes
import pickle
import threading
import time
import warnings
from typing import ClassVar

import pytest
from ray import tune

from streamb import HyperparameterOptimizer
from streamb.cluster.tune.gp_searcher import Ahead
from streamb.cluster.tune.space import plain_space
from streamb.cluster.tune.tuning import GPSearcher
from streamb.errors import InvalidInput
from streamb.hpo.nesting import flat, nested
from streamb.hpo.optimizer import Optimizer
from streamb.hpo.space import Space
from streamb.hpo.study.study import Outcome, StoppedBy

pytestmark = pytest.mark.ray


def config(**changes):
    given = {"executor": "ray", "deadline_s": None, "max_concurrent_trials": 1, "n_trials": 8, **changes}
    return HyperparameterOptimizer.create_optimization_config("fast", **given)


class TestStudies:
    def test_a_study_on_ray_with_trials_that_fail(self, ray_cluster, tmp_path):
        def sometimes(p):
            if p["x"] > 3.0:
                raise ValueError("x is too large")
            return (p["x"] - 1.0) ** 2

        space = {"x": {"type": "float", "low": -5.0, "high": 5.0, "default": 4.0}}
        result = HyperparameterOptimizer(config(folder=tmp_path)).optimize(sometimes, space)
        assert [t.number for t in result.trials] == list(range(8))
        assert result.trials[0].status is Outcome.FAILED
        assert "too large" in result.trials[0].error
        assert result.best_score < 9.0
        assert result.stopped_by is StoppedBy.TRIALS
        more = HyperparameterOptimizer(config(folder=tmp_path, n_trials=9)).optimize(sometimes, space)
        assert [t.parameters for t in more.trials[:8]] == [t.parameters for t in result.trials]
        assert len(more.trials) == 9

    def test_a_late_trial_is_killed_and_costs_no_other(self, ray_cluster):
        def holds_the_interpreter(p):
            """No thread of the actor can run meanwhile, so nobody in it could end this."""
            if p["k"] == 2:
                ctypes.PyDLL(None).sleep(60)
            return p["k"]

        space = {"k": {"type": "ordinal", "values": [1, 2, 3, 4], "default": 2}}
        began = time.monotonic()
        result = HyperparameterOptimizer(config(trial_timeout_s=0.5)).optimize(holds_the_interpreter, space)
        assert time.monotonic() - began < 40.0
        assert result.stopped_by is StoppedBy.EXHAUSTED
        assert (result.trials[0].status, result.trials[0].error) == (Outcome.TIMED_OUT, "it took longer than 0.5 s")
        assert sorted(t.score for t in result.trials[1:]) == [1, 3, 4]

    def test_what_cannot_travel_is_refused(self, ray_cluster):
        lock = threading.Lock()
        with pytest.raises(InvalidInput, match="executor='sequential'"):
            HyperparameterOptimizer(config()).optimize(lambda p: lock and 1.0, {"x": (0.0, 1.0)})
        with pytest.raises(InvalidInput, match="value in the search space"):
            HyperparameterOptimizer(config()).optimize(lambda p: 1.0, {"guard": [lock, None]})

    def test_the_deadline_ends_trials_that_hang(self, ray_cluster):
        def hangs(p):
            if p["x"] < 0.5:
                ctypes.PyDLL(None).sleep(60)
            return p["x"]

        space = {"x": {"type": "float", "low": 0.0, "high": 1.0, "default": 0.9}}
        began = time.monotonic()
        result = HyperparameterOptimizer(config(deadline_s=7.0, n_trials=10_000)).optimize(hangs, space)
        assert time.monotonic() - began < 40.0, "it waited for the trials"
        assert result.stopped_by is StoppedBy.DEADLINE
        assert any(t.status is Outcome.TIMED_OUT for t in result.trials)


class TestGPSearcher:
    def test_in_an_experiment_of_tune(self, ray_cluster, tmp_path):
        def bowl(settings):
            if settings["model"]["kind"] == "broken":
                raise ValueError("broken")
            return {"loss": (settings["x"] - 1.0) ** 2}

        tuner = tune.Tuner(
            bowl,
            param_space={"x": tune.uniform(-5.0, 5.0), "model": {"kind": tune.choice(["good", "broken"])}},
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                search_alg=GPSearcher(seed=1),
                num_samples=6,
                max_concurrent_trials=1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=str(tmp_path), name="bowl", verbose=0),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = tuner.fit()
        assert len(results) == 6
        assert results.get_best_result().metrics["loss"] < 36.0
        restored = GPSearcher()
        restored.restore_from_dir(str(tmp_path / "bowl"))
        assert isinstance(restored.suggest("next") or restored.suggest("next"), dict)


class TestSearcherAlone:
    """No Ray runs here."""

    SPACE: ClassVar = {"x": (-5.0, 5.0), "n": (1, 9)}

    def ask(self, searcher, name):
        while (found := searcher.suggest(name)) is None:
            pass
        return found

    def run(self, searcher, first, last):
        seen = []
        for number in range(first, last):
            seen.append(self.ask(searcher, str(number)))
            value = (seen[-1]["x"] - 1.0) ** 2 + seen[-1]["n"]
            searcher.on_trial_complete(str(number), {"loss": value})
        return seen

    def test_saved_and_restored_it_goes_on_with_what_it_learned(self, tmp_path):
        one = GPSearcher(self.SPACE, "loss", "min", seed=3)
        before = self.run(one, 0, 14)
        running = self.ask(one, "running")
        one.save(str(tmp_path / "state"))
        other = GPSearcher(self.SPACE, "loss", "min", seed=3)
        other.restore(str(tmp_path / "state"))
        after = self.run(other, 14, 18)
        other.on_trial_complete("running", {"loss": 1.0})
        everything = [tuple(p.values()) for p in [*before, running, *after]]
        assert len(set(everything)) == len(everything)
        assert min((p["x"] - 1.0) ** 2 + p["n"] for p in after) < 3.0

    def test_whatever_a_trial_reports(self):
        searcher = GPSearcher(self.SPACE, "loss", "min")
        for number, (result, error) in enumerate(
            [
                (None, True),
                ({}, False),
                ({"loss": float("nan")}, False),
                ({"loss": None}, False),
                ({"loss": 2.0}, False),
            ]
        ):
            self.ask(searcher, str(number))
            searcher.on_trial_complete(str(number), result, error=error)
        searcher.on_trial_complete("nobody", {"loss": 1.0})
        searcher.add_evaluated_point({"x": 1.0, "n": 1}, 1.0)
        assert self.ask(searcher, "after")

    def test_a_trial_that_tune_ran_again_keeps_its_first_result(self, tmp_path):
        journal = tmp_path / "journal.jsonl"
        one = GPSearcher(self.SPACE, "loss", "min", journal=journal)
        self.ask(one, "a")
        one.save(str(tmp_path / "state"))  # Tune's snapshot is older than what follows
        one.on_trial_complete("a", {"loss": 1.0})
        one.close()
        other = GPSearcher(self.SPACE, "loss", "min", journal=journal)
        other.restore(str(tmp_path / "state"))
        other.on_trial_complete("a", {"loss": 5.0})
        other.close()
        with Optimizer(Space.of(self.SPACE), journal=journal) as optimizer:
            assert optimizer.best.value == 1.0

    def test_a_finite_space_ends(self):
        searcher = GPSearcher({"k": [1, 2]}, "loss", "max")
        found = [self.ask(searcher, str(number)) for number in range(3)]
        assert found[-1] == GPSearcher.FINISHED

    def test_what_goes_wrong_ahead_is_said(self):
        def fails():
            raise TimeoutError("no answer")

        ahead = Ahead(fails)
        with pytest.raises(TimeoutError, match="no answer"):
            ahead.take()
        ahead.close()

    def test_it_is_picklable_as_tune_wants(self):
        searcher = pickle.loads(pickle.dumps(GPSearcher(self.SPACE, "loss", "min")))
        assert self.ask(searcher, "one")

    def test_what_it_needs(self):
        with pytest.raises(InvalidInput, match="param_space"):
            GPSearcher().suggest("one")
        with pytest.raises(InvalidInput, match="metric and mode"):
            GPSearcher(self.SPACE).suggest("one")
        searcher = GPSearcher(self.SPACE, "loss", "min")
        assert not searcher.set_search_properties(None, None, {"x": tune.uniform(0, 1)})
        assert searcher.set_search_properties("score", "max", {})


class TestSpacesOfTune:
    def test_every_kind_that_has_limits(self):
        described = plain_space(
            {
                "a": tune.uniform(0.0, 1.0),
                "b": tune.loguniform(1e-3, 1.0),
                "c": tune.quniform(0.25, 1.0, 0.25),
                "d": tune.randint(1, 10),
                "e": tune.lograndint(1, 100),
                "f": tune.qrandint(4, 20, 4),
                "g": tune.choice(["x", "y"]),
                "h": tune.grid_search([1, 2]),
                "i": {"j": 7, "k": tune.uniform(0.0, 2.0)},
            }
        )
        space = Space.of(described)
        levels = {p.name: p.levels for p in space.searched}
        assert levels == {"a": None, "b": None, "c": 4, "d": 9, "e": 99, "f": 5, "g": 2, "h": 2, "i/k": None}
        assert described["c"]["low"] == 0.25
        assert described["f"]["low"] == 4

    def test_what_has_none_is_refused(self):
        with pytest.raises(InvalidInput, match=r"'x'.*uniform"):
            plain_space({"x": tune.randn()})
        with pytest.raises(InvalidInput, match="'x': sample_from has no limits"):
            plain_space({"x": tune.sample_from(lambda spec: 1)})
        with pytest.raises(InvalidInput, match="list the values"):
            plain_space({"x": tune.qloguniform(1e-3, 1.0, 1e-3)})

    def test_nested_names_there_and_back(self):
        assert nested({"a/b": 1, "a/c/d": 2, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
        assert flat({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a/b": 1, "a/c/d": 2, "e": 3}
