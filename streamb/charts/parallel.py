"""Parallel coordinates: upright axes side by side, and a line through them for each row of values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from streamb.charts.axes import Axis, show
from streamb.charts.svg import Canvas

_HEIGHT: Final = 330.0
_STEP: Final = 130.0
_LEFT, _TOP, _BOTTOM = 60.0, 40.0, 24.0
_SHELF: Final = -0.06
"""The position at which a line crosses an axis on which it has no value: just below it."""


@dataclass(frozen=True, slots=True)
class Thread:
    """One line through all axes.

    Attributes:
        positions: its position on each axis, 0 to 1; None if it has no value there.
        colour: the colour of the line.
        title: the text shown when the pointer rests on it.
        width: its width in pixels.
        opacity: its opacity, 0 to 1.
    """

    positions: Sequence[float | None]
    colour: str
    title: str = ""
    width: float = 1.0
    opacity: float = 0.75


def parallel(axes: Sequence[Axis], threads: Iterable[Thread], *, label: str, description: str = "") -> Canvas:
    """Draw rows of values over many axes.

    Args:
        axes: the axes, from left to right.
        threads: the lines; later ones are drawn over earlier ones.
        label, description: name and description of the chart, for screen readers.
    """
    canvas = Canvas(_LEFT + _STEP * (len(axes) - 1) + 110, _HEIGHT, label, description)
    for thread in threads:
        places = [_SHELF if position is None else position for position in thread.positions]
        points = [(_LEFT + _STEP * number, _down(place)) for number, place in enumerate(places)]
        canvas.path(points, thread.colour, thread.title, width=thread.width, opacity=thread.opacity)
    for number, axis in enumerate(axes):
        _upright(canvas, axis, _LEFT + _STEP * number)
    return canvas


def _upright(canvas: Canvas, axis: Axis, x: float) -> None:
    canvas.line(x, _down(0.0), x, _down(1.0), width=1.2)
    canvas.text(x, _TOP - 18, show(axis.name), anchor="middle", bold=True)
    for position, label in axis.ticks():
        canvas.line(x, _down(position), x + 4, _down(position))
        canvas.text(x + 7, _down(position) + 4, label, halo=True)


def _down(position: float) -> float:
    return _TOP + (1.0 - position) * (_HEIGHT - _TOP - _BOTTOM)
