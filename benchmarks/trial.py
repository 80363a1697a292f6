"""The price of a trial: beside a fresh process that imports, loads and predicts the same, in the same run.

The bare process does what somebody would do by hand to see whether a saved model works: it loads the same artifact with
streamb, and predicts the same rows in one batch. The trial also asks again, in single rows, permuted and without each
column. Both are started in turn, so that both meet the same neighbours on the machine.

    python -m benchmarks.trial [--pairs 15]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from streamb.crypto import SigningKey
from streamb.models import Model, save_artifact, sign_artifact
from streamb.models.example import Example
from streamb.trials.process import TrialProcesses

MOST: Final = 2.0
ROWS: Final = 100

BARE: Final = """
import json, sys
from pathlib import Path
from streamb.crypto import PublicKey
from streamb.models import load_artifact
model = load_artifact(Path(sys.argv[1]), trusted=[PublicKey(bytes.fromhex(sys.argv[3]))])
rows = json.loads(Path(sys.argv[2]).read_text())
given = model.to_input(model.schema.check_rows(rows))
model.predict(given)
model.predict_proba(given)
"""


def models() -> dict[str, Any]:
    """Return the models by name: a quick one, one with many columns, and a slow one."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(size=(500, 8)), rng.normal(size=(500, 300))
    labels = (narrow[:, 0] > 0).astype(int)
    return {
        "pipeline, 8 columns": (make_pipeline(StandardScaler(), LogisticRegression()).fit(narrow, labels), narrow),
        "pipeline, 300 columns": (make_pipeline(StandardScaler(), LogisticRegression()).fit(wide, labels), wide),
        "forest, 300 trees": (RandomForestClassifier(300, random_state=0).fit(narrow, labels), narrow),
    }


class Cost(NamedTuple):
    """What a process cost: seconds until it had ended, and seconds of a processor."""

    elapsed: float
    processor: float


def cost(act: Callable[[], object]) -> Cost:
    """Return what `act`, which starts one process and waits for it, costs."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    act()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.perf_counter() - began, used)


def measure(model: Any, X: Any, pairs: int) -> tuple[list[Cost], list[Cost]]:  # noqa: N803
    """Return what trials cost, and what the bare processes beside them cost."""
    key = SigningKey.generate()
    with tempfile.TemporaryDirectory() as place:
        folder, rows = Path(place) / "artifact", Path(place) / "rows.json"
        save_artifact(Model.wrap(model), folder)
        sign_artifact(folder, key)
        instances = X[:ROWS].tolist()
        rows.write_text(json.dumps(instances))
        example = Example(instances, model.predict(X[:ROWS]).tolist(), model.predict_proba(X[:ROWS]).tolist())
        trials = TrialProcesses([key.public], timeout_s=300)
        command = [sys.executable, "-c", BARE, str(folder), str(rows), key.public.raw.hex()]
        acts = [lambda: trials(folder, example), lambda: subprocess.run(command, check=True)]
        found: tuple[list[Cost], list[Cost]] = ([], [])
        for pair in range(pairs + 1):
            for which in (0, 1) if pair % 2 else (1, 0):
                found[which].append(cost(acts[which]))
    return found[0][1:], found[1][1:]  # the first pair reads the files from the disk


def ratio(ours: list[float], bare: list[float]) -> tuple[float, str]:
    """Return the median of the paired ratios, and the words for it with its spread."""
    found = [one / other for one, other in zip(ours, bare, strict=True)]
    low, high = np.quantile(found, [0.1, 0.9])
    return statistics.median(found), f"{statistics.median(found):.2f} ({low:.2f} to {high:.2f})"


def main() -> int:
    """Measure, print, and return 0 if every median of the elapsed time is at most `MOST`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15, help="how often both are started")
    pairs = parser.parse_args().pairs
    good = True
    print("| model | bare process, s | trial ÷ bare, elapsed | trial ÷ bare, processor |\n| --- | --- | --- | --- |")
    for name, (model, X) in models().items():  # noqa: N806
        ours, bare = measure(model, X, pairs)
        middle, elapsed = ratio([one.elapsed for one in ours], [one.elapsed for one in bare])
        _, processor = ratio([one.processor for one in ours], [one.processor for one in bare])
        good &= middle <= MOST
        seconds = statistics.median(one.elapsed for one in bare)
        print(f"| {name} | {seconds:.2f} | {elapsed} | {processor} |", flush=True)
    print(f"medians of {pairs} pairs (10 % to 90 %); goal: elapsed at most {MOST:g}, {'met' if good else 'not met'}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
