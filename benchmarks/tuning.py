"""What running a search costs: workers kept busy, time per trial beside its work, deadlines, and kills survived.

    python -m benchmarks.tuning [--only busy,overhead,kills,deadline] [--workers 2] [--json FILE]

`busy`: trials that sleep for a second, through Ray Tune and in worker processes: the share of the workers' time between
the first trial's start and the last one's end that was spent in trials. `overhead`: trivial trials, the time from end
to end divided by the trials, the first quarter left out (processes and actors start). `kills`: a sequential study is
killed with SIGKILL at random moments and started again, as often as asked; then it is compared with one that nobody
killed. `deadline`: a trial that never ends. Exit code 0: every goal is met; 1: one is not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks import tuning_victim
from streamb import HyperparameterOptimizer
from streamb.clock import SystemClock
from streamb.hpo.study.records import FINISHED_FILE

PARTS: Final = ("busy", "overhead", "kills", "deadline")
BUSY_GOAL, OVERHEAD_GOAL_MS = 0.9, 50.0
OVERRUN_GOAL_S: Final = 2.0
_clock = SystemClock()


def bowl(parameters: dict[str, Any]) -> float:
    time.sleep(parameters["seconds"])
    return (parameters["x"] - 1.0) ** 2 + parameters["y"]


class Ends:
    """Notes when each trial was heard of."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def began(self, study: Any) -> None:
        """Nothing to note."""

    def trial(self, *_: Any) -> None:
        self.at.append(_clock.monotonic())

    def ended(self, result: Any) -> None:
        """Nothing to note."""


def search(executor: str, workers: int, trials: int, seconds: float) -> list[float]:
    """Run a search; when each trial ended."""
    config = HyperparameterOptimizer.create_optimization_config(
        "fast", executor=executor, max_concurrent_trials=workers, deadline_s=None
    )
    ends = Ends()
    space = {"x": (-5.0, 5.0), "y": (0.0, 1.0), "seconds": seconds}
    HyperparameterOptimizer(config).optimize(bowl, space, n_trials=trials, progress=ends)
    return ends.at


def busy(executor: str, workers: int, trials: int) -> dict[str, Any]:
    ends = search(executor, workers, trials, 1.0)
    span = ends[-1] - ends[0] + 1.0  # the first one to end began a second before
    return {"executor": executor, "trials": trials, "busy": trials / (workers * span), "span_s": span}


def overhead(executor: str, workers: int, trials: int) -> dict[str, Any]:
    before = time.process_time()
    ends = search(executor, workers, trials, 0.0)
    cpu = time.process_time() - before
    first = len(ends) // 4
    per_trial = (ends[-1] - ends[first]) / (len(ends) - 1 - first)
    return {"executor": executor, "trials": trials, "ms": 1e3 * per_trial, "driver_cpu_ms": 1e3 * cpu / trials}


def kills(times: int, trials: int, seconds: float) -> dict[str, Any]:
    expected = tuning_victim.search(None, trials, 0.0)
    rng = random.Random(0)
    survived, lost, repeated = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.tuning_victim", folder, str(trials), str(seconds)]
        while survived < times:
            known, evaluated = _finished(Path(folder)), len(_evaluated(Path(folder)))
            with subprocess.Popen(command) as child:
                # not before it works, or most kills would hit imports
                wait = rng.uniform(0.0, 0.6 * trials * seconds / times)
                began, working = _clock.monotonic(), False
                while child.poll() is None and (not working or _clock.monotonic() - began < wait):
                    if not working and len(_finished(Path(folder))) > len(known):
                        began, working = _clock.monotonic(), True
                    time.sleep(0.001)
                if child.poll() is not None:
                    break
                child.kill()
            survived += 1
            lost += sum(_finished(Path(folder)).get(number) != told for number, told in known.items())
            repeated += len(set(known.values()).intersection(_evaluated(Path(folder))[evaluated:]))
        result = tuning_victim.search(Path(folder), trials, 0.0)
    same = [(t.parameters, t.score, t.status) for t in result.trials] == [
        (t.parameters, t.score, t.status) for t in expected.trials
    ]
    return {
        "kills": survived,
        "trials": trials,
        "lost": lost,
        "repeated": repeated,
        "same_trials": same,
        "same_best": result.best_parameters == expected.best_parameters,
    }


def survives(told: dict[str, Any], times: int) -> bool:
    """Whether so many kills cost nothing: no finished trial lost or evaluated again, and the same study in the end."""
    same = told["same_trials"] and told["same_best"]
    return bool(told["kills"] == times and same and not told["lost"] and not told["repeated"])


def _finished(folder: Path) -> dict[int, str]:
    """Parameters of finished trials, as text, by number."""
    found = [json.loads(line) for line in _lines(folder / FINISHED_FILE)[1:]]
    return {one["number"]: json.dumps(one["parameters"], sort_keys=True) for one in found}


def _evaluated(folder: Path) -> list[str]:
    """Parameters of all evaluations that began, as text, in their order."""
    return [line.decode() for line in _lines(folder / tuning_victim.EVALUATED_FILE)]


def _lines(file: Path) -> list[bytes]:
    return file.read_bytes().split(b"\n")[:-1] if file.exists() else []


def deadline(executor: str, seconds: float) -> dict[str, Any]:
    config = HyperparameterOptimizer.create_optimization_config("fast", executor=executor, deadline_s=seconds)
    space = {"x": {"type": "float", "low": 0.0, "high": 1.0, "default": 1.0}}
    began = _clock.monotonic()
    HyperparameterOptimizer(config).optimize(lambda p: p["x"] if p["x"] > 0.9 else time.sleep(600), space)
    return {"executor": executor, "deadline_s": seconds, "overrun_s": _clock.monotonic() - began - seconds}


def measure(args: argparse.Namespace) -> list[tuple[str, dict[str, Any], bool]]:
    chosen = args.only.split(",")
    found: list[tuple[str, dict[str, Any], bool]] = []

    def note(part: str, told: dict[str, Any], *, met: bool) -> None:
        found.append((part, told, met))
        shown = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in told.items())
        print(f"{part}: {shown}: {'ok' if met else 'GOAL MISSED'}", flush=True)

    if "kills" in chosen:
        told = kills(args.kills, 3 * args.kills, 0.05)
        note("kills", told, met=survives(told, args.kills))
    executors = args.executors.split(",")
    if "ray" in executors and set(chosen) - {"kills"}:
        _start_ray(args.workers)
    for executor in executors:
        if "overhead" in chosen:
            told = overhead(executor, args.workers, args.trials)
            note("overhead", told, met=told["ms"] <= OVERHEAD_GOAL_MS)
        if "busy" in chosen:
            told = busy(executor, args.workers, 30)
            note("busy", told, met=told["busy"] >= BUSY_GOAL)
        if "deadline" in chosen:
            told = deadline(executor, 10.0)
            note("deadline", told, met=told["overrun_s"] <= OVERRUN_GOAL_S)
    return found


def _start_ray(workers: int) -> None:
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--executors", default="processes,ray")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    found = measure(args)
    if args.json is not None:
        args.json.write_text(json.dumps([{"part": part, "met": met, **told} for part, told, met in found], indent=2))
    return 0 if all(met for _, _, met in found) else 1


if __name__ == "__main__":
    sys.exit(main())
