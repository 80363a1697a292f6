"""Learns a baseline's columns: the classes and counters of each, and the joint counters of several columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput, StreambError
from streamb.monitoring.profiles.category_bins import LEAST_OF_ALL, CategoryBins
from streamb.monitoring.profiles.column import Column, Role
from streamb.monitoring.profiles.counting import ROWS, Counting
from streamb.monitoring.profiles.halves import first_half
from streamb.monitoring.profiles.joint import LEAST_COLUMNS, MOST_COLUMNS, Joint
from streamb.monitoring.profiles.number_bins import NumberBins
from streamb.monitoring.profiles.number_block import NumberBlock
from streamb.monitoring.profiles.text_bins import TextBins
from streamb.monitoring.profiles.values import column_kind, name_counts, plain_array, to_numbers, to_texts

Counters = NDArray[np.int64]
Named = Mapping[str, Any]

_VARYING: Final = 2
"""The least number of bins with which a numeric column takes part in the joint counters."""

_MOST_ROWS: Final = 50_000
"""The most rows for the joint counters; of a larger baseline, they count every second, third, … row."""


def learn_columns(features: Named, outputs: Named) -> tuple[tuple[Column, ...], Joint | None, Counters]:
    """Return the columns, their joint counting (None if there is none), and the baseline's own counters.

    Raises:
        InvalidInput: a column cannot be read; the message names it.
    """
    learned: list[tuple[Column, Any]] = []
    roles: tuple[tuple[Role, Named], ...] = (("feature", features), ("output", outputs))
    for role, named in roles:
        for name, values in named.items():
            try:
                learned.append(_learn_column(name, role, values))
            except (StreambError, TypeError, ValueError) as error:
                raise InvalidInput(f"column {name!r} cannot be read: {error}") from error
    columns = tuple(column for column, _ in learned)
    joint, together = _learn_joint(learned, len(features))
    counting = Counting(columns, None)
    counters = np.zeros(counting.size, np.int64)
    counters[ROWS] = len(next(iter(features.values())))
    numbers: dict[int, tuple[NDArray[np.float64], int]] = {}
    for place, (start, (column, found)) in enumerate(zip(counting.starts, learned, strict=True)):
        if column.kind == "number":
            numbers[place] = found
        else:
            counters[start : start + found.size] = found
    strange = {place: rows for place, (_, rows) in numbers.items()}
    counting.count_numbers(list(numbers), [values for values, _ in numbers.values()], strange, counters)
    return columns, joint, np.concatenate([counters, together])


def _learn_column(name: str, role: Role, values: Any) -> tuple[Column, Any]:
    """Return the column and, for numbers, the values and how many are not numbers; else its counters."""
    kind = column_kind(values)
    if kind == "number":
        numbers, strange = to_numbers(values)
        return Column(name, role, NumberBins.learn(numbers)), (numbers, strange)
    if kind == "text":
        texts, counters = TextBins.learn(to_texts(values))
        return Column(name, role, texts), counters
    counts, missing = name_counts(values)
    bins = CategoryBins.learn(counts, LEAST_OF_ALL)
    if len(bins.named) < len(counts):
        array = plain_array(values)
        first = first_half(len(array))
        bins = CategoryBins.learn(name_counts(array[first])[0])
        counts, missing = name_counts(array[~first])
    return Column(name, role, bins), bins.count(counts, missing)


def _learn_joint(learned: Sequence[tuple[Column, Any]], features: int) -> tuple[Joint | None, Counters]:
    members = [
        place
        for place, (column, _) in enumerate(learned[:features])
        if isinstance(column.bins, NumberBins) and len(column.bins.starts) >= _VARYING
    ][:MOST_COLUMNS]
    if len(members) < LEAST_COLUMNS:
        return None, np.zeros(0, np.int64)
    bins = [one for place in members if isinstance(one := learned[place][0].bins, NumberBins)]
    values = [learned[place][1][0] for place in members]
    step = -(-len(values[0]) // _MOST_ROWS)
    classes = NumberBlock(bins, None, []).classes([column[::step] for column in values])
    return Joint.learn(members, bins, classes)
