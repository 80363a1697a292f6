"""Baselines from live traffic: a window's counts in the bins in force, or new bins chosen from recent traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from streamb.errors import InvalidInput, NotFound
from streamb.monitoring.baselines import BaselineRecord, Baselines
from streamb.monitoring.collection.aggregator import Aggregator
from streamb.monitoring.collection.push import VersionKey
from streamb.monitoring.drift.drift import LEAST_ROWS
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.profiles.column import OUTPUT
from streamb.monitoring.profiles.sketch import Sketch

LEARNT_ROWS: Final = 1_000
"""The number of rows that are counted in new bins before they become a baseline."""
_LEARNT_MINUTES: Final = 1_440


class LiveBaselines:
    """Makes baselines from the aggregator's counts. Not thread-safe: the Monitor holds a lock around it."""

    def __init__(self, aggregator: Aggregator, baselines: Baselines) -> None:
        self._aggregator = aggregator
        self._baselines = baselines

    def take(self, key: VersionKey, minutes: int, author: str) -> BaselineRecord:
        """Make the last `minutes` of a version its baseline, or begin to learn one if it has none.

        Raises:
            NotFound: there were no rows in these minutes, or the baseline cannot be read now.
            InvalidInput: there were too few rows.
        """
        record = self._baselines.active_record(*key)
        if record is not None and record.learning:
            return record
        if record is None:
            return self._begin(key, minutes, author)
        baseline = self._baselines.need(*key)
        window = self._aggregator.window(*key, minutes, baseline.baseline_id)
        rows = window.rows if window is not None else 0
        if window is None or rows < LEAST_ROWS:
            raise _too_few(key, rows, minutes)
        return self._baselines.add(*key, baseline.relearn(window), author=author, origin="live")

    def advance(self, key: VersionKey) -> None:
        """Put a baseline that is being learnt in force, if enough rows have been counted in its bins."""
        record = self._baselines.active_record(*key)
        if record is None or not record.learning or self.counted(key) < LEARNT_ROWS:
            return
        bins = self._baselines.need(*key)
        window = self._aggregator.window(*key, _LEARNT_MINUTES, bins.baseline_id)
        if window is not None:
            self._baselines.add(*key, bins.relearn(window), author=record.author, origin="live")

    def counted(self, key: VersionKey) -> int:
        """Return the number of rows that were counted in the bins in force within the last day."""
        baseline = self._baselines.active(*key)
        if baseline is None:
            return 0
        window = self._aggregator.window(*key, _LEARNT_MINUTES, baseline.baseline_id)
        return 0 if window is None else window.rows

    def _begin(self, key: VersionKey, minutes: int, author: str) -> BaselineRecord:
        sketch = self._aggregator.sketch(*key, minutes)
        if sketch is None:
            raise NotFound(
                f"there were no rows of {' '.join(key)} in the last {minutes} minutes, so no baseline can be made; "
                "make one from a table, or wait for requests"
            )
        if sketch.rows < LEAST_ROWS:
            raise _too_few(key, sketch.rows, minutes)
        return self._baselines.add(*key, _bins_of(sketch), author=author, origin="live", learning=True)


def _bins_of(sketch: Sketch) -> Baseline:
    """Bins chosen from a sketch. Its rows are artificial, so correlations are known only from the counted rows."""
    table = sketch.table()
    outputs = [name for name in sketch.names if _is_output(name)]
    features: Mapping[str, Any] = {name: values for name, values in table.items() if name not in outputs}
    return Baseline.learn(features, np.array([table[name] for name in outputs], object).T if outputs else None)


def _is_output(name: str) -> bool:
    head, dot, place = name.partition(".")
    return head == OUTPUT and (not dot or place.isdigit())


def _too_few(key: VersionKey, rows: int, minutes: int) -> InvalidInput:
    return InvalidInput(
        f"there were only {rows:,} rows of {' '.join(key)} in the last {minutes} minutes; a baseline needs "
        f"{LEAST_ROWS}: wait, or choose a longer window",
        rows=rows,
    )
