"""Evidently and NannyML in an interpreter of their own, asked by JSON lines. Imports nothing of streamb.

    python benchmarks/peers/drift_worker.py

Each line asks for one thing (`{"do": …}`) and is answered by one line; an error is `{"error": …}`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("NML_DISABLE_USAGE_LOGGING", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
warnings.simplefilter("ignore")


def where(_request):
    """Versions, and where NannyML keeps its data sets."""
    import nannyml
    from evidently import __version__

    folder = Path(nannyml.__file__).parent / "datasets" / "data"
    return {"evidently": __version__, "nannyml": nannyml.__version__, "data": str(folder)}


def report(request):
    """Seconds of Evidently's drift report on normal columns, the first half of which has moved by half a deviation."""
    import numpy as np
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    random = np.random.default_rng(request["seed"])
    names = [f"c{index}" for index in range(request["columns"])]
    shape = (request["rows"], len(names))
    moved = np.where(np.arange(len(names)) < len(names) / 2, 0.5, 0.0)
    frames = [pd.DataFrame(random.normal(shift, 1, shape), columns=names) for shift in (0.0, moved)]
    definition = DataDefinition(numerical_columns=names)
    reference, current = (Dataset.from_pandas(frame, data_definition=definition) for frame in frames)
    started = time.perf_counter()
    Report([DataDriftPreset()]).run(current, reference).dict()
    return {"seconds": time.perf_counter() - started}


def nannyml_alerts(request):
    """Which columns NannyML's Jensen-Shannon distance names in which chunk: `{column: [bool, …]}`."""
    import nannyml
    import pandas as pd

    reference, analysis = (pd.read_csv(request[name])[request["columns"]] for name in ("reference", "analysis"))
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=request["columns"],
        continuous_methods=["jensen_shannon"],
        categorical_methods=["jensen_shannon"],
        chunk_size=request["rows"],
    )
    results = calculator.fit(reference).calculate(analysis).filter(period="analysis").to_df()
    return {name: [bool(x) for x in results[name]["jensen_shannon"]["alert"]] for name in request["columns"]}


def evidently_alerts(request):
    """The same by the statistical test that Evidently chooses for each column, at its own threshold."""
    import pandas as pd
    from evidently.legacy.calculations.stattests.registry import get_stattest

    try:
        from evidently.legacy.core import ColumnType
    except ImportError:
        from evidently.core import ColumnType
    reference, analysis = (pd.read_csv(request[name])[request["columns"]] for name in ("reference", "analysis"))
    found = {}
    for name in request["columns"]:
        before = reference[name]
        number = before.dtype.kind in "iuf" and before.nunique() > 5
        kind = ColumnType.Numerical if number else ColumnType.Categorical
        found[name] = []
        for start in range(0, len(analysis) - request["rows"] + 1, request["rows"]):
            after = analysis[name].iloc[start : start + request["rows"]]
            test = get_stattest(before, after, kind, None)
            found[name].append(bool(test(before, after, kind, None).drifted))
    return found


ACTIONS = {one.__name__: one for one in (where, report, nannyml_alerts, evidently_alerts)}


def main():
    """Answer until the input ends."""
    out = sys.stdout
    for line in sys.stdin:
        request = json.loads(line)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                answer = ACTIONS[request["do"]](request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
