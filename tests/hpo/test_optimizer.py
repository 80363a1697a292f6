"""Ask and tell: what is suggested, what is learned, and that nothing a user may tell breaks it."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

from streamb.errors import Conflict, InvalidInput, NotFound
from streamb.hpo import ACQUISITIONS, Optimizer, SpaceExhausted, Status
from streamb.hpo.gp import modelling

pytestmark = pytest.mark.slow

PLANE = {"x": (0.0, 1.0), "y": (0.0, 1.0)}


def bowl(p: dict) -> float:
    return (p["x"] - 0.3) ** 2 + (p["y"] - 0.7) ** 2


def drive(optimizer: Optimizer, function, n: int) -> list[dict]:
    asked = []
    for _ in range(n):
        trial = optimizer.ask()
        asked.append(trial.parameters)
        optimizer.tell(trial.id, function(trial.parameters))
    return asked


def distinct(points: list[dict]) -> int:
    return len({repr(sorted(point.items())) for point in points})


class TestSearch:
    @pytest.mark.parametrize("acquisition", ACQUISITIONS)
    def test_every_acquisition_finds_the_bottom(self, acquisition: str):
        optimizer = Optimizer(PLANE, seed=1, acquisition=acquisition, deterministic=True, warmup=5)
        drive(optimizer, bowl, 13)
        assert optimizer.best.value < 3e-3

    def test_the_top_is_the_bottom_upside_down(self):
        down = drive(Optimizer(PLANE, seed=3, warmup=4), bowl, 6)
        up = drive(Optimizer(PLANE, seed=3, warmup=4, direction="maximize"), lambda p: -bowl(p), 6)
        assert up == down

    def test_whole_numbers_and_categories(self):
        space = {"n": (1, 40), "kind": ["a", "b", "c"], "rate": (1e-4, 1.0, "log")}
        off = {"a": 0.5, "b": 0.0, "c": 0.3}
        optimizer = Optimizer(space, seed=0, deterministic=True, warmup=8)
        asked = drive(
            optimizer, lambda p: off[p["kind"]] + ((p["n"] - 23) / 20) ** 2 + (math.log10(p["rate"]) + 2) ** 2 / 4, 24
        )
        assert optimizer.best.trial.parameters["kind"] == "b"
        assert optimizer.best.value < 0.02
        assert all(isinstance(p["n"], int) for p in asked)

    def test_conditions_are_modelled(self):
        space = {
            "kind": ["svm", "tree"],
            "C": {"type": "float", "low": 1e-3, "high": 1e3, "log": True, "when": {"kind": "svm"}},
            "depth": {"type": "int", "low": 1, "high": 30, "when": {"kind": "tree"}},
        }

        def loss(p: dict) -> float:
            return abs(math.log10(p["C"]) - 1.0) / 10 if "C" in p else 0.3 + abs(p["depth"] - 7) / 30

        optimizer = Optimizer(space, seed=2, deterministic=True, warmup=6)
        asked = drive(optimizer, loss, 18)
        assert all(("C" in p) == (p["kind"] == "svm") and ("depth" in p) == (p["kind"] == "tree") for p in asked)
        assert optimizer.best.value < 0.01
        assert distinct(asked) == 18

    def test_constraints_are_respected(self):
        optimizer = Optimizer(PLANE, seed=0, deterministic=True, warmup=5)
        for _ in range(16):
            trial = optimizer.ask()
            x, y = trial.parameters["x"], trial.parameters["y"]
            optimizer.tell(trial.id, x + y, constraints={"product": 0.2 - x * y})  # best at sqrt(0.2) twice
        assert optimizer.best.trial.feasible
        assert optimizer.best.value == pytest.approx(2 * math.sqrt(0.2), abs=0.03)

    def test_while_nothing_is_feasible_feasibility_is_searched(self):
        optimizer = Optimizer(PLANE, seed=0, deterministic=True, warmup=4)
        for _ in range(10):
            trial = optimizer.ask()
            optimizer.tell(trial.id, 0.0, constraints={"corner": 1.9 - trial.parameters["x"] - trial.parameters["y"]})
        assert optimizer.best is not None
        assert Optimizer(PLANE).best is None

    def test_the_edge_of_what_works_is_searched(self):
        def at_the_edge(seed: int) -> float:
            optimizer = Optimizer(PLANE, seed=seed, deterministic=True, warmup=8)
            for _ in range(25):
                trial = optimizer.ask()
                x, y = trial.parameters["x"], trial.parameters["y"]
                optimizer.tell(trial.id, (x - 0.7) ** 2 + (y - 0.6) ** 2, failed=x + y > 1.0)
            return optimizer.best.value

        assert sorted(at_the_edge(seed) for seed in (2, 4, 6))[1] == pytest.approx(0.045, abs=0.005)

    def test_known_noise_is_not_believed(self):
        optimizer = Optimizer({"x": (0.0, 1.0)}, seed=0, warmup=4)
        for number in range(11):
            x = number / 10
            lucky = number == 9
            optimizer.record({"x": x}, (x - 0.3) ** 2 - 0.6 * lucky, variance=1.0 if lucky else 1e-6)
        best = optimizer.best
        assert best.trial.parameters["x"] == pytest.approx(0.3)
        assert best.estimate == pytest.approx(0.0, abs=0.02)


class TestSuggestions:
    def test_the_same_seed_gives_the_same(self):
        first, second = (drive(Optimizer(PLANE, seed=5, warmup=4), bowl, 7) for _ in range(2))
        assert first == second
        assert drive(Optimizer(PLANE, seed=6, warmup=4), bowl, 2) != first[:2]

    def test_initial_points_come_first_even_from_outside(self):
        initial = [{"x": 0.5, "y": 0.5}, {"x": "auto", "y": 0.1}, {"x": 0.5, "y": 0.5}]
        optimizer = Optimizer(PLANE, initial=initial, warmup=2)
        first, second, third = optimizer.ask(), optimizer.ask(), optimizer.ask()
        assert (first.parameters, second.parameters) == (initial[0], initial[1])
        assert third.parameters not in initial
        optimizer.tell(first.id, 1.0)
        optimizer.tell(second.id, -1.0)
        optimizer.tell(third.id, 0.5)
        assert optimizer.best.trial.id == second.id
        assert optimizer.ask().row is not None

    def test_declared_defaults_are_the_first_trial(self):
        space = {"C": {"type": "float", "low": 0.1, "high": 10.0, "default": 1.0}, "kernel": ["rbf", "linear"]}
        assert Optimizer(space).ask().parameters == {"C": pytest.approx(1.0), "kernel": "rbf"}

    def test_running_trials_are_kept_away_from(self):
        optimizer = Optimizer(PLANE, seed=0, deterministic=True, warmup=6)
        drive(optimizer, bowl, 8)
        waiting = [optimizer.ask() for _ in range(5)]
        points = np.array([trial.row for trial in waiting])
        apart = np.linalg.norm(points[:, None] - points[None, :], axis=2) + np.eye(5)
        assert apart.min() > 1e-3

    def test_a_finite_space_is_tried_once_each_and_then_exhausted(self):
        optimizer = Optimizer({"n": (0, 3), "kind": ["a", "b"]}, warmup=3)
        asked = drive(optimizer, lambda p: p["n"] + (p["kind"] == "a"), 8)
        assert distinct(asked) == 8
        with pytest.raises(SpaceExhausted):
            optimizer.ask()

    def test_several_threads_get_different_trials(self):
        optimizer, points = Optimizer({"n": (0, 30)}, seed=0, warmup=8), []

        def work() -> None:
            for _ in range(4):
                trial = optimizer.ask()
                points.append(trial.parameters)
                optimizer.tell(trial.id, float(trial.parameters["n"]))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert distinct(points) == 16


class TestResultsWhileASuggestionIsMade:
    def test_are_learned_from_by_the_next_one(self, monkeypatch):
        optimizer = Optimizer(PLANE, seed=0, deterministic=True, warmup=6)
        drive(optimizer, bowl, 8)
        running = [optimizer.ask() for _ in range(5)]
        thetas, real = [], modelling.suggest

        def interrupted(space, trials, taken, settings, lesson, rng):
            thetas.append(lesson.theta)
            late = running.pop()
            optimizer.tell(late.id, bowl(late.parameters))
            assert trials[late.id].status is Status.RUNNING  # what was learned and what is avoided are of one moment
            return real(space, trials, taken, settings, lesson, rng)

        monkeypatch.setattr(modelling, "suggest", interrupted)
        for _ in range(5):
            optimizer.ask()
        assert len({tuple(theta) for theta in thetas}) == 5


class TestHardNumbers:
    @pytest.mark.parametrize(
        "function",
        [
            lambda p: 1e9 * bowl(p),
            lambda p: 1e-12 * bowl(p),
            lambda p: 7.0,
            lambda p: 0.0,
            lambda p: 1e9 + bowl(p),
            lambda p: 1e300 if p["x"] > 0.9 else bowl(p),
            lambda p: 1.7e308 if p["x"] > 0.5 else -1.7e308,
            lambda p: 5e-324 if p["x"] > 0.5 else 0.0,
            lambda p: 10**400 if p["x"] > 0.5 else 1,
            lambda p: math.nan if p["x"] > 0.5 else bowl(p),
            lambda p: math.inf if p["y"] > 0.5 else bowl(p),
            lambda p: math.nan,
            lambda p: float(p["x"] > 0.5),
        ],
        ids=[
            "huge",
            "tiny",
            "constant",
            "zero",
            "far",
            "outlier",
            "both ends",
            "denormal",
            "too long",
            "some nan",
            "some inf",
            "all nan",
            "steps",
        ],
    )
    @pytest.mark.filterwarnings("error")
    def test_any_values_can_be_told(self, function):
        for deterministic in (True, False):
            optimizer = Optimizer(PLANE, seed=0, deterministic=deterministic, warmup=3)
            asked = drive(optimizer, function, 4)
            assert distinct(asked) == 4

    def test_scale_and_offset_change_nothing_much(self):
        plain, scaled = (Optimizer(PLANE, seed=1, deterministic=True, warmup=5) for _ in range(2))
        first, second = drive(plain, bowl, 7), drive(scaled, lambda p: 1e9 * bowl(p) - 4e8, 7)
        assert second[5]["x"] == pytest.approx(first[5]["x"], abs=1e-3)

    def test_one_observation_is_enough(self):
        optimizer = Optimizer(PLANE, warmup=1)
        assert distinct(drive(optimizer, bowl, 3)) == 3

    def test_thirty_dimensions(self):
        space = {f"x{i}": (0.0, 1.0) for i in range(30)}
        optimizer = Optimizer(space, seed=0, deterministic=True, warmup=10)
        drive(optimizer, lambda p: sum((value - 0.5) ** 2 for value in p.values()), 13)
        begun = min(trial.value for trial in optimizer.trials[:10])
        assert optimizer.best.value < begun

    def test_repeated_points_with_different_values(self):
        optimizer = Optimizer(PLANE, seed=0, deterministic=True, warmup=3)
        for value in (1.0, 2.0, 1.5, 1.2, 0.4):
            optimizer.record({"x": 0.2, "y": 0.2}, value)
        assert distinct(drive(optimizer, bowl, 2)) == 2

    def test_more_trials_than_a_surrogate_can_afford(self):
        optimizer = Optimizer(PLANE, seed=0, deterministic=True)
        for x, y in np.random.default_rng(0).random((560, 2)).tolist():
            optimizer.record({"x": x, "y": y}, bowl({"x": x, "y": y}))
        asked = optimizer.ask().parameters
        assert bowl(asked) < 0.01


class TestTelling:
    def test_what_makes_no_sense_is_refused(self):
        optimizer = Optimizer(PLANE)
        with pytest.raises(NotFound):
            optimizer.tell(0, 1.0)
        trial = optimizer.ask()
        optimizer.tell(trial.id, 1.0)
        with pytest.raises(Conflict, match="told before"):
            optimizer.tell(trial.id, 2.0)
        assert optimizer.best.value == 1.0

    def test_failures_are_counted_and_not_learned_from(self):
        optimizer = Optimizer(PLANE, seed=0, warmup=2)
        for told in (
            {"failed": True},
            {"value": math.nan},
            {"value": None},
            {"value": 1.0, "constraints": {"c": math.nan}},
        ):
            optimizer.tell(optimizer.ask().id, **told)
        assert [trial.status for trial in optimizer.trials] == [Status.FAILED] * 4
        assert optimizer.best is None
        assert distinct([trial.parameters for trial in [*optimizer.trials, optimizer.ask()]]) == 5

    @pytest.mark.parametrize("options", [{"direction": "up"}, {"acquisition": "best"}, {"seed": -1}])
    def test_bad_options_are_refused(self, options: dict):
        with pytest.raises(InvalidInput):
            Optimizer(PLANE, **options)
