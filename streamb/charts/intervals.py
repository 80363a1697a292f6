"""Charts with a bar or an interval for each name: shares, scores with a limit, effects with their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streamb.charts.axes import Axis
from streamb.charts.svg import BLUE, Canvas, Plot, text_width

_WIDTH: Final = 760.0
_ROW: Final = 24.0
_AXIS: Final = 40.0
_BESIDE: Final = 120
"""Pixels at the right, for the text of a row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a chart.

    Attributes:
        name: the text at the left.
        value: the end of the bar, or the place of the dot.
        low, high: the ends of the interval; None if there is none.
        said: the text at the right.
        title: the text shown when the pointer rests on the row.
        colour: the colour of the bar or dot.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    said: str = ""
    title: str = ""
    colour: str = BLUE


def intervals(
    rows: Sequence[Row],
    *,
    label: str,
    description: str = "",
    axis: Axis | None = None,
    limit: float | None = None,
    note: str = "",
    bars: bool = False,
) -> Canvas:
    """Draw a row for each name: a dot on a line over its interval (a forest plot), or a bar with a whisker.

    Args:
        rows: the rows, from top to bottom.
        label, description: name and description of the chart, for screen readers.
        axis: drawn below the rows; None for shares (0 to 1) without an axis.
        limit: a value that is marked by a dashed line, such as "no effect"; None for none.
        note: one more line below the rows.
        bars: whether values are bars from the left end of the axis, instead of dots.
    """
    tall, along = _ROW * len(rows), axis or Axis("")
    canvas = Canvas(_WIDTH, tall + _ROW * bool(note) + _AXIS * (axis is not None) + 16, label, description)
    left = 16 + max([text_width(row.name) for row in rows], default=0.0)
    plot = Plot(canvas, left, 8, _WIDTH - left - _BESIDE, tall)
    for place, row in enumerate(rows):
        _row(plot, along, row, plot.top + _ROW * place, bar=bars)
    if axis is not None:
        plot.frame(axis)
    if limit is not None:
        x = plot.x(along.within(limit))
        canvas.line(x, plot.top, x, plot.top + tall, dash=5)
    if note:
        canvas.text(left, canvas.height - 8 - 1, note)
    return canvas


def _row(plot: Plot, axis: Axis, row: Row, y: float, *, bar: bool) -> None:
    at, middle = plot.x(axis.within(row.value)), y + _ROW / 2
    low, high = (at if end is None else plot.x(axis.within(end)) for end in (row.low, row.high))
    plot.canvas.text(plot.left - 8, y + 15, row.name, anchor="end")
    if bar:
        plot.canvas.box(plot.left, y + 4, max(at - plot.left, 1.0), _ROW - 8, row.colour, row.title)
    if high > low:
        plot.canvas.line(low, middle, high, middle, width=1.2, opacity=0.7)
    if not bar:
        plot.canvas.dot(at, middle, row.colour, row.title, r=4.0)
    plot.canvas.text(high + 8, y + 15, row.said)
