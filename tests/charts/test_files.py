"""Charts as files: SVG with plain colours, and what matplotlib draws."""

from __future__ import annotations

import sys

import pytest

from streamb.charts.files import write_chart
from streamb.errors import ConfigError
from tests.charts.test_charts import charts


def test_a_file_has_no_variables(tmp_path):
    drawn = write_chart(charts()["heatmap"], tmp_path / "a.svg").read_text()
    assert "var(" not in drawn
    assert "#cdd8e6" in drawn


def test_svg_needs_no_matplotlib_and_png_does(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    write_chart(charts()["lines"], tmp_path / "a.svg")
    with pytest.raises(ConfigError, match=r"pip install 'streamb\[plot\]'"):
        write_chart(charts()["lines"], tmp_path / "a.png")


@pytest.mark.parametrize("kind", charts())
def test_png_has_the_size_and_the_colours_of_the_chart(kind, tmp_path):
    from matplotlib.image import imread

    canvas = charts()[kind]
    pixels = imread(write_chart(canvas, tmp_path / "a.png"))
    assert pixels.shape[:2] == (round(2 * canvas.height), round(2 * canvas.width))
    assert pixels[0, 0].min() == 1.0  # paper
    assert (pixels[..., :3].max(axis=2) < 0.1).any()  # ink


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not supported"):
        write_chart(charts()["lines"], tmp_path / "a.odd")
