"""A table seen without a baseline, column by column: what bins for a baseline can be chosen from."""

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
"""Further columns are not looked at."""

_Columns: TypeAlias = list[NDArray[np.float64] | Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Sketch:
    """What a table held, column by column; how columns go together is not kept.

    Attributes:
        names: of the columns, features first, then outputs.
        rows: how many.
        columns: one sketch for each name.
    """

    names: tuple[str, ...]
    rows: int
    columns: tuple[ColumnSketch, ...]

    @classmethod
    def of(cls, rows: Any, predictions: Any, names: Sequence[str] | None = None) -> Sketch:
        """The sketch of some rows with their predictions.

        Args:
            rows: shape (n, features), or a list of rows, each a list of JSON values.
            predictions: shape (n,) or (n, outputs).
            names: of the features; by default x0, x1, …

        Raises:
            InvalidInput: the rows are no table, or `names` are of another table.
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
        """Both together. Of two tables with different columns, the one with more rows."""
        if self.names != other.names:
            return max(self, other, key=lambda one: (one.rows, one.names))
        columns = tuple(mine.plus(theirs) for mine, theirs in zip(self.columns, other.columns, strict=True))
        return Sketch(self.names, self.rows + other.rows, columns)

    __add__ = plus

    def table(self, rows: int = 2_000) -> dict[str, list[Any]]:
        """A table of so many rows whose columns are distributed as those seen, each shuffled for itself.

        To learn bins from, not a baseline: columns that belong together are independent here. Learn a baseline's bins,
        then let it count a window of live rows (`Baseline.relearn`).
        """
        found: dict[str, list[Any]] = {}
        for place, (name, column) in enumerate(zip(self.names, self.columns, strict=True)):
            values = column.values(rows)
            order = np.random.default_rng(place).permutation(rows).tolist()
            found[name] = [values[one] for one in order]
        return found

    def to_bytes(self) -> bytes:
        """As bytes; `from_bytes` reads them."""
        return zlib.compress(msgpack.packb([self.names, self.rows, [column.to_plain() for column in self.columns]]), 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> Sketch:
        """Read what `to_bytes` wrote.

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
