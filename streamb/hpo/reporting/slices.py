"""Picture: for each parameter, the score against its value, and the mean over all other parameters as a line."""

from __future__ import annotations

from typing import Final

import numpy as np

from streamb.hpo.reporting.axes import Axis
from streamb.hpo.reporting.board import Board, scored, tooltip
from streamb.hpo.reporting.svg import GREY, ORANGE, Canvas, Plot, shade
from streamb.hpo.study.study import Outcome

_CELL_WIDTH, _CELL_HEIGHT = 380.0, 250.0
_COLUMNS: Final = 2
_MOST: Final = 12
_POINTS: Final = 80


def slices(board: Board) -> str:
    """As SVG: one small picture per parameter, those that matter most first; later trials are deeper in colour."""
    axes = board.by_importance()[:_MOST]
    rows = -(-len(axes) // _COLUMNS)
    canvas = Canvas(_CELL_WIDTH * min(_COLUMNS, max(len(axes), 1)), _CELL_HEIGHT * rows, "score by parameter")
    for place, axis in enumerate(axes):
        row, column = divmod(place, _COLUMNS)
        left, top = column * _CELL_WIDTH + 64, row * _CELL_HEIGHT + 28
        _slice(board, axis, Plot(canvas, left, top, _CELL_WIDTH - 84, _CELL_HEIGHT - 76))
    return str(canvas)


def _slice(board: Board, axis: Axis, plot: Plot) -> None:
    plot.frame(axis, board.scores)
    last = max([trial.number for trial in board.trials], default=0) or 1
    for trial in sorted(scored(board.trials), key=lambda one: one.number == board.best_number):  # the best on top
        position = axis.position(trial.parameters[axis.name]) if axis.name in trial.parameters else None
        if position is None:
            continue
        x, y = plot.x(position), plot.y(board.up(trial.score or 0.0))
        best, early = trial.number == board.best_number, trial.status is not Outcome.COMPLETED
        colour = ORANGE if best else GREY if early else shade(0.25 + 0.75 * trial.number / last)
        plot.canvas.dot(x, y, colour, tooltip(trial, board.objective), r=4.4 if best else 3.0, hollow=early)
    _mean(board, axis, plot)


def _mean(board: Board, axis: Axis, plot: Plot) -> None:
    marginals = board.importance.marginals
    if marginals is None:
        return
    number = board.axes.index(axis)
    if axis.values is not None:
        positions = (np.arange(len(axis.values)) + 0.5) / len(axis.values)
        half = 0.3 / len(axis.values)
        for position, value in zip(positions, marginals.curve(number, positions), strict=True):
            if (up := _seen(board, float(value))) is not None:
                left, right, y = plot.x(position - half), plot.x(position + half), plot.y(up)
                plot.canvas.line(left, y, right, y, ORANGE, width=1.4, opacity=0.8)
        return
    positions = np.linspace(0.0, 1.0, _POINTS)
    stretch: list[tuple[float, float]] = []
    for position, value in zip(positions, marginals.curve(number, positions), strict=True):
        if (up := _seen(board, float(value))) is not None:
            stretch.append((plot.x(float(position)), plot.y(up)))
        else:
            _line(plot, stretch)
            stretch = []
    _line(plot, stretch)


def _line(plot: Plot, stretch: list[tuple[float, float]]) -> None:
    if len(stretch) > 1:
        plot.canvas.path(stretch, ORANGE, "mean over all other parameters", width=1.4, opacity=0.8)


def _seen(board: Board, score: float) -> float | None:
    """Where a score lies on its axis; None beyond it: along the edge a line would say what is not so."""
    position = board.scores.position(score)
    return position if position is not None and 0.0 <= position <= 1.0 else None
