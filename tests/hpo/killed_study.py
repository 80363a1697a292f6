"""A study in a process of its own, for tests that kill it: `python killed_study.py FOLDER TRIALS SECONDS`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from streamb.clock import SystemClock
from streamb.hpo.presets import OptimizationConfig
from streamb.hpo.space import Space
from streamb.hpo.study.evaluation import FunctionEvaluator
from streamb.hpo.study.executing import InProcess
from streamb.hpo.study.running import Plan, Study
from streamb.hpo.study.study import OptimizationResult

SPACE = {"x": (-5.0, 5.0), "kind": ["a", "b"], "n": (1, 9)}


def objective(parameters, seconds):
    time.sleep(seconds)
    if parameters["n"] == 9:
        raise ValueError("nine is too many")
    return (parameters["x"] - 1.0) ** 2 + parameters["n"] + (parameters["kind"] == "a")


def search(folder: Path | None, trials: int, seconds: float) -> OptimizationResult:
    config = OptimizationConfig(n_trials=trials, deadline_s=None, seed=3, folder=folder)
    evaluator = FunctionEvaluator(lambda parameters: objective(parameters, seconds))
    plan = Plan("killed", Space.of(SPACE), "value", "minimize", evaluator, config)
    return Study(plan, lambda one: InProcess(one, SystemClock()), SystemClock()).run()


if __name__ == "__main__":
    search(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
