"""Drift in plain words: what changed in a column, how far, and how certain that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamb.monitoring.drift.report import ColumnDrift, DriftState
from streamb.monitoring.profiles.category_bins import NAME_BYTES, CategoryBins
from streamb.monitoring.profiles.cells import UNITS
from streamb.monitoring.profiles.column import Bins
from streamb.monitoring.profiles.number_bins import NumberBins
from streamb.monitoring.profiles.text_bins import TextBins

Counters = NDArray[np.int64]
_Fact = tuple[float, str]
"""How much changed, and the words for it."""

_RATE_CHANGE: Final = 0.005
_MEAN_CHANGE: Final = 0.05
_SPREAD_CHANGE: Final = 0.1
_CLASS_CHANGE: Final = 0.01
_MOST_FACTS: Final = 3
_MOST_NAMES: Final = 5


def percent(share: float) -> str:
    """Return a share (0 to 1) as a percentage with one to three digits.

    >>> percent(0.4), percent(0.0312), percent(0.00004), percent(0.0)
    ('40 %', '3.1 %', '0.004 %', '0 %')
    """
    value = 100.0 * share
    if value >= 10 or value == 0:
        return f"{value:.0f} %"
    return f"{value:.2g} %" if value >= 1 else f"{value:.1g} %"


def surely(p_value: float) -> str:
    """Return in words how often chance alone causes a change with this p-value.

    >>> surely(0.0003), surely(1e-300)
    ('chance alone does this once in 3,300 times', 'chance alone does this less than once in a billion times')
    """
    if p_value < 1e-9:
        return "chance alone does this less than once in a billion times"
    times = 1.0 / p_value
    digits = 2 - math.ceil(math.log10(times)) if times > 1 else 0
    return f"chance alone does this once in {round(times, digits):,.0f} times"


def missing_rate(bins: Bins, counters: Counters) -> float:
    """Return the share of missing values, 0 to 1."""
    block = bins.blocks[0]
    return _share(bins, counters, block.start + block.classes - 1)


def unseen_rate(bins: Bins, counters: Counters) -> float:
    """Return the share of values, 0 to 1, that the baseline does not have: new, outside its range or not numbers."""
    if isinstance(bins, CategoryBins):
        return _share(bins, counters, bins.unseen)
    if isinstance(bins, TextBins):
        return bins.unknown_share(counters)
    odd = (*bins.infinite, bins.below, bins.above, bins.invalid)
    return sum(_share(bins, counters, index) for index in odd)


def _rows(bins: Bins, counters: Counters) -> int:
    return int(counters[: bins.blocks[0].classes].sum())


def _share(bins: Bins, counters: Counters, index: int) -> float:
    rows = _rows(bins, counters)
    return int(counters[index]) / rows if rows else 0.0


def _changes(classes: Mapping[int, str], bins: Bins, before: Counters, after: Counters, least: float) -> list[_Fact]:
    """The classes, named in words, whose share has changed by at least so much."""
    shares = {label: (_share(bins, before, index), _share(bins, after, index)) for index, label in classes.items()}
    return [fact for label, (was, now) in shares.items() for fact in _change(label, was, now, least)]


def _change(label: str, was: float, now: float, least: float) -> list[_Fact]:
    change = abs(now - was)
    return [(change, f"{label} {percent(was)} -> {percent(now)}")] if change >= least else []


def describe(bins: Bins, before: Counters, after: Counters, state: DriftState, shift: float, p_value: float) -> str:
    """Return in words what changed in a column, the greatest change first.

    Args:
        bins: the column's bins.
        before: its counts in the baseline.
        after: its counts in the window.
        state: the verdict on the column.
        shift: the equivalent shift, in standard deviations.
        p_value: the probability of such a change if nothing has changed.
    """
    if state == "insufficient_data":
        return f"{_rows(bins, after):,} rows, {_rows(bins, before):,} in the baseline: too few to judge"
    if state == "stable":
        return f"as in the baseline: a shift of {max(shift, 0.01):.2f} sd is too small to count, or due to chance"
    facts = _facts(bins, before, after) or ["its values are distributed differently"]
    return f"{'; '.join(facts[:_MOST_FACTS])}; {surely(p_value)}"


def _facts(bins: Bins, before: Counters, after: Counters) -> list[str]:
    found = _change("missing", missing_rate(bins, before), missing_rate(bins, after), _RATE_CHANGE)
    if isinstance(bins, NumberBins):
        found += _number_facts(bins, before, after)
    elif isinstance(bins, CategoryBins):
        found += _category_facts(bins, before, after)
    else:
        found += _text_facts(bins, before, after)
    return [fact for _, fact in sorted(found, key=lambda one: -one[0])]


def _number_facts(bins: NumberBins, before: Counters, after: Counters) -> list[_Fact]:
    found: list[_Fact] = []
    old, new = mean_and_deviation(bins, before), mean_and_deviation(bins, after)
    if old is not None and new is not None:
        moved = (new[0] - old[0]) / (old[1] or bins.scale)
        if abs(moved) >= _MEAN_CHANGE:
            way = "up" if moved > 0 else "down"
            found.append((abs(moved), f"mean moved {way} by {abs(moved):.2g} sd ({old[0]:.4g} -> {new[0]:.4g})"))
        if old[1] > 0 and abs(new[1] / old[1] - 1.0) >= _SPREAD_CHANGE:
            ratio = new[1] / old[1]
            found.append((abs(math.log(max(ratio, 1e-3))), f"spread {ratio:.2g} times what it was"))
    edges = bins.edges()
    classes = {
        bins.below: f"below {edges[0]:.4g}, the baseline's minimum,",
        bins.above: f"above {edges[-1]:.4g}, the baseline's maximum,",
        bins.invalid: "not a number",
        bins.infinite[0]: "minus infinity",
        bins.infinite[1]: "infinity",
    }
    found += _changes(classes, bins, before, after, _RATE_CHANGE)
    return found or _largest_class(bins, edges, before, after)


def _largest_class(bins: NumberBins, edges: list[float], before: Counters, after: Counters) -> list[_Fact]:
    part = slice(bins.below + 1, bins.above)
    was, now = (counters[part] / max(1, _rows(bins, counters)) for counters in (before, after))
    index = int(np.argmax(np.abs(now - was)))
    if abs(now[index] - was[index]) < _CLASS_CHANGE:
        return []
    change = f"{percent(float(was[index]))} -> {percent(float(now[index]))}"
    return [(0.0, f"from {edges[index]:.4g} to {edges[index + 1]:.4g}: {change}")]


def mean_and_deviation(bins: NumberBins, counters: Counters) -> tuple[float, float] | None:
    """Return mean and standard deviation in the values' unit, or None without values; infinities count as 64 sd."""
    rows = int(counters[: bins.invalid].sum())
    if not rows:
        return None
    mean = int(counters[bins.classes]) / rows / UNITS
    square = int(counters[bins.classes + 1]) / rows / UNITS**2
    return bins.centre + mean * bins.scale, math.sqrt(max(0.0, square - mean * mean)) * bins.scale


def _category_facts(bins: CategoryBins, before: Counters, after: Counters) -> list[_Fact]:
    labels = {index: f'"{name}"' for index, name in enumerate(bins.named)} | {bins.other: "other values"}
    found = _changes(labels, bins, before, after, _CLASS_CHANGE)
    was, now = unseen_rate(bins, before), unseen_rate(bins, after)
    if now - was >= _RATE_CHANGE:
        name = bins.new_name(after)
        cut = "…" if name and len(name.encode()) >= NAME_BYTES else ""
        known = f'new category "{name}{cut}" {percent(now)}'
        found.append((1.0 + now - was, known if name else f"new categories {percent(was)} -> {percent(now)}"))
    return found


def _text_facts(bins: TextBins, before: Counters, after: Counters) -> list[_Fact]:
    found = _change("unknown words", bins.unknown_share(before), bins.unknown_share(after), _CLASS_CHANGE)
    length, _, vocabulary = bins.blocks
    moved = _largest_class(bins.lengths, bins.lengths.edges(), before[length.part], after[length.part])
    found += [(0.0, f"texts of {fact.removeprefix('from ')}".replace(":", " words:", 1)) for _, fact in moved]
    told = [counters[vocabulary.part] for counters in (before, after)]
    shares = [counters / max(1, int(counters.sum())) for counters in told]
    apart = float(np.abs(shares[1] - shares[0]).sum()) / 2.0
    if apart >= 0.1:
        found.append((apart, f"other words: {percent(apart)} of the words differ from the baseline's"))
    return found


def summarise(columns: Sequence[ColumnDrift], rows: int, least_rows: int) -> str:
    """Return one sentence about all columns.

    Args:
        columns: the result for each column.
        rows: the number of rows in the window.
        least_rows: the number of rows that a judgement needs.
    """
    drifted = sorted((one for one in columns if one.drifted), key=lambda one: -(one.score or 0.0))
    if drifted:
        named = [f"{one.name} ({one.score or 0.0:.2f}: {one.detail.split(';')[0]})" for one in drifted[:_MOST_NAMES]]
        more = f" and {len(drifted) - _MOST_NAMES} more" if len(drifted) > _MOST_NAMES else ""
        return f"{len(drifted)} of {len(columns)} drifted over {rows:,} rows: {', '.join(named)}{more}"
    if all(one.status == "insufficient_data" for one in columns):
        return f"{rows:,} rows are too few to judge: window and baseline need at least {least_rows} each"
    unknown = sum(one.status == "insufficient_data" for one in columns)
    not_all = f" ({unknown} with too few to judge)" if unknown else ""
    return f"none of {len(columns)} drifted over {rows:,} rows{not_all}"
