"""Sources as they are in production, without processes: collectors with data of a known shape."""

from __future__ import annotations

from functools import cache

import numpy as np

from streamb.clock import ManualClock
from streamb.monitoring.collection.collector import Collector
from streamb.monitoring.profiles.baseline import Baseline

MODEL, VERSION = "iris", "1.0.0"
KEY = (MODEL, VERSION)
START = 1_800_000_000.0
COLUMNS = ["a", "b", "c"]


def table(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal([0.0, 10.0, -5.0], [1.0, 2.0, 0.1], (rows, 3)), rng.normal(0.5, 0.1, rows)


@cache
def baseline(seed: int = 99) -> Baseline:
    rows, predictions = table(1_000, seed)
    return Baseline.learn(dict(zip(COLUMNS, rows.T, strict=True)), predictions)


def collector(clock: ManualClock, source: str = "r1", incarnation: str = "i1", **options) -> Collector:
    return Collector(source, incarnation, MODEL, VERSION, clock, **{"columns": COLUMNS, **options})


def fed(clock: ManualClock, rows: int, seed: int = 0, **options) -> Collector:
    """A collector that has folded some rows by the baseline."""
    found = collector(clock, **{"baseline": baseline(), **options})
    found.observe(*table(rows, seed))
    found.fold()
    return found
