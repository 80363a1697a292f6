"""A hundred features that do not change: how many drift reports name any of them.

25 normal, 25 log-normal and 25 zero-inflated columns, and 25 of categories (2, 5, 20, 200 and 2,000 values, of
frequencies like words have). Every sensitivity, with baselines of several sizes. Each report has a baseline of its
own: with a long window it is the luck of the baseline that matters, and windows that share one would share it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from streamb.monitoring.drift.drift import Sensitivity, compare
from streamb.monitoring.profiles.baseline import Baseline

MOST_NAMED = 0.01
_AT_ONCE = 100_000
_VALUES = (2, 5, 20, 200, 2_000)


def table(random: np.random.Generator, rows: int) -> pd.DataFrame:
    """So many rows of the hundred features."""
    z = random.normal(size=(75, rows))
    np.exp(z[25:], out=z[25:])
    z[50:][random.random((25, rows)) < 0.6] = 0.0
    columns: dict[str, object] = {f"number {index}": z[index] for index in range(75)}
    for index, values in enumerate(_VALUES * 5):
        shares = 1 / np.arange(1, values + 1) ** 1.1
        codes = random.choice(values, rows, p=shares / shares.sum())
        columns[f"category {index}"] = pd.Categorical.from_codes(codes, [f"value {code}" for code in range(values)])
    return pd.DataFrame(columns)


@dataclass(slots=True)
class Named:
    """How many reports named a column that did not change.

    Attributes:
        reports: of each sensitivity.
        named: reports that named any column, by sensitivity.
    """

    baseline_rows: int
    rows: int
    reports: int = 0
    seconds: float = 0.0
    named: dict[str, int] = field(default_factory=lambda: dict.fromkeys(map(str, Sensitivity), 0))

    @property
    def worst(self) -> float:
        """The largest share over the sensitivities."""
        return max(self.named.values()) / max(1, self.reports)

    def describe(self) -> str:
        """One line of the table."""
        counts = ", ".join(f"{name} {count}" for name, count in self.named.items())
        return (
            f"  baseline {self.baseline_rows:>9,} window {self.rows:>9,}: {self.reports} reports, of which named "
            f"something: {counts}  ({self.seconds:.0f} s)"
        )


def run(baseline_rows: int, rows: int, reports: int, seed: int) -> Named:
    """So many reports; windows are folded in pieces of 100,000 rows."""
    found, started = Named(baseline_rows, rows), time.perf_counter()
    random = np.random.default_rng(seed)
    for _ in range(reports):
        baseline = Baseline.learn(table(random, baseline_rows))
        window = baseline.fold(table(random, min(rows, _AT_ONCE)))
        while window.rows < rows:
            window = window.plus(baseline.fold(table(random, min(rows - window.rows, _AT_ONCE))))
        found.reports += 1
        for sensitivity in Sensitivity:
            found.named[sensitivity] += compare(baseline, window, sensitivity).drifted
    found.seconds = time.perf_counter() - started
    return found
