"""Picture: parallel coordinates. Every trial is a line through its values, the better the deeper in colour."""

from __future__ import annotations

from typing import Final

from streamb.hpo.reporting.axes import Axis, show
from streamb.hpo.reporting.board import Board, scored, tooltip
from streamb.hpo.reporting.svg import ORANGE, Canvas, shade
from streamb.hpo.study.study import TrialResult

_HEIGHT: Final = 330.0
_STEP: Final = 130.0
_LEFT, _TOP, _BOTTOM = 60.0, 40.0, 24.0
_MOST_AXES: Final = 12
_SHELF: Final = -0.06
"""Where a line passes an axis whose parameter the trial does not have: just below it."""


def parallel(board: Board) -> str:
    """As SVG: the score on the left, then the parameters that matter most; the best trial is marked."""
    axes = [board.scores, *board.by_importance()[:_MOST_AXES]]
    canvas = Canvas(_LEFT + _STEP * (len(axes) - 1) + 110, _HEIGHT, "parallel coordinates of the trials")
    best = board.best
    drawn = sorted(scored(board.trials), key=lambda trial: board.goodness(trial.score or 0.0))
    for trial in drawn:
        if trial is not best:
            colour = shade(board.goodness(trial.score or 0.0))
            canvas.path(_through(board, trial, axes), colour, tooltip(trial, board.objective), opacity=0.75)
    if best is not None:
        canvas.path(_through(board, best, axes), ORANGE, "best\n" + tooltip(best, board.objective), width=2.4)
    for place, axis in enumerate(axes):
        _upright(canvas, axis, _LEFT + _STEP * place)
    return str(canvas)


def _through(board: Board, trial: TrialResult, axes: list[Axis]) -> list[tuple[float, float]]:
    points = [(_LEFT, _down(board.up(trial.score or 0.0)))]
    for place, axis in enumerate(axes[1:], start=1):
        found = axis.position(trial.parameters[axis.name]) if axis.name in trial.parameters else None
        points.append((_LEFT + _STEP * place, _down(_SHELF if found is None else found)))
    return points


def _upright(canvas: Canvas, axis: Axis, x: float) -> None:
    canvas.line(x, _down(0.0), x, _down(1.0), width=1.2)
    canvas.text(x, _TOP - 18, show(axis.name), anchor="middle", bold=True)
    for position, label in axis.ticks():
        canvas.line(x, _down(position), x + 4, _down(position))
        canvas.text(x + 7, _down(position) + 4, label, halo=True)


def _down(position: float) -> float:
    return _TOP + (1.0 - position) * (_HEIGHT - _TOP - _BOTTOM)
