"""Heat maps: a surface over two axes, with deep colours for good values and lines of equal height."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from streamb.charts.axes import Axis, show
from streamb.charts.svg import PAPER, Canvas, Plot, Point, shade

_WIDTH, _HEIGHT = 620.0, 430.0
_LEVELS: Final = 7
_LEGEND_STEPS: Final = 20

Surface = Sequence[Sequence[float]]
"""Heights at the middles of equal cells: `surface[i][j]` is cell i across and j up."""


def heatmap(
    across: Axis, up: Axis, surface: Surface, *, name: str, maximize: bool = True, description: str = ""
) -> tuple[Canvas, Plot]:
    """Draw a surface; return the canvas and the plot, to draw points over it.

    Args:
        across, up: the axes; lines of equal height are drawn where both are ranges.
        surface: the heights.
        name: the name of the heights.
        maximize: whether high values are good.
        description: a description of the chart, for screen readers.
    """
    heights = [height for column in surface for height in column]
    low, high = min(heights), max(heights)
    canvas = Canvas(_WIDTH, _HEIGHT, f"{name} over {across.name} and {up.name}", description)
    plot = Plot(canvas, 84, 28, _WIDTH - 200, _HEIGHT - 74)
    _cells(plot, surface, low, high, maximize=maximize)
    if across.values is None and up.values is None:
        _contours(plot, surface, low, high)
    plot.frame(across, up, grid=False)
    _legend(canvas, name, low, high, maximize=maximize)
    return canvas, plot


def _cells(plot: Plot, surface: Surface, low: float, high: float, *, maximize: bool) -> None:
    columns, rows = len(surface), len(surface[0])
    width, height = plot.width / columns, plot.height / rows
    for i, column in enumerate(surface):
        for j, value in enumerate(column):
            part = (value - low) / ((high - low) or 1.0)
            # half a pixel more than the cell: neighbours must not show a seam
            x, y = plot.left + i * width, plot.top + (rows - 1 - j) * height
            plot.canvas.box(x, y, width + 0.5, height + 0.5, shade(part if maximize else 1.0 - part))


def _contours(plot: Plot, surface: Surface, low: float, high: float) -> None:
    """Draw contours by marching squares: straight lines between the crossings of each square's edges."""
    for k in range(1, _LEVELS + 1):
        level = low + (high - low) * k / (_LEVELS + 1)
        for i in range(len(surface) - 1):
            for j in range(len(surface[0]) - 1):
                crossings = [*_crossings(surface, i, j, level)]
                for (x1, y1), (x2, y2) in zip(crossings[::2], crossings[1::2], strict=False):
                    plot.canvas.line(plot.x(x1), plot.y(y1), plot.x(x2), plot.y(y2), PAPER, width=0.8, opacity=0.7)


def _crossings(surface: Surface, i: int, j: int, level: float) -> Iterator[Point]:
    corners = ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1), (i, j))
    for (i1, j1), (i2, j2) in pairwise(corners):
        here, there = surface[i1][j1], surface[i2][j2]
        if (here < level) != (there < level):
            part = (level - here) / (there - here)
            yield (i1 + part * (i2 - i1) + 0.5) / len(surface), (j1 + part * (j2 - j1) + 0.5) / len(surface[0])


def _legend(canvas: Canvas, name: str, low: float, high: float, *, maximize: bool) -> None:
    left, top, height = _WIDTH - 92, 40.0, 160.0
    canvas.text(left, top - 12, name, bold=True)
    step = height / _LEGEND_STEPS
    for k in range(_LEGEND_STEPS):
        part = (k + 0.5) / _LEGEND_STEPS
        colour = shade(part if maximize else 1.0 - part)
        canvas.box(left, top + (_LEGEND_STEPS - 1 - k) * step, 16, step + 0.5, colour)
    canvas.text(left + 22, top + 8, show(high))
    canvas.text(left + 22, top + height, show(low))
