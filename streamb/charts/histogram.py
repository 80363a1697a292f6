"""Histograms of the present and the baseline: bars for the present, an outline for the baseline, both as shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from streamb.charts.axes import Axis, show
from streamb.charts.svg import BLUE, Canvas, Plot

_WIDTH: Final = 420.0
_HEIGHT: Final = 240.0


def histogram(
    across: Axis, baseline: Sequence[float], now: Sequence[float], *, edges: Sequence[float] = (), description: str = ""
) -> Canvas:
    """Draw two distributions over the same bins.

    Counts are drawn as shares of their sum, so that a long baseline and a short window compare.

    Args:
        across: the axis of the values: a range, or a list of categories with a bin for each.
        baseline: counts in each bin.
        now: counts in each bin.
        edges: ends of the bins of a range, ascending, one more than there are bins; empty for categories.
        description: a description of the chart, for screen readers.
    """
    before, after = _shares(baseline), _shares(now)
    most = max([*before, *after], default=0.0) or 1.0
    canvas = Canvas(_WIDTH, _HEIGHT, f"{across.name}: now against the baseline", description)
    plot = Plot(canvas, 54, 28, _WIDTH - 70, _HEIGHT - 74)
    up = Axis("share", low=0.0, high=most)
    plot.frame(across, up)
    ends = [across.within(edge) for edge in edges] or [place / len(before) for place in range(len(before) + 1)]
    outline = [(plot.x(ends[0]), plot.y(0.0))]
    for k, (was, is_now) in enumerate(zip(before, after, strict=True)):
        left, right, top = plot.x(ends[k]), plot.x(ends[k + 1]), plot.y(is_now / most)
        title = f"{_bin(across, edges, k)}: {100 * is_now:.1f} % now, {100 * was:.1f} % in the baseline"
        canvas.box(left, top, right - left, plot.y(0.0) - top, BLUE, title)
        outline += [(left, plot.y(was / most)), (right, plot.y(was / most))]
    canvas.path([*outline, (plot.x(ends[-1]), plot.y(0.0))], "currentColor", "baseline", width=1.4)
    return canvas


def _bin(across: Axis, edges: Sequence[float], place: int) -> str:
    if across.values is not None:
        return show(across.values[place])
    return f"{show(float(edges[place]))} to {show(float(edges[place + 1]))}"


def _shares(counts: Sequence[float]) -> list[float]:
    total = math.fsum(counts) or 1.0
    return [count / total for count in counts]
