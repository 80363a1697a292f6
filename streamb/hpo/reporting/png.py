"""The pictures as PNG files, for slides and papers: drawn with matplotlib, which is an extra (`streamb[plot]`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamb.errors import ConfigError, InvalidInput
from streamb.hpo.reporting.axes import Axis
from streamb.hpo.reporting.board import Board, completed, scored
from streamb.hpo.reporting.svg import BLUE, GREY, ORANGE

_DPI: Final = 150
_POINTS: Final = 80
_MOST: Final = 12
"""Parameters in one picture, those that matter most."""


def write_png(board: Board, picture: str, path: Path) -> None:
    """Draw one picture into a file.

    Args:
        board: what to draw.
        picture: history, importance, parallel, slice or contour.
        path: of the PNG file.

    Raises:
        InvalidInput: no such picture, or too little to draw it from.
        ConfigError: matplotlib is not installed; says how.
    """
    if picture not in PICTURES:
        raise InvalidInput(f"there is no picture {picture!r}; there are {', '.join(PICTURES)}")
    needs_importance = picture in {"importance", "contour"}
    if not board.axes or (needs_importance and board.importance.marginals is None):
        raise InvalidInput(f"the picture {picture!r} needs more trials with scores that differ")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("PNG pictures are drawn by matplotlib: pip install 'streamb[plot]'") from error
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: nothing is kept, and no window is looked for
    PICTURES[picture](figure, board)
    figure.savefig(path, dpi=_DPI)


def _history(figure: Any, board: Board) -> None:
    figure.set_size_inches(8, 4)
    axes = figure.subplots()
    done = completed(board.trials)
    early = [trial for trial in scored(board.trials) if trial not in done]
    axes.scatter([t.number for t in done], [t.score for t in done], s=14, color=BLUE, label="trial")
    if early:
        axes.scatter([t.number for t in early], [t.score for t in early], s=14, facecolors="none", edgecolors=GREY)
    steps = board.running_best()
    if steps:
        numbers = [*(number for number, _ in steps), max(trial.number for trial in board.trials)]
        heights = [*(score for _, score in steps), steps[-1][1]]
        axes.step(numbers, heights, where="post", color=ORANGE, label="best so far")
    axes.set(xlabel="trial", ylabel=board.objective, ylim=(board.scores.low, board.scores.high))
    axes.legend()


def _importance(figure: Any, board: Board) -> None:
    effects = board.importance.alone[:_MOST][::-1]
    figure.set_size_inches(7, 0.4 * len(effects) + 1.2)
    axes = figure.subplots()
    spreads = [effect.spread for effect in effects]
    axes.barh([effect.label for effect in effects], [effect.share for effect in effects], xerr=spreads, color=BLUE)
    axes.set_xlabel("share of the variance")


def _parallel(figure: Any, board: Board) -> None:
    chosen = board.by_importance()[:_MOST]
    figure.set_size_inches(1.6 * (len(chosen) + 1), 4)
    axes = figure.subplots()
    for trial in sorted(scored(board.trials), key=lambda one: board.goodness(one.score or 0.0)):
        heights = [board.up(trial.score or 0.0)]
        heights += [_position(axis, trial.parameters.get(axis.name)) for axis in chosen]
        best = trial.number == board.best_number
        good = board.goodness(trial.score or 0.0)
        axes.plot(heights, color=ORANGE if best else BLUE, alpha=1.0 if best else 0.1 + 0.6 * good, lw=2 if best else 1)
    axes.set_xticks(range(len(chosen) + 1), [board.objective, *(axis.name for axis in chosen)])
    axes.set_yticks([])


def _slice(figure: Any, board: Board) -> None:
    chosen = board.by_importance()[:_MOST]
    columns = min(2, len(chosen))
    rows = -(-len(chosen) // columns)
    figure.set_size_inches(4.5 * columns, 3 * rows)
    for axis, axes in zip(chosen, figure.subplots(rows, columns, squeeze=False).ravel(), strict=False):
        trials = [trial for trial in scored(board.trials) if axis.name in trial.parameters]
        positions = [_position(axis, trial.parameters[axis.name]) for trial in trials]
        axes.scatter(positions, [t.score for t in trials], s=12, c=[t.number for t in trials], cmap="Blues", vmin=-5)
        _label(axes.xaxis, axis)
        axes.set(xlabel=axis.name, ylabel=board.objective, ylim=(board.scores.low, board.scores.high))


def _contour(figure: Any, board: Board) -> None:
    marginals = board.importance.marginals
    chosen = board.by_importance()[:2]
    if marginals is None or len(chosen) < 2:
        raise InvalidInput("the picture 'contour' needs two parameters that vary")
    across, up = chosen
    figure.set_size_inches(6, 4.5)
    axes = figure.subplots()
    at = np.linspace(0.0, 1.0, _POINTS)
    surface = marginals.surface(board.axes.index(across), board.axes.index(up), at, at)
    drawn = axes.contourf(at, at, surface.T, levels=12, cmap="Blues" if board.maximize else "Blues_r")
    figure.colorbar(drawn, label=board.objective)
    trials = [t for t in scored(board.trials) if across.name in t.parameters and up.name in t.parameters]
    xs = [_position(across, trial.parameters[across.name]) for trial in trials]
    ys = [_position(up, trial.parameters[up.name]) for trial in trials]
    axes.scatter(xs, ys, s=12, color=["#c2410c" if t.number == board.best_number else "#1f2937" for t in trials])
    _label(axes.xaxis, across)
    _label(axes.yaxis, up)
    axes.set(xlabel=across.name, ylabel=up.name)


def _position(axis: Axis, value: Any) -> float:
    found = axis.position(value) if value is not None else None
    return float("nan") if found is None else found


def _label(axis: Any, parameter: Axis) -> None:
    ticks = parameter.ticks()
    axis.set_ticks([position for position, _ in ticks], labels=[label for _, label in ticks])


PICTURES: Final[dict[str, Callable[[Any, Board], None]]] = {
    "history": _history,
    "importance": _importance,
    "parallel": _parallel,
    "slice": _slice,
    "contour": _contour,
}
"""Pictures by name."""
