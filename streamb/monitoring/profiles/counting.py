"""Counts a table: the layout of the counters of all columns, and how each kind of column is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.monitoring.profiles.category_bins import CategoryBins
from streamb.monitoring.profiles.column import Column
from streamb.monitoring.profiles.joint import Joint
from streamb.monitoring.profiles.number_bins import NumberBins
from streamb.monitoring.profiles.number_block import NumberBlock
from streamb.monitoring.profiles.tables import matched_columns, output_columns
from streamb.monitoring.profiles.text_bins import TextBins
from streamb.monitoring.profiles.values import is_frame, name_counts, to_numbers, to_texts

ROWS: Final = 0
"""The first counter counts rows."""


class Counting:
    """Counts tables for one baseline, with the layout of the counters and look-up tables.

    Args:
        columns: features first, then outputs.
        joint: the joint counters of several columns; None: there are none.

    Attributes:
        starts: the index of each column's first counter.
        joint_start: the index of the first joint counter.
        size: the number of counters.
    """

    def __init__(self, columns: Sequence[Column], joint: Joint | None) -> None:
        self._columns = tuple(columns)
        self._features = tuple(column.name for column in columns if column.role == "feature")
        self._outputs = tuple(column.name for column in columns if column.role == "output")
        self._joint = joint
        ends = np.cumsum([1, *(column.bins.size for column in columns)]).tolist()
        self.starts: tuple[int, ...] = tuple(ends[:-1])
        self.joint_start: int = ends[-1]
        self.size: int = ends[-1] + (joint.size if joint else 0)
        self._blocks: dict[int, tuple[list[int], NumberBlock]] = {}

    def count(self, data: Any, predictions: Any, names: Sequence[str] | None) -> NDArray[np.int64]:
        """Return the counters of a table; the arguments are those of `Baseline.fold`."""
        counters = np.zeros(self.size, np.int64)
        features = self._matrix(data, names)
        values = matched_columns(data, self._features, names) if features is None else features
        rows = len(values[0]) if len(values) else 0
        counters[ROWS] = rows
        if features is None:
            self._count_columns(list(range(len(values))), values, counters)
        else:
            self.count_numbers(list(range(len(features))), features, {}, counters)
        self._count_outputs(predictions, rows, counters)
        return counters

    def _matrix(self, data: Any, names: Sequence[str] | None) -> NDArray[np.float64] | None:
        """The short way for tables of nothing but numbers, shape (features, rows); None where it cannot be taken."""
        if names is not None and tuple(names) != self._features:
            return None
        if any(column.kind != "number" for column in self._columns[: len(self._features)]):
            return None
        table: Any = data
        if is_frame(data):
            if tuple(map(str, data.columns)) != self._features or len(set(data.dtypes)) != 1:
                return None
            table = data.to_numpy() if data.dtypes.iloc[0] == np.float64 else None
        elif isinstance(data, list) and data and type(data[0]) is list:
            try:
                table = np.array(data, np.float64)
            except (TypeError, ValueError, OverflowError):
                return None
        if not isinstance(table, np.ndarray) or table.ndim != 2 or table.dtype.kind not in "biuf":
            return None
        return np.asarray(table, np.float64).T if table.shape[1] == len(self._features) else None

    def _count_outputs(self, predictions: Any, rows: int, counters: NDArray[np.int64]) -> None:
        if predictions is None or not self._outputs:
            return
        outputs = output_columns(predictions)
        if tuple(outputs) != self._outputs:
            raise InvalidInput(
                f"the model has answered {len(outputs)} values a row; its baseline has {len(self._outputs)}: "
                "make a new baseline for this version"
            )
        if any(len(values) != rows for values in outputs.values()):
            found = len(next(iter(outputs.values())))
            raise InvalidInput(f"{found} predictions for {rows} rows; give one for each row")
        first = len(self._features)
        self._count_columns(list(range(first, first + len(outputs))), list(outputs.values()), counters)

    def _count_columns(self, places: list[int], values: Any, counters: NDArray[np.int64]) -> None:
        numbers: list[int] = []
        arrays: list[NDArray[np.float64]] = []
        strange: dict[int, int] = {}
        for place, column_values in zip(places, values, strict=True):
            bins, start = self._columns[place].bins, self.starts[place]
            if isinstance(bins, NumberBins):
                array, strange[place] = to_numbers(column_values)
                numbers.append(place)
                arrays.append(array)
            elif isinstance(bins, CategoryBins):
                counters[start : start + bins.size] += bins.count(*name_counts(column_values))
            elif isinstance(bins, TextBins):
                counters[start : start + bins.size] += bins.count(to_texts(column_values))
        self.count_numbers(numbers, arrays, strange, counters)

    def count_numbers(
        self, places: list[int], values: Any, strange: Mapping[int, int], counters: NDArray[np.int64]
    ) -> None:
        """Add numeric columns to the counters of a table.

        Args:
            places: the indices of the columns.
            values: their values, each of shape (rows,), or one array of shape (columns, rows).
            strange: by column, how many values are NaN because they are not numbers.
            counters: the table's counters, which are changed in place.
        """
        if not places:
            return
        block = self._block(places)
        counted, together = block.count(values)
        for place, found in zip(places, counted, strict=True):
            counters[self.starts[place] : self.starts[place] + found.size] += found
        if together is not None:
            counters[self.joint_start :] += together
        for place, rows in strange.items():
            bins, start = self._columns[place].bins, self.starts[place]
            if isinstance(bins, NumberBins):  # they were counted as missing, being NaN
                counters[start + bins.missing] -= rows
                counters[start + bins.invalid] += rows

    def _block(self, places: list[int]) -> NumberBlock:
        """The tables of these columns of numbers; built when first needed, for features and for outputs."""
        key = places[0]
        if key not in self._blocks or self._blocks[key][0] != places:
            bins = [self._columns[place].bins for place in places]
            with_joint = self._joint is not None and places[0] < len(self._features)
            members = [places.index(member) for member in self._joint.members] if with_joint and self._joint else []
            block = NumberBlock(
                [one for one in bins if isinstance(one, NumberBins)], self._joint if with_joint else None, members
            )
            self._blocks[key] = (places, block)
        return self._blocks[key][1]
