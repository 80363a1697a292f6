"""The result of comparing a window with its baseline: by column, and in one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import PlainSerializer

from streamb.charts.axes import Axis, show
from streamb.charts.intervals import Row, intervals
from streamb.charts.svg import BLUE, GREY, RED, Canvas

ColumnKind = Literal["feature", "output", "multivariate"]
DriftState = Literal["stable", "drifted", "insufficient_data"]
Shown = Annotated[float, PlainSerializer(lambda value: round(value, 6))]
"""A number that is rounded to six places in JSON."""
MOST_BARS: Final = 40
"""The most columns in a chart: those that drifted most; its note gives the number of all columns."""
_NAME_CHARS: Final = 40
_SURE: Final = 1e-3


class Sensitivity(StrEnum):
    """How small a drift is reported."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def shift(self) -> float:
        """The equivalent shift, in standard deviations, that has the score 0.3."""
        return {"low": 0.5, "medium": 0.25, "high": 0.1}[self.value]


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """How far one column is from its baseline.

    Attributes:
        name: the column's name; "multivariate" for the joint distribution of the numeric columns.
        kind: "feature", "output" or "multivariate".
        status: "insufficient_data" with fewer than 200 rows in the window or in the baseline.
        score: 0 to 1; 0.3 at the sensitivity's shift; below the threshold if chance can explain it; None without
            enough data.
        drifted: whether the score is above the threshold.
        p_value: the probability of counts at least as different if nothing has changed, not corrected for many columns.
        shift: the equivalent move of a normal distribution's mean, in standard deviations (0 to 2.36).
        rows: the number of rows in the window.
        missing_rate: the share of missing values in the window.
        unseen_rate: the share of values that the baseline does not have: unknown categories or words, values that are
            not numbers, infinities, values outside its range.
        detail: a description of what changed.
    """

    name: str
    kind: ColumnKind
    status: DriftState
    score: Shown | None
    drifted: bool
    p_value: float
    shift: Shown
    rows: int
    missing_rate: Shown
    unseen_rate: Shown
    detail: str


@dataclass(frozen=True, slots=True)
class DriftReport:
    """How far a window is from the baseline.

    Attributes:
        status: "drifted" if any column drifted; "insufficient_data" if no column could be judged.
        overall_drift_score: the highest score of all columns; 0.0 if no column could be judged.
        features: the features by name, in the order of the baseline.
        outputs: the outputs by name.
        multivariate: the joint distribution of the numeric columns; None with fewer than two of them.
        rows: the number of rows in the window.
        sensitivity: how small a drift is reported.
        summary: one sentence for people.
        threshold: the score above which a column counts as drifted.
    """

    status: DriftState
    overall_drift_score: Shown
    features: Mapping[str, ColumnDrift]
    outputs: Mapping[str, ColumnDrift]
    multivariate: ColumnDrift | None
    rows: int
    sensitivity: Sensitivity
    summary: str
    threshold: float = 0.3

    def __str__(self) -> str:
        return self.table()

    @property
    def drifted(self) -> bool:
        """Whether at least one column drifted."""
        return self.status == "drifted"

    @property
    def score(self) -> float | None:
        """The highest score of all columns; None if no column could be judged."""
        return None if self.status == "insufficient_data" else self.overall_drift_score

    @property
    def beyond_chance(self) -> bool:
        """Whether chance is ruled out as the cause of the highest score, above the threshold or not."""
        columns = list(self.columns)
        top = max(columns, key=lambda one: one.score or 0.0, default=None)
        significant = top is not None and top.score is not None and top.p_value < _SURE / len(columns)
        return self.drifted or significant

    @property
    def columns(self) -> Iterator[ColumnDrift]:
        """All columns: features, outputs, and then `multivariate` if there is one."""
        yield from self.features.values()
        yield from self.outputs.values()
        if self.multivariate is not None:
            yield self.multivariate

    def table(self) -> str:
        """Return a table as text: one line for each column, the highest scores first."""
        ordered = sorted(self.columns, key=lambda one: (-(one.score or 0.0), one.name))
        width = max([len("column"), *(len(_short(one.name)) for one in ordered)])
        lines = [self.summary, "", f"{'column':{width}}  {'kind':12} {'score':>5}  {'status':17}  detail"]
        for one in ordered:
            score = "-" if one.score is None else f"{one.score:.2f}"
            lines.append(f"{_short(one.name):{width}}  {one.kind:12} {score:>5}  {one.status:17}  {one.detail}")
        return "\n".join(lines)

    def chart(self) -> Canvas:
        """Return a bar chart: one bar for each column, the highest first, red if it drifted, and the threshold."""
        columns = sorted(self.columns, key=lambda one: (one.score or 0.0, one.name), reverse=True)
        shown = columns[:MOST_BARS]
        most = f"; the {len(shown)} highest of {len(columns)} columns" if len(shown) < len(columns) else ""
        return intervals(
            [_bar(one) for one in shown],
            label="drift by column",
            description=self.summary,
            axis=Axis(f"drift score (drifted above {self.threshold:g}, and beyond chance)"),
            limit=self.threshold,
            note=f"{self.status}: {self.overall_drift_score:.2f} over {self.rows:,} rows{most}",
            bars=True,
        )


def _bar(one: ColumnDrift) -> Row:
    name, title = show(one.name, _NAME_CHARS), f"{one.name}: {one.detail}"
    if one.score is None:
        return Row(name, 0.0, said="no score", title=title, colour=GREY)
    return Row(name, one.score, said=f"{one.score:.2f}", title=title, colour=RED if one.drifted else BLUE)


def _short(name: str) -> str:
    plain = "".join(letter if letter.isprintable() else "?" for letter in name)
    return plain if len(plain) <= _NAME_CHARS else plain[: _NAME_CHARS - 1] + "…"


def score_of(shift: float, sensitivity: Sensitivity) -> float:
    """Return the score (0 to 1) of an equivalent shift: `1 - 0.7 ** (shift / d0)`, `d0` the sensitivity's shift.

    >>> [round(score_of(shift, Sensitivity.MEDIUM), 2) for shift in (0.0, 0.25, 0.5, 2.0)]
    [0.0, 0.3, 0.51, 0.94]
    """
    return -math.expm1(math.log(0.7) * shift / sensitivity.shift)
