"""A study in a process of its own, for the tuning benchmark to kill: `FOLDER TRIALS SECONDS`."""

from __future__ import annotations

import json
import math
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

EVALUATED_FILE = "evaluated.jsonl"
SPACE = {
    "x": (-5.0, 5.0),
    "y": (0.0, 15.0),
    "kind": ["a", "b", "c"],
    "n": (1, 20),
}


def objective(parameters: dict[str, object], seconds: float) -> float:
    """Bumpy, mixed, and failing at one value in twenty."""
    time.sleep(seconds)
    x, y, n = float(parameters["x"]), float(parameters["y"]), int(parameters["n"])
    if n == 20:
        raise ValueError("twenty is too many")
    return (x - 1.0) ** 2 + 0.1 * (y - 7.0) ** 2 + math.sin(3.0 * x) + 0.2 * n + (parameters["kind"] != "b")


def search(folder: Path | None, trials: int, seconds: float) -> OptimizationResult:
    """The study: the same one for the same number of trials, whatever the folder; there it notes what it evaluates."""

    def noted(parameters: dict[str, object]) -> float:
        if folder is not None:
            with (folder / EVALUATED_FILE).open("a") as file:
                file.write(json.dumps(parameters, sort_keys=True) + "\n")
        return objective(parameters, seconds)

    config = OptimizationConfig(n_trials=trials, deadline_s=None, seed=5, folder=folder)
    evaluator = FunctionEvaluator(noted)
    plan = Plan("victim", Space.of(SPACE), "value", "minimize", evaluator, config)
    return Study(plan, lambda one: InProcess(one, SystemClock()), SystemClock()).run()


if __name__ == "__main__":
    search(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
