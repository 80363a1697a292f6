"""Picture: the score over the two parameters that matter most together, the others averaged out, with the trials."""

from __future__ import annotations

from typing import Final

import numpy as np

from streamb.hpo.reporting.axes import Axis, show
from streamb.hpo.reporting.board import Board, scored, tooltip
from streamb.hpo.reporting.marginals import Array
from streamb.hpo.reporting.svg import ORANGE, Canvas, Plot, shade
from streamb.hpo.study.study import Outcome

_WIDTH, _HEIGHT = 620.0, 430.0
_GRID: Final = 40
_LEVELS: Final = 7
_SMOOTH: Final = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0


def contour(board: Board, names: tuple[str, str] | None = None) -> str | None:
    """As SVG: colour and iso-lines of the forest's mean, deep where it is good; None with fewer than two parameters.

    Args:
        board: what to draw.
        names: which two parameters; None for those that explain most together with each alone.
    """
    marginals = board.importance.marginals
    by_name = {axis.name: axis for axis in board.axes}
    chosen = names or _most_important(board)
    if marginals is None or chosen is None:
        return None
    across, up = by_name[chosen[0]], by_name[chosen[1]]
    at_x, at_y = _grid(across), _grid(up)
    surface = marginals.surface(board.axes.index(across), board.axes.index(up), at_x, at_y)
    if across.values is None and up.values is None:
        surface = _smoothed(surface)
    canvas = Canvas(_WIDTH, _HEIGHT, f"{board.objective} over {across.name} and {up.name}")
    plot = Plot(canvas, 84, 28, _WIDTH - 200, _HEIGHT - 74)
    _colours(board, plot, surface)
    if across.values is None and up.values is None:
        _lines(plot, surface)
    plot.frame(across, up, grid=False)
    _trials(board, plot, across, up)
    _legend(board, canvas, surface)
    return str(canvas)


def _most_important(board: Board) -> tuple[str, str] | None:
    alone = [effect.names[0] for effect in board.importance.alone[:2]]
    return (alone[0], alone[1]) if len(alone) == 2 else None


def _grid(axis: Axis) -> Array:
    count = _GRID if axis.values is None else len(axis.values)
    return (np.arange(count) + 0.5) / count


def _smoothed(surface: Array) -> Array:
    """The steps of the trees rounded off, for the eye: a binomial filter along both axes."""
    for axis in (0, 1):
        padded = np.pad(surface, [(2, 2) if one == axis else (0, 0) for one in (0, 1)], mode="edge")
        kept = [np.take(padded, np.arange(k, k + surface.shape[axis]), axis=axis) for k in range(5)]
        surface = np.asarray(sum(weight * part for weight, part in zip(_SMOOTH, kept, strict=True)))
    return surface


def _colours(board: Board, plot: Plot, surface: Array) -> None:
    parts = _goodness(board, surface)
    columns, rows = surface.shape
    width, height = plot.width / columns, plot.height / rows
    for i in range(columns):
        for j in range(rows):
            # half a pixel more than the cell: neighbours must not show a seam
            x, y = plot.left + i * width, plot.top + (rows - 1 - j) * height
            plot.canvas.box(x, y, width + 0.5, height + 0.5, shade(float(parts[i, j])))


def _goodness(board: Board, surface: Array) -> Array:
    reach = float(np.ptp(surface)) or 1.0
    parts = (surface - surface.min()) / reach
    return np.asarray(parts if board.maximize else 1.0 - parts)


def _lines(plot: Plot, surface: Array) -> None:
    """Iso-lines by marching squares: in each square of four grid points, straight between crossings of its edges."""
    for level in np.linspace(surface.min(), surface.max(), _LEVELS + 2)[1:-1]:
        for i in range(surface.shape[0] - 1):
            for j in range(surface.shape[1] - 1):
                crossings = _crossings(surface, i, j, float(level))
                for (x1, y1), (x2, y2) in zip(crossings[::2], crossings[1::2], strict=False):
                    plot.canvas.line(plot.x(x1), plot.y(y1), plot.x(x2), plot.y(y2), "#ffffff", width=0.8, opacity=0.7)


def _crossings(surface: Array, i: int, j: int, level: float) -> list[tuple[float, float]]:
    corners = ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))
    found = []
    for one, other in zip(corners, (*corners[1:], corners[0]), strict=True):
        here, there = float(surface[one]), float(surface[other])
        if (here < level) != (there < level):
            part = (level - here) / (there - here)
            at = [(a + part * (b - a) + 0.5) / n for a, b, n in zip(one, other, surface.shape, strict=True)]
            found.append((at[0], at[1]))
    return found


def _trials(board: Board, plot: Plot, across: Axis, up: Axis) -> None:
    for trial in scored(board.trials):
        x = across.position(trial.parameters[across.name]) if across.name in trial.parameters else None
        y = up.position(trial.parameters[up.name]) if up.name in trial.parameters else None
        if x is None or y is None:
            continue
        best = trial.number == board.best_number
        early = trial.status is not Outcome.COMPLETED
        said = tooltip(trial, board.objective)
        plot.canvas.dot(plot.x(x), plot.y(y), "#ffffff", r=5.5 if best else 3.6, hollow=early)
        plot.canvas.dot(plot.x(x), plot.y(y), ORANGE if best else "#1f2937", said, r=4.4 if best else 2.6, hollow=early)


def _legend(board: Board, canvas: Canvas, surface: Array) -> None:
    low, high = float(surface.min()), float(surface.max())
    left, top, height = _WIDTH - 92, 40.0, 160.0
    canvas.text(left, top - 12, board.objective, bold=True)
    for k in range(20):
        part = (k + 0.5) / 20
        colour = shade(part if board.maximize else 1.0 - part)
        canvas.box(left, top + (19 - k) * height / 20, 16, height / 20 + 0.5, colour)
    canvas.text(left + 22, top + 8, show(high))
    canvas.text(left + 22, top + height, show(low))
