"""Each kind of chart: numbers become marks at the right places, readable without a style sheet and without eyes."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from streamb.charts.axes import Axis
from streamb.charts.heatmap import heatmap
from streamb.charts.histogram import histogram
from streamb.charts.intervals import Row, intervals
from streamb.charts.lines import Line, lines
from streamb.charts.parallel import Thread, parallel
from streamb.charts.svg import DARK_STYLE, ORANGE, Canvas, default_colour, shade

TRICKY = '<img onerror=alert(1)> & "quotes"'
ROWS = [Row("revenue", 0.2, low=-0.1, high=0.5, title="+20 %"), Row(TRICKY, -0.4, low=-0.5, high=-0.3, said="-40 %")]
HOURS = Axis("hour", low=0.0, high=24.0)
ERRORS = Axis("errors", low=0.0, high=0.1)


def charts() -> dict[str, Canvas]:
    line = Line(TRICKY, [(0.0, 0.02), (12.0, 0.03), (24.0, 0.05)], bounds=[(0.01, 0.03), (0.02, 0.05), (0.02, 0.2)])
    return {
        "histogram": histogram(Axis(TRICKY, low=0.0, high=4.0), [10, 30], [2, 2], edges=[0.0, 1.0, 4.0]),
        "categories": histogram(Axis("kind", ("a", "b")), [1, 1], [0, 0], description="nothing came"),
        "lines": lines([line], HOURS, ERRORS, label="errors by hour", limit=0.08),
        "intervals": intervals(ROWS, label="effects", axis=Axis("effect", low=-1.0, high=1.0), limit=0.0),
        "bars": intervals(ROWS[:1], label="shares", bars=True, note="no more"),
        "parallel": parallel([HOURS, ERRORS], [Thread([0.5, None], ORANGE, TRICKY)], label="trials"),
        "heatmap": heatmap(HOURS, ERRORS, [[0.0, 1.0], [1.0, 2.0]], name="score")[0],
    }


def read(canvas: Canvas) -> ET.Element:
    return ET.fromstring(str(canvas))


def marks(canvas: Canvas, tag: str) -> list[ET.Element]:
    return read(canvas).findall(f"{{*}}{tag}")


@pytest.mark.parametrize("kind", charts())
class TestEveryChart:
    def test_a_strict_policy_lets_it_through(self, kind):
        for element in read(charts()[kind]).iter():
            assert element.tag.rpartition("}")[2] in {
                "svg", "title", "desc", "text", "line", "path", "rect", "circle",
            }  # fmt: skip
            assert not {name for name in element.attrib if name in {"style", "href"} or name.startswith("on")}

    def test_it_has_a_name(self, kind):
        drawn = read(charts()[kind])
        assert drawn.get("role") == "img"
        assert drawn[0].tag.endswith("title")
        assert drawn[0].text

    def test_a_page_may_change_every_colour(self, kind):
        """`fill` and `stroke` are a variable with a default, or the colour of the text: never fixed."""
        for element in read(charts()[kind]).iter():
            for name in ("fill", "stroke"):
                colour = element.get(name, "none")
                assert colour in {"none", "currentColor"} or re.fullmatch(
                    r"var\(--chart-[\w-]+, #[0-9a-f]{6}\)", colour
                )
                variable = re.match(r"var\((--chart-[\w-]+)", colour)
                assert variable is None or f"{variable[1]}:" in DARK_STYLE


class TestHistogram:
    def test_bars_are_shares_of_now_and_the_outline_those_of_the_baseline(self):
        drawn = charts()["histogram"]
        bars = marks(drawn, "rect")
        heights = [float(bar.get("height")) for bar in bars]
        assert heights[0] == heights[1]
        assert float(bars[1].get("width")) == pytest.approx(3 * float(bars[0].get("width")), abs=0.02)
        assert bars[0].find("{*}title").text == "0 to 1: 50.0 % now, 25.0 % in the baseline"
        (outline,) = marks(drawn, "path")
        tops = sorted({float(y) for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", outline.get("d"))})
        bottom, quarter, three_quarters = tops[2], tops[1], tops[0]
        assert (bottom - three_quarters) == pytest.approx(3 * (bottom - quarter), abs=0.02)
        assert heights[0] == pytest.approx(2 * (bottom - quarter), abs=0.02)

    def test_nothing_came(self):
        drawn = charts()["categories"]
        assert {bar.get("height") for bar in marks(drawn, "rect")} == {"0"}
        assert read(drawn)[1].text == "nothing came"


class TestLines:
    def test_the_band_follows_the_bounds_and_stays_in_the_plot(self):
        band, line = marks(charts()["lines"], "path")
        assert band.find("{*}title").text == f"{TRICKY}: bounds"
        corners = [tuple(map(float, pair)) for pair in re.findall(r"[ML]([\d.]+) ([\d.]+)", band.get("d"))]
        assert len(corners) == 6
        assert min(y for _, y in corners) == 28.0  # 0.2 is beyond the axis: at its edge
        assert line.get("d").count("L") == 2

    def test_a_line_is_broken_where_it_leaves_the_axis(self):
        gone = Line("errors", [(0.0, 0.01), (1.0, 0.02), (2.0, 5.0), (3.0, 0.02), (4.0, 0.01)])
        assert len(marks(lines([gone], HOURS, ERRORS, label="errors"), "path")) == 2

    def test_steps_hold_a_value_until_the_next(self):
        (line,) = marks(
            lines([Line("weight", [(0.0, 0.0), (12.0, 0.1)], steps=True)], HOURS, ERRORS, label="w"), "path"
        )
        ys = [y for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", line.get("d"))]
        assert ys[0] == ys[1] != ys[2]

    def test_the_legend_says_the_last_value_and_the_limit_is_dashed(self):
        drawn = charts()["lines"]
        assert f"{TRICKY} 0.05" in {text.text for text in marks(drawn, "text")}
        assert sum(line.get("stroke-dasharray") == "5" for line in marks(drawn, "line")) == 1


class TestIntervals:
    def test_a_dot_between_its_ends(self):
        drawn = charts()["intervals"]
        whiskers = [one for one in marks(drawn, "line") if one.get("stroke-opacity") == "0.7"]
        for dot, whisker in zip(marks(drawn, "circle"), whiskers, strict=True):
            assert float(whisker.get("x1")) < float(dot.get("cx")) < float(whisker.get("x2"))
        said = {text.text for text in marks(drawn, "text")}
        assert {"revenue", TRICKY, "-40 %", "effect"} <= said

    def test_a_bar_is_as_long_as_its_share(self):
        drawn = charts()["bars"]
        (bar,) = marks(drawn, "rect")
        left = float(bar.get("x"))
        assert float(bar.get("width")) == pytest.approx(0.2 * (drawn.width - left - 120), abs=0.01)
        assert "no more" in {text.text for text in marks(drawn, "text")}


class TestParallel:
    def test_a_line_passes_below_an_axis_without_a_value(self):
        (thread,) = marks(charts()["parallel"], "path")
        ys = [float(y) for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", thread.get("d"))]
        axis = marks(charts()["parallel"], "line")[0]
        bottom, top = float(axis.get("y1")), float(axis.get("y2"))
        assert ys[0] == pytest.approx((bottom + top) / 2)
        assert ys[1] > bottom


class TestHeatmap:
    def test_cells_are_deep_where_it_is_good(self):
        cells = [default_colour(one.get("fill")) for one in marks(charts()["heatmap"], "rect")[:4]]
        assert cells == [default_colour(shade(part)) for part in (0.0, 0.5, 0.5, 1.0)]
        low = heatmap(HOURS, ERRORS, [[0.0, 2.0]], name="loss", maximize=False)[0]
        assert default_colour(marks(low, "rect")[0].get("fill")) == default_colour(shade(1.0))

    def test_lines_of_equal_height_are_straight_on_a_plane(self):
        lines_drawn = [one for one in marks(charts()["heatmap"], "line") if one.get("stroke-opacity") == "0.7"]
        assert len(lines_drawn) == 7

    def test_a_list_has_no_lines_of_equal_height(self):
        drawn = heatmap(Axis("kind", ("a", "b")), ERRORS, [[0.0, 1.0], [1.0, 2.0]], name="score")[0]
        assert not [one for one in marks(drawn, "line") if one.get("stroke-opacity") == "0.7"]
