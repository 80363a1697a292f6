"""SVG written by hand: a canvas of elements, a plot area with axes, and colours that say how good or how late.

Everything is drawn inline and in `currentColor`, so that a picture needs no style sheet, no font and no script. Each
mark may carry a `title`, which browsers show when the pointer rests on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

from streamb.hpo.reporting.axes import Axis, show

BLUE: Final = "#2b6cb0"
ORANGE: Final = "#c2410c"
GREY: Final = "#8a8f98"
_PALE: Final = (205, 216, 230)
_DEEP: Final = (18, 58, 110)
_LETTER: Final = 6.8
"""Width of a character of the 11-pixel font, on average."""
_SHORTEST_LABEL: Final = 4


@dataclass(slots=True)
class Canvas:
    """A picture of a given size, in pixels; the origin is the upper left corner."""

    width: float
    height: float
    label: str
    _parts: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = "currentColor", **style: float) -> None:
        """A straight line; `style`: width, opacity."""
        self._add("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "stroke": colour, **_stroke(style)})

    def path(self, points: Sequence[tuple[float, float]], colour: str, title: str = "", **style: float) -> None:
        """A line through points."""
        drawn = " ".join(f"{'L' if place else 'M'}{_number(x)} {_number(y)}" for place, (x, y) in enumerate(points))
        self._add("path", {"d": drawn, "fill": "none", "stroke": colour, **_stroke(style)}, title)

    def dot(self, x: float, y: float, colour: str, title: str = "", *, r: float = 3.2, hollow: bool = False) -> None:
        """A point; hollow for what is not like the others."""
        look = {"fill": "none", "stroke": colour, "stroke-width": 1.2} if hollow else {"fill": colour}
        self._add("circle", {"cx": x, "cy": y, "r": r, **look}, title)

    def cross(self, x: float, y: float, colour: str, title: str = "", *, r: float = 3.2) -> None:
        """A mark for what has no value."""
        drawn = f"M{_number(x - r)} {_number(y - r)}l{2 * r} {2 * r}m0 {-2 * r}l{-2 * r} {2 * r}"
        self._add("path", {"d": drawn, "stroke": colour, "stroke-width": 1.2, "fill": "none"}, title)

    def box(self, x: float, y: float, width: float, height: float, colour: str, title: str = "") -> None:
        """A filled rectangle."""
        # crisp: neighbours that share an edge must not show a seam
        look = {"fill": colour, "shape-rendering": "crispEdges"}
        self._add("rect", {"x": x, "y": y, "width": width, "height": height, **look}, title)

    def text(
        self, x: float, y: float, words: str, *, anchor: str = "start", bold: bool = False, halo: bool = False
    ) -> None:
        """Words; `anchor` is start, middle or end; a halo keeps them legible on top of lines."""
        told: dict[str, object] = {"x": x, "y": y, "text-anchor": anchor, "fill": "currentColor"}
        if bold:
            told["font-weight"] = "bold"
        if halo:
            told |= {"stroke": "#ffffff", "stroke-width": 3, "paint-order": "stroke", "stroke-linejoin": "round"}
        self._parts.append(f"<text {_attributes(told)}>{escape(words)}</text>")

    def __str__(self) -> str:
        size = f'viewBox="0 0 {_number(self.width)} {_number(self.height)}" width="{_number(self.width)}"'
        font = 'font-family="system-ui, sans-serif" font-size="11"'
        named = f'role="img" aria-label="{escape(self.label)}"'
        body = "".join(self._parts)
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} {named}>{body}</svg>'

    def _add(self, tag: str, attributes: dict[str, object], title: str = "") -> None:
        inner = f"<title>{escape(title)}</title>" if title else ""
        self._parts.append(f"<{tag} {_attributes(attributes)}>{inner}</{tag}>")


@dataclass(frozen=True, slots=True)
class Plot:
    """A rectangle of a canvas in which two axes are drawn; positions are 0 to 1, upwards and to the right."""

    canvas: Canvas
    left: float
    top: float
    width: float
    height: float

    def x(self, position: float) -> float:
        """Pixels across."""
        return self.left + position * self.width

    def y(self, position: float) -> float:
        """Pixels down."""
        return self.top + (1.0 - position) * self.height

    def frame(self, across: Axis, up: Axis | None, *, grid: bool = True) -> None:
        """Axes with ticks, labels and names; without `up` only the one below."""
        bottom = self.top + self.height
        self.canvas.line(self.left, bottom, self.left + self.width, bottom, width=1)
        for position, label in _apart(_fitting(across, self.width), self.width):
            self.canvas.line(self.x(position), bottom, self.x(position), bottom + 4, width=1)
            self.canvas.text(self.x(position), bottom + 16, label, anchor="middle")
        self.canvas.text(self.left + self.width / 2, bottom + 32, across.name, anchor="middle", bold=True)
        if up is None:
            return
        for position, label in up.ticks():
            if grid:
                self.canvas.line(self.left, self.y(position), self.left + self.width, self.y(position), opacity=0.12)
            self.canvas.text(self.left - 6, self.y(position) + 4, label, anchor="end")
        self.canvas.line(self.left, self.top, self.left, bottom, width=1)
        self.canvas.text(self.left, self.top - 8, up.name, bold=True)


def shade(part: float) -> str:
    """A colour from pale (0) to deep (1).

    >>> shade(0.0), shade(1.0)
    ('#cdd8e6', '#123a6e')
    """
    bounded = min(max(part, 0.0), 1.0)
    mixed = (round(pale + bounded * (deep - pale)) for pale, deep in zip(_PALE, _DEEP, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def text_width(words: str) -> float:
    """About how many pixels words take."""
    return _LETTER * len(words)


def _fitting(axis: Axis, width: float) -> list[tuple[float, str]]:
    """Ticks, the labels of categories as short as their places are narrow."""
    if axis.values is None:
        return axis.ticks()
    longest = max(_SHORTEST_LABEL, int(width / len(axis.values) / _LETTER) - 1)
    return [(position, show(label, longest)) for position, label in axis.ticks()]


def _apart(ticks: list[tuple[float, str]], width: float) -> Iterable[tuple[float, str]]:
    """Ticks whose labels do not run into one another."""
    free_from = -1e9
    for position, label in ticks:
        half = text_width(label) / 2
        if position * width - half >= free_from:
            free_from = position * width + half + 6
            yield position, label


def _stroke(style: dict[str, float]) -> dict[str, object]:
    return {"stroke-width": style.get("width", 1), "stroke-opacity": style.get("opacity", 1)}


def _attributes(told: dict[str, object]) -> str:
    return " ".join(f'{name}="{escape(_number(value))}"' for name, value in told.items())


def _number(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
