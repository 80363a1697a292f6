"""A sketch of a table without a baseline, column by column, from which bins for a baseline can be chosen."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgpack
import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.monitoring.profiles.column import OUTPUT
from streamb.monitoring.profiles.sketch_column import ColumnSketch

MOST_COLUMNS: Final = 256
"""The most columns of a sketch; further ones are ignored."""

_Columns: TypeAlias = list[NDArray[np.float64] | Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Sketch:
    """A summary of a table, column by column, without the relations between columns.

    Attributes:
        names: the names of the columns, features first, then outputs.
        rows: the number of rows.
        columns: one sketch for each name.
    """

    names: tuple[str, ...]
    rows: int
    columns: tuple[ColumnSketch, ...]

    @classmethod
    def of(cls, rows: Any, predictions: Any, names: Sequence[str] | None = None) -> Sketch:
        """Return the sketch of some rows with their predictions.

        Args:
            rows: an array of shape (n, features), or a list of rows, each a list of JSON values.
            predictions: the answers, shape (n,) or (n, outputs).
            names: the names of the features; by default x0, x1, …

        Raises:
            InvalidInput: the rows do not form a table, or the number of names is wrong.
        """
        count = len(predictions)
        if len(rows) != count:
            raise InvalidInput(f"{count} predictions for {len(rows)} rows; there is one for each row")
        (width, features), (answers, outputs) = _columns_of(rows), _columns_of(predictions)
        if names is not None and len(names) != width:
            raise InvalidInput(f"the rows have {width} columns; there are {len(names)} features")
        given = names if names is not None else [f"x{place}" for place in range(len(features))]
        several = [OUTPUT] if answers == 1 else [f"{OUTPUT}.{place}" for place in range(len(outputs))]
        found = tuple(
            ColumnSketch.of_numbers(values) if isinstance(values, np.ndarray) else ColumnSketch.of_values(values)
            for values in (*features, *outputs)
        )
        return cls((*given[: len(features)], *several), count, found)

    def plus(self, other: Sketch) -> Sketch:
        """Return the sketch of both tables; if their columns differ, the sketch with more rows."""
        if self.names != other.names:
            return max(self, other, key=lambda one: (one.rows, one.names))
        columns = tuple(mine.plus(theirs) for mine, theirs in zip(self.columns, other.columns, strict=True))
        return Sketch(self.names, self.rows + other.rows, columns)

    __add__ = plus

    def table(self, rows: int = 2_000) -> dict[str, list[Any]]:
        """Return an artificial table of so many rows whose columns are distributed as in the data, each shuffled.

        Use it to learn bins, not a baseline, since correlated columns are independent here. Learn a baseline's bins,
        then let it count a window of live rows (`Baseline.relearn`).
        """
        found: dict[str, list[Any]] = {}
        for place, (name, column) in enumerate(zip(self.names, self.columns, strict=True)):
            values = column.values(rows)
            order = np.random.default_rng(place).permutation(rows).tolist()
            found[name] = [values[one] for one in order]
        return found

    def to_bytes(self) -> bytes:
        """Return the sketch as bytes, for `from_bytes`."""
        return zlib.compress(msgpack.packb([self.names, self.rows, [column.to_plain() for column in self.columns]]), 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> Sketch:
        """Return the sketch from the result of `to_bytes`.

        Raises:
            InvalidInput: the bytes are damaged.
        """
        try:
            names, rows, columns = msgpack.unpackb(zlib.decompress(data))
            return cls(tuple(names), int(rows), tuple(ColumnSketch.from_plain(one) for one in columns))
        except (ValueError, TypeError, IndexError, zlib.error) as error:
            raise InvalidInput(f"this sketch is damaged: {error}") from error


def _columns_of(table: Any) -> tuple[int, _Columns]:
    """How many columns an array or a list of rows has, and the first `MOST_COLUMNS` of them.

    Raises:
        InvalidInput: rows are of different lengths, or no lists.
    """
    if isinstance(table, np.ndarray) and table.dtype.kind in "biuf":
        wide = table.reshape(len(table), -1)
        return wide.shape[1], list(wide[:, :MOST_COLUMNS].T.astype(np.float64))
    listed = table.tolist() if isinstance(table, np.ndarray) else table
    if listed and not isinstance(listed[0], (list, tuple)):
        listed = [[value] for value in listed]
    try:
        columns: _Columns = [list(column) for column in zip(*listed, strict=True)]
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"these rows do not form a table: {error}") from error
    return len(columns), columns[:MOST_COLUMNS]
