"""What a study tells: improvements, re-scoring, JSON and the table."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from streamb.errors import StreambError, error_classes
from streamb.hpo.study.study import (
    Improvement,
    NoTrialSucceeded,
    OptimizationResult,
    Outcome,
    Rescore,
    StoppedBy,
    TrialResult,
    plain_parameters,
)

FIRST = TrialResult(0, {"C": 1.0}, 0.9, (0.88, 0.92), Outcome.COMPLETED, 0.5, 0.0)
SECOND = TrialResult(1, {"C": np.float64(3.0)}, 0.95, (0.94, 0.96), Outcome.COMPLETED, 0.5, 0.5)
BROKEN = TrialResult(2, {"C": -1.0}, None, (), Outcome.FAILED, 0.1, 1.0, "ValueError: C must be positive")
RESULT = OptimizationResult(
    best_parameters={"C": 3.0},
    best_score=0.95,
    improvements=Improvement.of(0.95, 0.9, "maximize"),
    rescored=Rescore.of(0.95, [0.93, 0.94], "maximize"),
    trials=(FIRST, SECOND, BROKEN),
    direction="maximize",
    objective="accuracy",
    stopped_by=StoppedBy.TRIALS,
    seconds=2.0,
    seed=0,
    best_number=1,
)


class TestImprovement:
    def test_positive_is_better_whichever_way_the_objective_points(self):
        assert Improvement.of(0.5, 1.0, "minimize").relative_improvement == 50.0
        assert Improvement.of(0.5, 1.0, "maximize").relative_improvement == -50.0
        assert Improvement.of(-1.0, -2.0, "maximize").relative_improvement == 50.0

    def test_there_is_no_percentage_of_nothing(self):
        assert Improvement.of(0.5, 0.0, "maximize") == Improvement(0.0, 0.5, None)
        assert Improvement.of(0.5, None, "maximize") == Improvement(None, None, None)


def test_optimism_is_positive_when_the_best_score_flatters():
    assert Rescore.of(0.95, [0.90, 0.92], "maximize").optimism == pytest.approx(0.04)
    assert Rescore.of(1.0, [2.0], "minimize").optimism == pytest.approx(1.0)
    assert Rescore.of(1.0, [2.0], "minimize").sd == 0.0


def test_a_result_is_json_with_all_trials():
    told = json.loads(json.dumps(RESULT.to_json(), allow_nan=False))
    assert told["improvements"]["relative_improvement"] == pytest.approx(5.5555, abs=1e-3)
    assert [trial["status"] for trial in told["trials"]] == ["completed", "completed", "failed"]
    assert told["stopped_by"] == "trials"


def test_parameters_become_what_json_knows():
    class Kernel:
        def __repr__(self) -> str:
            return "Kernel()"

    told = plain_parameters({"n": np.int64(3), "sizes": (8, 4), "k": Kernel(), "x": float("inf"), "none": None})
    assert told == {"n": 3, "sizes": [8, 4], "k": "Kernel()", "x": "inf", "none": None}


def test_the_table_begins_with_the_best_and_shows_failures_with_their_reason():
    lines = RESULT.table().splitlines()
    assert lines[1].startswith("1")
    assert "C must be positive" in lines[3]
    assert any("best again, other folds" in line for line in lines)
    assert "and 2 more" in RESULT.table(rows=1)
    assert "defaults" not in replace(RESULT, improvements=Improvement.of(0.95, None, "maximize")).table()


def test_the_error_has_a_code_of_its_own():
    assert issubclass(NoTrialSucceeded, StreambError)
    assert error_classes()["no_trial_succeeded"] is NoTrialSucceeded
