"""SVG: a canvas of marks, a plot area with axes, and colours that a page may change.

A chart needs no style sheet, no font and no script, so a strict content security policy lets it through inline, as a
file and in a notebook. Lines and words are drawn in `currentColor`; every other colour is a CSS variable with a default
(`var(--chart-blue, #2b6cb0)`), so a page recolours its charts by setting the variables, as `DARK_STYLE` does. Each
mark may carry a title, which browsers show when the pointer rests on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

from streamb.charts.axes import Axis, show

BLUE: Final = "var(--chart-blue, #2b6cb0)"
ORANGE: Final = "var(--chart-orange, #c2410c)"
GREY: Final = "var(--chart-grey, #8a8f98)"
RED: Final = "var(--chart-red, #c0392b)"
PAPER: Final = "var(--chart-paper, #ffffff)"
_SHADES: Final = 10
_LIGHT: Final = ((205, 216, 230), (18, 58, 110))
_DARK: Final = ((51, 65, 85), (147, 197, 253))
_LETTER: Final = 6.8
"""Average width of a character of the 11-pixel font, in pixels."""
_SHORTEST_LABEL: Final = 4
_ARM: Final = 3.2

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Mark:
    """One element of a chart: its SVG tag and attributes, and the title or text inside it.

    Attributes:
        strokes: the points of a path, as one or more lines; empty for other tags.
    """

    tag: str
    attributes: dict[str, object]
    title: str = ""
    words: str = ""
    strokes: Sequence[Sequence[Point]] = ()

    def __str__(self) -> str:
        attributes = dict(self.attributes)
        if self.strokes:
            attributes = {"d": "".join(map(_drawn, self.strokes)), **attributes}
        inner = f"<title>{escape(self.title)}</title>" if self.title else escape(self.words)
        told = " ".join(f'{name}="{escape(_number(value))}"' for name, value in attributes.items())
        return f"<{self.tag} {told}>{inner}</{self.tag}>"


@dataclass(slots=True)
class Canvas:
    """A chart of a given size, in pixels; the origin is the upper left corner.

    Its methods add one mark each. All lengths are in pixels; `colour` is a CSS colour, `title` the text shown when the
    pointer rests on the mark, and `opacity` 0 to 1.

    Attributes:
        label: its name, for screen readers.
        description: a sentence on what it shows, for screen readers.
        marks: the elements, in the order in which they are drawn.
    """

    width: float
    height: float
    label: str
    description: str = ""
    marks: list[Mark] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = "currentColor", **style: float) -> None:
        """Add a straight line; `style` may have width, opacity and dash (the length of its dashes)."""
        self.marks.append(Mark("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "stroke": colour, **_stroke(style)}))

    def path(self, points: Sequence[Point], colour: str, title: str = "", **style: float) -> None:
        """Add a line through points; `style` as for `line`."""
        self.marks.append(Mark("path", {"fill": "none", "stroke": colour, **_stroke(style)}, title, strokes=(points,)))

    def area(self, points: Sequence[Point], colour: str, title: str = "") -> None:
        """Add a filled polygon."""
        self.marks.append(Mark("path", {"fill": colour, "fill-opacity": 0.2}, title, strokes=(points,)))

    def dot(self, x: float, y: float, colour: str, title: str = "", *, r: float = 3.2, hollow: bool = False) -> None:
        """Add a dot of radius `r`; a hollow one marks an exception."""
        look = {"fill": "none", "stroke": colour, "stroke-width": 1.2} if hollow else {"fill": colour}
        self.marks.append(Mark("circle", {"cx": x, "cy": y, "r": r, **look}, title))

    def cross(self, x: float, y: float, colour: str, title: str = "") -> None:
        """Add a cross, which marks something without a value."""
        strokes = (((x - _ARM, y - _ARM), (x + _ARM, y + _ARM)), ((x + _ARM, y - _ARM), (x - _ARM, y + _ARM)))
        look = {"stroke": colour, "stroke-width": 1.2, "fill": "none"}
        self.marks.append(Mark("path", look, title, strokes=strokes))

    def box(self, x: float, y: float, width: float, height: float, colour: str, title: str = "") -> None:
        """Add a filled rectangle."""
        # crisp: neighbours that share an edge must not show a seam
        look = {"fill": colour, "shape-rendering": "crispEdges"}
        self.marks.append(Mark("rect", {"x": x, "y": y, "width": width, "height": height, **look}, title))

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        anchor: str = "start",
        bold: bool = False,
        halo: bool = False,
        colour: str = "currentColor",
    ) -> None:
        """Add text; `anchor` is start, middle or end; a halo keeps it legible on top of lines."""
        told: dict[str, object] = {"x": x, "y": y, "text-anchor": anchor, "fill": colour}
        if bold:
            told["font-weight"] = "bold"
        if halo:
            told |= {"stroke": PAPER, "stroke-width": 3, "paint-order": "stroke", "stroke-linejoin": "round"}
        self.marks.append(Mark("text", told, words=words))

    def __str__(self) -> str:
        size = f'viewBox="0 0 {_number(self.width)} {_number(self.height)}" width="{_number(self.width)}"'
        font = 'font-family="system-ui, sans-serif" font-size="11"'
        described = f"<desc>{escape(self.description)}</desc>" if self.description else ""
        body = f"<title>{escape(self.label)}</title>{described}{''.join(map(str, self.marks))}"
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} role="img">{body}</svg>'


@dataclass(frozen=True, slots=True)
class Plot:
    """The rectangle of a canvas that two axes span; positions are 0 to 1, upwards and to the right."""

    canvas: Canvas
    left: float
    top: float
    width: float
    height: float

    def x(self, position: float) -> float:
        """Return the x coordinate of a position, in pixels."""
        return self.left + position * self.width

    def y(self, position: float) -> float:
        """Return the y coordinate of a position, in pixels."""
        return self.top + (1.0 - position) * self.height

    def frame(self, across: Axis, up: Axis | None = None, *, grid: bool = True) -> None:
        """Draw the axes with ticks, labels and names; without `up` only the one below."""
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
    """Return a colour from pale (0) to deep (1); on a dark page from dim to bright.

    >>> shade(0.0), shade(1.0)
    ('var(--chart-shade-0, #cdd8e6)', 'var(--chart-shade-10, #123a6e)')
    """
    bounded = min(max(part, 0.0), 1.0)
    return f"var(--chart-shade-{round(bounded * _SHADES)}, {_mixed(_LIGHT, bounded)})"


def default_colour(colour: str) -> str:
    """Replace each CSS variable by its default, for programs that do not support CSS variables.

    >>> default_colour(BLUE), default_colour("currentColor")
    ('#2b6cb0', 'currentColor')
    """
    return re.sub(r"var\(--chart-[\w-]+, (#\w+)\)", r"\1", colour)


def text_width(words: str) -> float:
    """Return the approximate width of a text in pixels."""
    return _LETTER * len(words)


def _mixed(ends: tuple[tuple[int, int, int], tuple[int, int, int]], part: float) -> str:
    return "#" + "".join(f"{round(one + part * (other - one)):02x}" for one, other in zip(*ends, strict=True))


DARK_STYLE: Final = (
    "--chart-blue: #63b3ed; --chart-orange: #fb923c; --chart-grey: #9ca3af; --chart-red: #f87171; "
    "--chart-paper: #111827; "
) + " ".join(f"--chart-shade-{k}: {_mixed(_DARK, k / _SHADES)};" for k in range(_SHADES + 1))
"""CSS declarations that make charts legible on a dark page; use them in a rule for dark pages."""


def _fitting(axis: Axis, width: float) -> list[tuple[float, str]]:
    """Return the ticks, with labels of categories shortened to fit their places."""
    if axis.values is None:
        return axis.ticks()
    longest = max(_SHORTEST_LABEL, int(width / len(axis.values) / _LETTER) - 1)
    return [(position, show(label, longest)) for position, label in axis.ticks()]


def _apart(ticks: list[tuple[float, str]], width: float) -> Iterable[tuple[float, str]]:
    """Yield the ticks whose labels do not overlap."""
    free_from = -1e9
    for position, label in ticks:
        half = text_width(label) / 2
        if position * width - half >= free_from:
            free_from = position * width + half + 6
            yield position, label


def _stroke(style: dict[str, float]) -> dict[str, object]:
    look: dict[str, object] = {"stroke-width": style.get("width", 1), "stroke-opacity": style.get("opacity", 1)}
    return look | {"stroke-dasharray": style["dash"]} if "dash" in style else look


def _drawn(points: Sequence[Point]) -> str:
    return " ".join(f"{'L' if place else 'M'}{_number(x)} {_number(y)}" for place, (x, y) in enumerate(points))


def _number(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
