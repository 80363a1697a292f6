"""Picture: the score of every trial in the order of their numbers, and the best one so far."""

from __future__ import annotations

from typing import Final

from streamb.hpo.reporting.axes import Axis
from streamb.hpo.reporting.board import Board, tooltip
from streamb.hpo.reporting.svg import BLUE, GREY, ORANGE, Canvas, Plot
from streamb.hpo.study.study import Outcome

_WIDTH: Final = 760.0
_HEIGHT: Final = 300.0


def history(board: Board) -> str:
    """As SVG: completed trials are dots, those stopped early hollow, those without a score crosses at the bottom."""
    canvas = Canvas(_WIDTH, _HEIGHT, f"{board.objective} by trial")
    plot = Plot(canvas, 70, 28, _WIDTH - 90, _HEIGHT - 74)
    last = max([trial.number for trial in board.trials], default=0)
    across = Axis("trial", low=0.0, high=float(max(last, 1)))
    plot.frame(across, board.scores)
    for trial in board.trials:
        x = plot.x(trial.number / max(last, 1))
        if trial.score is None:
            canvas.cross(x, plot.y(0.0), ORANGE, tooltip(trial, board.objective))
        else:
            early = trial.status is not Outcome.COMPLETED
            said = tooltip(trial, board.objective)
            canvas.dot(x, plot.y(board.up(trial.score)), GREY if early else BLUE, said, hollow=early)
    _best_so_far(board, plot, max(last, 1))
    return str(canvas)


def _best_so_far(board: Board, plot: Plot, last: int) -> None:
    steps: list[tuple[float, float]] = []
    for number, score in board.running_best():
        if steps:
            steps.append((plot.x(number / last), steps[-1][1]))
        steps.append((plot.x(number / last), plot.y(board.up(score))))
    if steps:
        plot.canvas.path([*steps, (plot.x(1.0), steps[-1][1])], ORANGE, "best so far", width=1.6)
