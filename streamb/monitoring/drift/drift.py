"""Compares a window with its baseline: which columns drifted, how far, and how certain that is.

Every column's histograms are compared by their equivalent shift (`stats.divergence`), which becomes the score, and by
tests (`stats.two_sample`), whose p-values are combined by Bonferroni within the column. Benjamini and Hochberg's
procedure over all features, outputs and the columns together (q = 0.001) decides which changes are more than chance.
The score of any other column is kept below the threshold, so `drifted` always means a score above the threshold, for
any number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.monitoring.drift.multivariate import compare_together
from streamb.monitoring.drift.report import ColumnDrift, DriftReport, DriftState, Sensitivity, score_of
from streamb.monitoring.drift.wording import describe, missing_rate, summarise, unseen_rate
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.profiles.blocks import Block
from streamb.monitoring.profiles.column import Column
from streamb.monitoring.profiles.profile import Profile
from streamb.stats.divergence import equivalent_shift
from streamb.stats.two_sample import benjamini_hochberg, combined_p_values

__all__ = ["LEAST_ROWS", "ColumnDrift", "DriftReport", "Sensitivity", "compare"]

LEAST_ROWS: Final = 200
"""With fewer rows in the window or in the baseline, nothing is judged."""
THRESHOLD: Final = 0.3
_Q: Final = 0.001
_HELD: Final = 0.9
"""A change that chance can explain scores at most this share of the threshold."""

Counters = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The comparison of one column: rows (the fewer of window and baseline), equivalent shift, p-value."""

    rows: int
    shift: float
    p_value: float


def compare(
    baseline: Baseline,
    window: Profile,
    sensitivity: Sensitivity | str = Sensitivity.MEDIUM,
    *,
    threshold: float = THRESHOLD,
) -> DriftReport:
    """Compare a window with its baseline.

    Args:
        baseline: the baseline.
        window: the live rows, counted in the bins of the same baseline.
        sensitivity: a shift of 0.1 (high), 0.25 (medium) or 0.5 (low) standard deviations scores 0.3.
        threshold: the score above which a column counts as drifted, between 0 and 1.

    Raises:
        InvalidInput: the window belongs to another baseline, or the threshold or the sensitivity is not valid.
    """
    sensitivity = _checked(baseline, window, sensitivity, threshold)
    before, after = baseline.profile.counters, window.counters
    evidence = _columns_evidence(baseline, before, after)
    together = None
    if baseline.joint is not None:
        start = baseline.counting.joint_start
        together = compare_together(baseline, before[start:], after[start:])
        evidence.append(_Evidence(together.rows, together.shift, together.p_value))
    judged = _judge_all(evidence, sensitivity, threshold)
    drifts = [
        _column_drift(column, one, verdict, before[part], after[part])
        for column, one, verdict, part in zip(baseline.columns, evidence, judged, _parts(baseline), strict=False)
    ]
    last = None
    if together is not None:
        state, score = judged[-1]
        last = ColumnDrift(
            "multivariate", "multivariate", state, score, state == "drifted", together.p_value, together.shift,
            int(after[0]), 0.0, 0.0, together.describe(state),
        )  # fmt: skip
    return _report(drifts, last, int(after[0]), sensitivity, threshold)


def _checked(baseline: Baseline, window: Profile, sensitivity: Sensitivity | str, threshold: float) -> Sensitivity:
    if window.baseline_id != baseline.baseline_id:
        raise InvalidInput("this window was counted with another baseline; fold its rows with this one")
    if not 0.0 < threshold < 1.0:
        raise InvalidInput(f"the threshold is a score between 0 and 1, not {threshold}")
    try:
        return Sensitivity(sensitivity)
    except ValueError as error:
        raise InvalidInput(f"the sensitivity is low, medium or high, not {sensitivity!r}") from error


def _parts(baseline: Baseline) -> list[slice]:
    starts = baseline.counting.starts
    return [slice(at, at + column.bins.size) for at, column in zip(starts, baseline.columns, strict=True)]


def _columns_evidence(baseline: Baseline, before: Counters, after: Counters) -> list[_Evidence]:
    """Compare all histograms at once, padded to the same width, and combine the results by column."""
    blocks = [
        (place, start + block.start, block)
        for place, (column, start) in enumerate(zip(baseline.columns, baseline.counting.starts, strict=True))
        for block in column.bins.blocks
    ]
    width = max(block.classes for _, _, block in blocks)
    picked = np.full((len(blocks), width), before.size)
    for row, (_, start, block) in enumerate(blocks):
        picked[row, : block.classes] = np.arange(start, start + block.classes)
    b, w = np.append(before, 0)[picked], np.append(after, 0)[picked]
    rows = np.minimum(b.sum(axis=1), w.sum(axis=1))
    for row, (_, _, block) in enumerate(blocks):
        _forget_what_is_no_drift(block, b[row], w[row])
    shifts = equivalent_shift(b, w)
    p_values = combined_p_values(b, w, np.array([block.ordered for _, _, block in blocks]))
    owners = np.array([place for place, _, _ in blocks])
    found = []
    for place in range(len(baseline.columns)):
        own = np.flatnonzero(owners == place)
        p_value = min(1.0, float(p_values[own].min()) * own.size)
        found.append(_Evidence(int(rows[own].min()), float(shifts[own].max()), p_value))
    return found


def _judge_all(
    evidence: Sequence[_Evidence], sensitivity: Sensitivity, threshold: float
) -> list[tuple[DriftState, float | None]]:
    enough = [one.rows >= LEAST_ROWS for one in evidence]
    tested = [index for index, one in enumerate(enough) if one]
    beyond_chance = np.zeros(len(evidence), np.bool_)
    beyond_chance[tested] = benjamini_hochberg([evidence[index].p_value for index in tested], _Q)
    return [
        _judge(one, sensitivity, threshold, significant=bool(significant), enough=known)
        for one, significant, known in zip(evidence, beyond_chance, enough, strict=True)
    ]


def _forget_what_is_no_drift(block: Block, before: Counters, after: Counters) -> None:
    """Change the counts of one histogram in place, so that values which became more familiar do not count as drift."""
    m, n = int(before.sum()), int(after.sum())
    if block.known_and_not is not None:
        known, unknown = block.known_and_not
        if after[unknown] * m <= before[unknown] * n:
            for counts in (before, after):
                counts[known] += counts[unknown]
                counts[unknown] = 0
    if block.rising:
        order = np.arange(before.size)
        if int(after @ order) * m <= int(before @ order) * n:
            before[:] = after[:] = 0


def _judge(
    one: _Evidence, sensitivity: Sensitivity, threshold: float, *, significant: bool, enough: bool
) -> tuple[DriftState, float | None]:
    if not enough:
        return "insufficient_data", None
    score = score_of(one.shift, sensitivity)
    if not significant:
        score = min(score, _HELD * threshold)
    return ("drifted" if score > threshold else "stable"), score


def _column_drift(
    column: Column, one: _Evidence, verdict: tuple[DriftState, float | None], before: Counters, after: Counters
) -> ColumnDrift:
    state, score = verdict
    rows = int(after[column.bins.blocks[0].part].sum())
    return ColumnDrift(
        name=column.name,
        kind=column.role,
        status=state,
        score=score,
        drifted=state == "drifted",
        p_value=one.p_value,
        shift=one.shift,
        rows=rows,
        missing_rate=missing_rate(column.bins, after),
        unseen_rate=unseen_rate(column.bins, after),
        detail=describe(column.bins, before, after, state, one.shift, one.p_value),
    )


def _report(
    drifts: Sequence[ColumnDrift], together: ColumnDrift | None, rows: int, sensitivity: Sensitivity, threshold: float
) -> DriftReport:
    everything = [*drifts, *([together] if together else [])]
    states = {one.status for one in everything}
    state: DriftState = "drifted" if "drifted" in states else "stable" if "stable" in states else "insufficient_data"
    return DriftReport(
        status=state,
        overall_drift_score=max((one.score or 0.0 for one in everything), default=0.0),
        features={one.name: one for one in drifts if one.kind == "feature"},
        outputs={one.name: one for one in drifts if one.kind == "output"},
        multivariate=together,
        rows=rows,
        sensitivity=sensitivity,
        summary=summarise(everything, rows, LEAST_ROWS),
        threshold=threshold,
    )
