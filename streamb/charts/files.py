"""Writes charts to files: SVG directly, PNG and PDF by matplotlib, which is an extra (`streamb[plot]`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from streamb.charts.svg import Canvas, Mark, default_colour
from streamb.errors import ConfigError

_PIXELS_AN_INCH: Final = 100.0
_POINTS_A_PIXEL: Final = 72.0 / _PIXELS_AN_INCH
_FONT_PIXELS: Final = 11
_DPI: Final = 200
_ANCHORS: Final[dict[str, Any]] = {"start": "left", "middle": "center", "end": "right"}


def write_chart(canvas: Canvas, path: str | Path) -> Path:
    """Write a chart to a file, and return its path.

    Args:
        canvas: the chart.
        path: the file; its suffix selects the format (.svg, .png, .pdf).

    Raises:
        ConfigError: any format but SVG needs matplotlib, which is not installed; says how.
        ValueError: matplotlib does not know the format.
    """
    path = Path(path)
    if path.suffix == ".svg":
        path.write_text(default_colour(str(canvas)), encoding="utf-8")
        return path
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"a {path.suffix or 'PNG'} chart is drawn by matplotlib, which is not installed: "
            "pip install 'streamb[plot]'; a chart as .svg needs nothing"
        ) from error
    # Not through pyplot: it keeps every figure, needs a display, and is not thread-safe.
    figure = Figure(figsize=(canvas.width / _PIXELS_AN_INCH, canvas.height / _PIXELS_AN_INCH))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0.0, canvas.width), ylim=(canvas.height, 0.0))
    axes.set_axis_off()
    for place, mark in enumerate(canvas.marks):
        axes.add_artist(_artist(mark, place))
    figure.savefig(path, dpi=_DPI)
    return path


def _artist(mark: Mark, place: int) -> Any:
    """Return the matplotlib artist for a mark; `place` keeps the order of the marks."""
    from matplotlib import patches
    from matplotlib.lines import Line2D
    from matplotlib.path import Path as Strokes

    told: dict[str, Any] = mark.attributes
    if mark.tag == "text":
        return _words(mark, place)
    edge, width = _colour(told.get("stroke", "none")), told.get("stroke-width", 1) * _POINTS_A_PIXEL
    look = {"linewidth": width, "zorder": place, "clip_on": False}
    if mark.tag == "line":
        dashes = (0, (told["stroke-dasharray"],) * 2) if "stroke-dasharray" in told else "solid"
        look |= {"color": edge, "alpha": told["stroke-opacity"], "linestyle": dashes}
        return Line2D((told["x1"], told["x2"]), (told["y1"], told["y2"]), **look)
    crisp = "shape-rendering" in told
    look |= {"facecolor": _colour(told["fill"]), "edgecolor": edge, "antialiased": not crisp}
    if mark.tag == "circle":
        return patches.Circle((told["cx"], told["cy"]), told["r"], **look)
    if mark.tag == "rect":
        return patches.Rectangle((told["x"], told["y"]), told["width"], told["height"], **look)
    strokes = Strokes.make_compound_path(*(Strokes(points) for points in mark.strokes))
    return patches.PathPatch(strokes, alpha=told.get("stroke-opacity", told.get("fill-opacity")), **look)


def _words(mark: Mark, place: int) -> Any:
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text

    told: dict[str, Any] = mark.attributes
    size = _FONT_PIXELS * _POINTS_A_PIXEL
    # no formulas: "$" in a name would begin one
    words = Text(
        told["x"], told["y"], mark.words, color=_colour(told["fill"]), fontsize=size, zorder=place, parse_math=False,
        horizontalalignment=_ANCHORS[told["text-anchor"]], fontweight=told.get("font-weight", "normal"),
    )  # fmt: skip
    if "stroke" in told:
        halo = withStroke(linewidth=told["stroke-width"] * _POINTS_A_PIXEL, foreground=_colour(told["stroke"]))
        words.set_path_effects([halo])
    return words


def _colour(colour: str) -> str:
    return {"currentColor": "black"}.get(colour, default_colour(colour))
