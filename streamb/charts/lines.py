"""Line charts: lines along two axes, each with optional bounds, and a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streamb.charts.axes import Axis, show
from streamb.charts.svg import BLUE, RED, Canvas, Plot, Point

_WIDTH: Final = 760.0
_HEIGHT: Final = 300.0
_LEGEND_ROW: Final = 15


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Attributes:
        name: the name of the line; browsers show it when the pointer rests on the line.
        points: values along both axes, from left to right; the line is interrupted where they are beyond an axis.
        colour: the colour of the line and of its band.
        steps: whether a value holds until the next one, instead of a straight line between them.
        bounds: low and high end for each point, drawn as a band; empty for none.
        width: its width in pixels.
        opacity: its opacity, 0 to 1.
    """

    name: str
    points: Sequence[Point]
    colour: str = BLUE
    steps: bool = False
    bounds: Sequence[Point] = ()
    width: float = 1.6
    opacity: float = 1.0


def lines(
    drawn: Sequence[Line], across: Axis, up: Axis, *, label: str, description: str = "", limit: float | None = None
) -> Canvas:
    """Draw lines with a legend that shows the last value of each.

    Args:
        drawn: the lines; later ones are drawn over earlier ones.
        across, up: the axes.
        label, description: name and description of the chart, for screen readers.
        limit: a value on the upright axis that is marked by a dashed line; None for none.
    """
    canvas, plot = framed(across, up, label=label, description=description)
    if limit is not None and (y := _on(up, limit)) is not None:
        canvas.line(plot.left, plot.y(y), plot.left + plot.width, plot.y(y), RED, dash=5)
    for row, line in enumerate(drawn):
        draw_line(plot, across, up, line)
        last = f" {show(line.points[-1][1])}" if line.points else ""
        below = plot.top + _LEGEND_ROW * (row + 1)
        canvas.text(plot.left + plot.width - 4, below, line.name + last, anchor="end", halo=True, colour=line.colour)
    return canvas


def framed(across: Axis, up: Axis, *, label: str, description: str = "") -> tuple[Canvas, Plot]:
    """Return a canvas with both axes drawn, and the plot to draw into; `label` and `description` as in `lines`."""
    canvas = Canvas(_WIDTH, _HEIGHT, label, description)
    plot = Plot(canvas, 70, 28, _WIDTH - 90, _HEIGHT - 74)
    plot.frame(across, up)
    return canvas, plot


def draw_line(plot: Plot, across: Axis, up: Axis, line: Line) -> None:
    """Draw one line and its band into a plot that `framed` returned."""
    if line.bounds:
        xs = [plot.x(across.within(x)) for x, _ in line.points]
        lows, highs = ([plot.y(up.within(bound[end])) for bound in line.bounds] for end in (0, 1))
        edge = [*zip(xs, highs, strict=True), *reversed([*zip(xs, lows, strict=True)])]
        plot.canvas.area(edge, line.colour, f"{line.name}: bounds")
    for stretch in _stretches(across, up, line):
        if len(stretch) > 1:
            pixels = [(plot.x(x), plot.y(y)) for x, y in stretch]
            plot.canvas.path(pixels, line.colour, line.name, width=line.width, opacity=line.opacity)


def _stretches(across: Axis, up: Axis, line: Line) -> list[list[Point]]:
    """Return the positions of the points, in pieces within both axes: a line along an edge would be misleading."""
    found: list[list[Point]] = [[]]
    for at, value in line.points:
        x, y = _on(across, at), _on(up, value)
        if x is None or y is None:
            found.append([])
            continue
        if line.steps and found[-1]:
            found[-1].append((x, found[-1][-1][1]))
        found[-1].append((x, y))
    return found


def _on(axis: Axis, value: float) -> float | None:
    """Return the position of a value on an axis; None if it is beyond it."""
    position = axis.position(value)
    return position if position is not None and 0.0 <= position <= 1.0 else None
