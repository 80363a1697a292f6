"""Searches to compare, each behind the same three methods, and the loop that runs one on a problem.

    python -m benchmarks.hpo_searchers < CELLS > RESULTS

reads one JSON object per line (method, problem, seed, evaluations, workers), writes one per line. It is run by an
interpreter that has the peers; streamb's part needs numpy and scipy.
"""

from __future__ import annotations

import heapq
import json
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from benchmarks.hpo_problems import Parameters, Problem, problem
from streamb.hpo import Integer, Optimizer, Space
from streamb.hpo.parameters import Categorical, Float, Ordinal, holds

INITIAL = 10


class Searcher(Protocol):
    """Ask, tell, and say which point to take."""

    def ask(self) -> tuple[Any, Parameters]: ...
    def tell(self, handle: Any, value: float) -> None: ...
    def incumbent(self) -> Parameters: ...


class Streamb:
    """This project's optimizer."""

    def __init__(self, task: Problem, seed: int, initial: list[Parameters], acquisition: str = "auto") -> None:
        self._optimizer = Optimizer(
            task.space,
            seed=seed,
            initial=initial,
            warmup=max(1, len(initial)),
            deterministic=task.deterministic,
            acquisition=acquisition,
        )

    def ask(self) -> tuple[Any, Parameters]:
        trial = self._optimizer.ask()
        return trial.id, trial.parameters

    def tell(self, handle: Any, value: float) -> None:
        self._optimizer.tell(handle, value)

    def incumbent(self) -> Parameters:
        return self._optimizer.best.trial.parameters


class Random:
    """Points by chance."""

    def __init__(self, task: Problem, seed: int, initial: list[Parameters]) -> None:
        self._space, self._rng = Space.of(task.space), np.random.default_rng([seed, 1])
        self._initial, self._told = list(initial), []

    def ask(self) -> tuple[Any, Parameters]:
        point = self._initial.pop(0) if self._initial else self._space.decode(self._space.sample(self._rng, 1)[0])
        return point, point

    def tell(self, handle: Any, value: float) -> None:
        self._told.append((value, handle))

    def incumbent(self) -> Parameters:
        return min(self._told, key=lambda one: one[0])[1]


class Optuna:
    """Optuna's GPSampler or TPESampler; conditions by defining while running, ordinals by their number."""

    def __init__(self, task: Problem, seed: int, initial: list[Parameters], kind: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")
        startup = max(1, len(initial))
        if kind == "gp":
            sampler = optuna.samplers.GPSampler(
                seed=seed, n_startup_trials=startup, deterministic_objective=task.deterministic
            )
        else:
            # multivariate and the constant liar are version 5's own defaults; groups are for conditions
            group = {"group": True} if task.name == "conditional" else {}
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, **group)
        self._space = Space.of(task.space)
        self._study = optuna.create_study(sampler=sampler)
        for point in initial:
            self._study.enqueue_trial({key: self._code(key, value) for key, value in point.items()})

    def _code(self, name: str, value: Any) -> Any:
        parameter = next(p for p in self._space.searched if p.name == name)
        return parameter.values.index(value) if isinstance(parameter, Ordinal) else value

    def ask(self) -> tuple[Any, Parameters]:
        trial = self._study.ask()
        values: dict[str, Any] = {}
        for parameter in self._space.searched:
            if all(c.parent in values and holds(c, values[c.parent]) for c in parameter.conditions):
                values[parameter.name] = self._suggest(trial, parameter)
        return trial, values

    @staticmethod
    def _suggest(trial: Any, p: Any) -> Any:
        if isinstance(p, Float):
            return trial.suggest_float(p.name, p.low, p.high, log=p.log, step=p.step)
        if isinstance(p, Integer):
            return trial.suggest_int(p.name, p.low, p.high, log=p.log, step=p.step)
        if isinstance(p, Ordinal):
            return p.values[trial.suggest_int(p.name, 0, len(p.values) - 1)]
        assert isinstance(p, Categorical)
        return trial.suggest_categorical(p.name, list(p.values))

    def tell(self, handle: Any, value: float) -> None:
        self._study.tell(handle, value)

    def incumbent(self) -> Parameters:
        told = self._study.best_trial.params
        return {
            p.name: p.values[told[p.name]] if isinstance(p, Ordinal) else told[p.name]
            for p in self._space.searched
            if p.name in told
        }


class BoTorch:
    """Matérn-5/2 with a length per dimension and a scale, no priors, noise 1e-6, logarithmic expected improvement."""

    def __init__(self, task: Problem, seed: int, initial: list[Parameters]) -> None:
        import torch

        torch.manual_seed(seed)
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        self._space, self._initial = Space.of(task.space), list(initial)
        self._rows: list[np.ndarray] = []
        self._values: list[float] = []
        self._fitted: dict[str, Any] | None = None

    def ask(self) -> tuple[Any, Parameters]:
        row = self._space.encode(self._initial.pop(0)) if self._initial else self._next()
        return row, self._space.decode(row)

    def _next(self) -> np.ndarray:
        import torch
        from botorch.acquisition import LogExpectedImprovement
        from botorch.exceptions import ModelFittingError
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.optim import optimize_acqf
        from gpytorch.kernels import MaternKernel, ScaleKernel
        from gpytorch.mlls import ExactMarginalLogLikelihood

        x = torch.tensor(np.array(self._rows), dtype=torch.float64)
        y = -torch.tensor(self._values, dtype=torch.float64)[:, None]
        y = (y - y.mean()) / y.std()
        d = x.shape[1]
        kernel = ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=d))
        model = SingleTaskGP(x, y, torch.full_like(y, 1e-6), covar_module=kernel, outcome_transform=None)
        try:
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            self._fitted = kernel.state_dict()
        except ModelFittingError:  # then with what was fitted before
            if self._fitted is not None:
                kernel.load_state_dict(self._fitted)
            model.eval()
        bounds = torch.stack([torch.zeros(d, dtype=torch.float64), torch.ones(d, dtype=torch.float64)])
        found, _ = optimize_acqf(LogExpectedImprovement(model, y.max()), bounds, 1, num_restarts=10, raw_samples=512)
        return found.detach().numpy()[0]

    def tell(self, handle: Any, value: float) -> None:
        self._rows.append(handle)
        self._values.append(value)

    def incumbent(self) -> Parameters:
        return self._space.decode(self._rows[int(np.argmin(self._values))])


SEARCHERS: dict[str, Callable[[Problem, int, list[Parameters]], Searcher]] = {
    "streamb": Streamb,
    "streamb-ei": lambda *a: Streamb(*a, acquisition="ei"),
    "streamb-pi": lambda *a: Streamb(*a, acquisition="pi"),
    "streamb-ucb": lambda *a: Streamb(*a, acquisition="ucb"),
    "random": Random,
    "optuna-gp": lambda *a: Optuna(*a, kind="gp"),
    "optuna-tpe": lambda *a: Optuna(*a, kind="tpe"),
    "botorch": BoTorch,
}


def search(cell: dict[str, Any]) -> dict[str, Any]:
    """Run one cell; workers finish in an order that the seed decides, the same for every method."""
    task, seed, evaluations = problem(cell["problem"], cell["seed"]), cell["seed"], cell["evaluations"]
    rng = np.random.default_rng(seed)
    space = Space.of(task.space)
    initial = [space.decode(row) for row in space.sample(rng, INITIAL)]
    noise, durations = np.random.default_rng([seed, 2]), np.random.default_rng([seed, 3])
    searcher = SEARCHERS[cell["method"]](task, seed, initial)
    asked, spent, running = [], [], []
    for number in range(evaluations):
        if len(running) >= cell["workers"]:
            _, _, handle, value = heapq.heappop(running)
            searcher.tell(handle, value)
        begin = time.process_time()
        handle, point = searcher.ask()
        spent.append(time.process_time() - begin)
        asked.append(repr(sorted(point.items())))
        end = number + cell["workers"] * float(durations.uniform(0.5, 1.5))
        heapq.heappush(running, (end, number, handle, task.evaluate(point, noise)))
    while running:
        _, _, handle, value = heapq.heappop(running)
        searcher.tell(handle, value)
    regret = task.regret(searcher.incumbent())
    return {**cell, "regret": regret, "ask_ms": 1e3 * statistics.mean(spent), "repeated": len(asked) - len(set(asked))}


def latency(cell: dict[str, Any]) -> dict[str, Any]:
    """The time of one suggestion after `evaluations` trials: the median of some, without the first (imports)."""
    task, rng = problem(cell["problem"], cell["seed"]), np.random.default_rng(cell["seed"])
    space = Space.of(task.space)
    points = [space.decode(row) for row in space.sample(rng, cell["evaluations"])]
    searcher = SEARCHERS[cell["method"]](task, cell["seed"], points)
    for _ in points:
        handle, point = searcher.ask()
        searcher.tell(handle, task.evaluate(point, rng))
    spent = []
    for _ in range(cell["asks"] + 1):
        begin = time.process_time()
        handle, point = searcher.ask()
        spent.append(1e3 * (time.process_time() - begin))
        searcher.tell(handle, task.evaluate(point, rng))
    return {**cell, "p50_ms": statistics.median(spent[1:]), "max_ms": max(spent[1:])}


def main() -> None:
    """Cells from standard input, results to standard output."""
    for line in sys.stdin:
        cell = json.loads(line)
        try:
            print(json.dumps(latency(cell) if "asks" in cell else search(cell)), flush=True)
        except Exception:  # one that fails is missing there, and not everywhere
            traceback.print_exc()


if __name__ == "__main__":
    main()
