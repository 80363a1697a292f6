"""The charts of a study: which trials, parameters and effects are drawn, and how each trial is marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from streamb.charts.axes import Axis, show
from streamb.charts.files import write_chart
from streamb.charts.heatmap import heatmap
from streamb.charts.intervals import Row, intervals
from streamb.charts.lines import Line, draw_line, framed
from streamb.charts.parallel import Thread, parallel
from streamb.charts.svg import BLUE, GREY, ORANGE, Canvas, Plot, shade
from streamb.errors import InvalidInput
from streamb.hpo.reporting.board import Board, scored, tooltip
from streamb.hpo.reporting.importance import Effect, place
from streamb.hpo.reporting.marginals import Array
from streamb.hpo.study.study import Outcome, TrialResult

_MOST: Final = 12
"""How many parameters one chart shows, the most important ones."""
_MOST_BARS: Final = 20
_MOST_PAIRS: Final = 4
_SMALLEST_PAIR: Final = 0.005
_CELL_WIDTH, _CELL_HEIGHT = 380.0, 250.0
_COLUMNS: Final = 2
_POINTS: Final = 80
_GRID: Final = 40
_SMOOTH: Final = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0


def history(board: Board) -> Canvas:
    """Draw the score of every trial, and the best so far.

    Completed trials are dots, those stopped early hollow dots, those without a score crosses at the bottom.
    """
    last = max([trial.number for trial in board.trials], default=0)
    across, up = Axis("trial", low=0.0, high=float(max(last, 1))), board.scores
    canvas, plot = framed(across, up, label=f"{board.objective} by trial", description=_best_in_words(board))
    for trial in board.trials:
        x, said = plot.x(across.within(trial.number)), tooltip(trial, board.objective)
        if trial.score is None:
            canvas.cross(x, plot.y(0.0), ORANGE, said)
        else:
            early = trial.status is not Outcome.COMPLETED
            canvas.dot(x, plot.y(up.within(trial.score)), GREY if early else BLUE, said, hollow=early)
    steps = [(float(number), min(max(score, up.low), up.high)) for number, score in board.running_best()]
    if steps:
        steps.append((across.high, steps[-1][1]))
    draw_line(plot, across, up, Line("best so far", steps, ORANGE, steps=True))
    return canvas


def importance_bars(board: Board) -> Canvas | None:
    """Draw how much of the score's variance each parameter explains, and pairs that explain more together.

    A whisker shows the standard deviation over the forest's trees. Returns None if there are too few trials.
    """
    alone = board.importance.alone
    if not alone:
        return None
    pairs = [effect for effect in board.importance.together if effect.share >= _SMALLEST_PAIR][:_MOST_PAIRS]
    left_out = alone[_MOST_BARS:]
    return intervals(
        [_bar(effect) for effect in (*alone[:_MOST_BARS], *pairs)],
        label="importance of parameters",
        description=", ".join(f"{effect.label} {100 * effect.share:.1f} %" for effect in alone[:_MOST]),
        note=f"{len(left_out)} more, each of at most {100 * left_out[0].share:.1f} %" if left_out else "",
        bars=True,
    )


def parallel_coordinates(board: Board) -> Canvas | None:
    """Draw every trial as a line through its score and parameters, better ones stronger; None if there is no trial."""
    if not board.axes or not board.importance.trials:
        return None
    axes = board.by_importance()[:_MOST]
    drawn = sorted(scored(board.trials), key=lambda trial: board.goodness(trial.score or 0.0))
    threads = [_thread(board, trial, axes) for trial in drawn if trial is not board.best]
    if board.best is not None:
        threads.append(_thread(board, board.best, axes))
    label = "parallel coordinates of the trials"
    return parallel([board.scores, *axes], threads, label=label, description=_best_in_words(board))


def slices(board: Board) -> Canvas | None:
    """Draw, for each parameter, the score against its value, and the mean over all other parameters as a line.

    Later trials have a stronger colour. Returns None if there is no trial or no parameter to draw.
    """
    axes = board.by_importance()[:_MOST]
    if not axes or not board.importance.trials:
        return None
    rows = -(-len(axes) // _COLUMNS)
    size = (_CELL_WIDTH * min(_COLUMNS, len(axes)), _CELL_HEIGHT * rows)
    canvas = Canvas(*size, "score by parameter", _best_in_words(board))
    last = max([trial.number for trial in board.trials], default=0) or 1
    on_top = sorted(scored(board.trials), key=lambda one: one.number == board.best_number)
    for number, axis in enumerate(axes):
        row, column = divmod(number, _COLUMNS)
        left, top = column * _CELL_WIDTH + 64, row * _CELL_HEIGHT + 28
        plot = Plot(canvas, left, top, _CELL_WIDTH - 84, _CELL_HEIGHT - 76)
        plot.frame(axis, board.scores)
        for trial in on_top:
            if (position := place(axis, trial)) is not None:
                best, early = trial.number == board.best_number, trial.status is not Outcome.COMPLETED
                colour = ORANGE if best else GREY if early else shade(0.25 + 0.75 * trial.number / last)
                x, y, size_of = plot.x(position), plot.y(board.scores.within(trial.score or 0.0)), 4.4 if best else 3.0
                canvas.dot(x, y, colour, tooltip(trial, board.objective), r=size_of, hollow=early)
        _mean(board, axis, plot)
    return canvas


def contour(board: Board) -> Canvas | None:
    """Draw the forest's mean over the two most important parameters, and the trials; None with fewer parameters."""
    marginals, axes = board.importance.marginals, board.by_importance()[:2]
    if marginals is None or len(axes) < 2:
        return None
    across, up = axes
    surface = marginals.surface(board.axes.index(across), board.axes.index(up), _grid(across), _grid(up))
    if across.values is None and up.values is None:
        surface = _smoothed(surface)
    heights = surface.tolist()
    canvas, plot = heatmap(
        across, up, heights, name=board.objective, maximize=board.maximize, description=_best_in_words(board)
    )
    for trial in scored(board.trials):
        x, y = place(across, trial), place(up, trial)
        if x is not None and y is not None:
            best, early = trial.number == board.best_number, trial.status is not Outcome.COMPLETED
            said, at = tooltip(trial, board.objective), (plot.x(x), plot.y(y))
            canvas.dot(*at, "#ffffff", r=5.5 if best else 3.6, hollow=early)
            canvas.dot(*at, ORANGE if best else "#1f2937", said, r=4.4 if best else 2.6, hollow=early)
    return canvas


def write_png(board: Board, picture: str, path: Path) -> None:
    """Draw one chart into a PNG file.

    Args:
        board: the data to draw.
        picture: the chart's name: history, importance, parallel, slice or contour.
        path: the PNG file.

    Raises:
        InvalidInput: there is no such chart, or too little data for it.
        ConfigError: matplotlib is not installed; the message says how to install it.
    """
    if picture not in PICTURES:
        raise InvalidInput(f"there is no chart {picture!r}; there are {', '.join(PICTURES)}")
    drawn = PICTURES[picture](board)
    if drawn is None:
        raise InvalidInput(f"the chart {picture!r} needs more trials with different scores, or more parameters")
    write_chart(drawn, path)


PICTURES: Final[dict[str, Callable[[Board], Canvas | None]]] = {
    "history": history,
    "importance": importance_bars,
    "parallel": parallel_coordinates,
    "slice": slices,
    "contour": contour,
}
"""The charts by name."""


def _best_in_words(board: Board) -> str:
    best = board.best
    found = "no trial has completed" if best is None else f"the best is {show(best.score)} in trial {best.number}"
    return f"{len(board.trials)} trials; {found}"


def _bar(effect: Effect) -> Row:
    said = f"{100 * effect.share:.1f} %"
    return Row(
        effect.label,
        effect.share,
        low=max(effect.share - effect.spread, 0.0),
        high=min(effect.share + effect.spread, 1.0),
        said=said,
        title=f"{effect.label}: {said} ± {100 * effect.spread:.1f}",
        colour=BLUE if len(effect.names) == 1 else GREY,
    )


def _thread(board: Board, trial: TrialResult, axes: Sequence[Axis]) -> Thread:
    positions = [board.scores.within(trial.score or 0.0), *(place(axis, trial) for axis in axes)]
    said = tooltip(trial, board.objective)
    if trial is board.best:
        return Thread(positions, ORANGE, "best\n" + said, width=2.4, opacity=1.0)
    return Thread(positions, shade(board.goodness(trial.score or 0.0)), said)


def _mean(board: Board, axis: Axis, plot: Plot) -> None:
    """Draw the mean over all other parameters: a curve over a range, a short line at each value of a list."""
    marginals = board.importance.marginals
    if marginals is None:
        return
    positions = np.linspace(0.0, 1.0, _POINTS) if axis.values is None else _grid(axis)
    means = marginals.curve(board.axes.index(axis), positions)
    points = [*zip(positions.tolist(), means.tolist(), strict=True)]
    half = 0.3 / max(len(positions), 1)
    parts = [points] if axis.values is None else [[(at - half, mean), (at + half, mean)] for at, mean in points]
    for part in parts:
        line = Line("mean over all other parameters", part, ORANGE, width=1.4, opacity=0.8)
        draw_line(plot, Axis(axis.name), board.scores, line)


def _grid(axis: Axis) -> Array:
    count = _GRID if axis.values is None else len(axis.values)
    return (np.arange(count) + 0.5) / count


def _smoothed(surface: Array) -> Array:
    """Smooth the trees' steps for the eye, by a binomial filter along both axes."""
    for axis in (0, 1):
        padded = np.pad(surface, [(2, 2) if one == axis else (0, 0) for one in (0, 1)], mode="edge")
        kept = [np.take(padded, np.arange(k, k + surface.shape[axis]), axis=axis) for k in range(5)]
        surface = np.asarray(sum(weight * part for weight, part in zip(_SMOOTH, kept, strict=True)))
    return surface
