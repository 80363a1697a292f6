"""How much of the drift in NannyML's synthetic data sets is found, and how often undrifted chunks raise an alarm.

Each set has a reference and an analysis part; halfway through the latter, some columns change. What has truly changed
is taken from the whole second half against the reference (Kolmogorov-Smirnov or chi-square, p < 1e-6). Chunks of the
first half are clean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.drift_peers import Peers
from streamb.monitoring.drift.drift import Sensitivity, compare
from streamb.monitoring.profiles.baseline import Baseline

SETS = {
    "binary": ("synthetic_sample_reference.csv", "synthetic_sample_analysis.csv"),
    "car loan": ("synthetic_car_loan_reference.csv", "synthetic_car_loan_analysis.csv"),
    "regression": ("regression_synthetic_reference.csv", "regression_synthetic_analysis.csv"),
    "multiclass": ("mc_reference.csv", "mc_analysis.csv"),
}
NO_FEATURES = frozenset({"id", "timestamp", "period", "work_home_actual", "repaid", "y_true"})
TRUE_P = 1e-6
FEW_VALUES = 5

Alerts = Mapping[str, list[bool]]


@dataclass(slots=True)
class Tally:
    """What one rule did over all sets."""

    drifted: int = 0
    found: int = 0
    clean: int = 0
    wrong: int = 0
    clean_chunks: int = 0
    alarmed_chunks: int = 0
    skipped: str = ""

    @property
    def power(self) -> float:
        """The share of truly drifted column-chunks that were named."""
        return self.found / max(1, self.drifted)

    def describe(self, name: str) -> str:
        """One line of the table."""
        if self.skipped:
            return f"  {name:34} {self.skipped}"
        return (
            f"  {name:34} {self.power:7.3f} {self.wrong / max(1, self.clean):9.4f} "
            f"{self.alarmed_chunks:6d} of {self.clean_chunks}"
        )


@dataclass(slots=True)
class DataSet:
    """One of NannyML's sets, cut into chunks."""

    reference: pd.DataFrame
    analysis: pd.DataFrame
    paths: tuple[Path, Path]
    truth: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, files: tuple[str, str]) -> DataSet:
        """Read the features and predictions of a set."""
        paths = (folder / files[0], folder / files[1])
        reference, analysis = (pd.read_csv(path) for path in paths)
        columns = [name for name in reference.columns if name not in NO_FEATURES]
        found = cls(reference[columns], analysis[columns], paths)
        later = found.analysis.iloc[len(found.analysis) // 2 :]
        found.truth = {name: _p_value(found.reference[name], later[name]) < TRUE_P for name in columns}
        return found

    def tally(self, alerts: Alerts, rows: int, into: Tally) -> None:
        """Compare alerts with the truth."""
        half = len(self.analysis) // 2
        chunks = len(self.analysis) // rows
        for chunk in range(chunks):
            named = {name for name, found in alerts.items() if found[chunk]}
            if (chunk + 1) * rows <= half:
                into.clean_chunks += 1
                into.alarmed_chunks += bool(named)
                into.clean += len(self.truth)
                into.wrong += len(named)
            elif chunk * rows >= half:
                true = {name for name, changed in self.truth.items() if changed}
                into.drifted += len(true)
                into.found += len(named & true)
                into.clean += len(self.truth) - len(true)
                into.wrong += len(named - true)


def _p_value(before: pd.Series, after: pd.Series) -> float:
    if before.dtype.kind in "iuf" and before.nunique() > FEW_VALUES:
        return float(stats.ks_2samp(before, after).pvalue)
    counts = pd.concat([one.astype(str).value_counts() for one in (before, after)], axis=1).fillna(0)
    return float(stats.chi2_contingency(counts.to_numpy())[1])


def _chunks(data: DataSet, rows: int) -> list[pd.DataFrame]:
    return [data.analysis.iloc[start : start + rows] for start in range(0, len(data.analysis) - rows + 1, rows)]


def ours(data: DataSet, rows: int, sensitivity: Sensitivity) -> Alerts:
    """What streamb names."""
    baseline = Baseline.learn(data.reference)
    alerts: dict[str, list[bool]] = {name: [] for name in data.truth}
    for chunk in _chunks(data, rows):
        report = compare(baseline, baseline.fold(chunk), sensitivity)
        for name, found in alerts.items():
            found.append(report.features[name].drifted)
    return alerts


def p_below_5_percent(data: DataSet, rows: int) -> Alerts:
    """What Kolmogorov-Smirnov and chi-square tests at 5 % name."""
    chunks = _chunks(data, rows)
    return {name: [_p_value(data.reference[name], chunk[name]) < 0.05 for chunk in chunks] for name in data.truth}


def run(peers: Peers, rows: int) -> dict[str, Tally]:
    """All rules over all sets, at so many rows a chunk."""
    rules: dict[str, Callable[[DataSet], Alerts]] = {
        f"streamb, {sensitivity}": (lambda data, s=sensitivity: ours(data, rows, s))
        for sensitivity in (Sensitivity.HIGH, Sensitivity.MEDIUM, Sensitivity.LOW)
    }
    rules["NannyML, Jensen-Shannon 3 sd"] = lambda data: _of_peer(peers, "nannyml_alerts", data, rows)
    rules["Evidently, default tests"] = lambda data: _of_peer(peers, "evidently_alerts", data, rows)
    rules["KS or chi-square, p < .05"] = lambda data: p_below_5_percent(data, rows)
    tallies = {name: Tally() for name in rules}
    for files in SETS.values():
        data = DataSet.read(peers.data, files)
        for name, rule in rules.items():
            data.tally(rule(data), rows, tallies[name])
    return tallies


def _of_peer(peers: Peers, action: str, data: DataSet, rows: int) -> Alerts:
    reference, analysis = map(str, data.paths)
    answer = peers.ask(action, reference=reference, analysis=analysis, columns=list(data.truth), rows=rows)
    return {name: list(np.asarray(found, bool)) for name, found in answer.items()}
