"""A drift report as a picture: one bar for each column, those that drifted in red, and the line that they crossed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from streamb.errors import ConfigError

if TYPE_CHECKING:
    from streamb.monitoring.drift.report import ColumnDrift, DriftReport

MOST_BARS: Final = 40
"""Columns in one picture, those that drifted most; the title says how many there are."""
_DRIFTED, _STABLE, _UNKNOWN = "#c0392b", "#2e86c1", "#b0b0b0"
_NAME_CHARS: Final = 40


def draw(report: DriftReport, path: str | Path) -> Path:
    """Write the picture of a report.

    Args:
        path: of the file; its ending says the format (.png, .svg, .pdf).

    Raises:
        ConfigError: matplotlib is not installed.
        ValueError: matplotlib does not know the format.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "a picture needs matplotlib, which is not installed: pip install 'streamb[plot]'; `table()` needs nothing"
        ) from error
    columns = list(report.columns)
    shown = sorted(columns, key=lambda one: (one.score or 0.0, one.name), reverse=True)[:MOST_BARS]
    # Not through pyplot: it keeps every figure, wants a display, and is not safe to use from a thread.
    figure = Figure(figsize=(8.0, 1.2 + 0.28 * max(1, len(shown))), layout="constrained")
    _fill(figure.add_subplot(), shown, report.threshold, _title(report, len(shown), len(columns)))
    figure.savefig(path, dpi=120)
    return Path(path)


def _fill(axes: Any, shown: list[ColumnDrift], threshold: float, title: str) -> None:
    places = range(len(shown))
    axes.barh(places, [one.score or 0.0 for one in shown], color=[_colour(one) for one in shown])
    axes.set_yticks(places, [_plain(one.name) for one in shown])
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.0)
    axes.axvline(threshold, color="black", linewidth=1, linestyle="--")
    axes.set_xlabel(f"drift score (drifted above {threshold:g}, and beyond chance)")
    axes.set_title(title, loc="left", fontsize=10, wrap=True, parse_math=False)


def _title(report: DriftReport, shown: int, columns: int) -> str:
    most = f"; the {shown} highest of {columns} columns" if shown < columns else ""
    return f"{report.status}: {report.overall_drift_score:.2f} over {report.rows:,} rows{most}"


def _colour(one: ColumnDrift) -> str:
    if one.score is None:
        return _UNKNOWN
    return _DRIFTED if one.drifted else _STABLE


def _plain(name: str) -> str:
    """A column's name as a label: short, and no formula ("$" would begin one)."""
    short = name if len(name) <= _NAME_CHARS else name[: _NAME_CHARS - 1] + "…"
    return short.replace("$", r"\$")
