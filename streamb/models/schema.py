"""The feature schema: names, kinds and ranges of a model's input, and the check of rows against it.

A gateway checks every request here, so a list of plain numbers takes a short path of a few microseconds; anything else
(names, text, limits, mistakes) goes to `checking`, which explains. Only numpy is imported; pandas comes in when a
DataFrame does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidFeatures, InvalidInput
from streamb.models.columns.casting import as_floats, cast_numbers
from streamb.models.columns.checking import check_table, check_whole_tensor, join_columns
from streamb.models.columns.containers import fill_container
from streamb.models.columns.exact import fits, refuse_rounding
from streamb.models.columns.learning import learn_columns
from streamb.models.dtypes import BFLOAT16, numpy_dtype
from streamb.models.features import Columns, Feature, FeatureKind, Rows

__all__ = ["Feature", "FeatureKind", "FeatureSchema", "Rows"]


def _not_exact() -> Any:
    raise KeyError


_NUMBER_TYPES: Final = frozenset({int, float})


@dataclass(frozen=True)
class FeatureSchema(Columns):
    """The input of a model: its columns in order, and the container that its `predict` takes.

    A schema without features is open: it accepts any rectangular rows (see `is_open`).

    >>> schema = FeatureSchema((Feature("age"), Feature("height")))
    >>> schema.check_rows([[41, 1.75], {"height": 1.6, "age": 30}])
    array([[41.  ,  1.75],
           [30.  ,  1.6 ]])
    >>> schema.check_rows([[41, "tall"]])
    Traceback (most recent call last):
    ...
    streamb.errors.InvalidFeatures: row 0, column 'height': expected a number, got the string 'tall'
    """

    @cached_property
    def _plain(self) -> bool:
        """Whether every column accepts any finite number that its type holds."""
        return self.is_tabular and all(
            f.kind in (FeatureKind.NUMBER, FeatureKind.ANY) and f.minimum is None and f.maximum is None
            for f in self.features
        )

    @cached_property
    def _is_narrow(self) -> bool:
        """Whether a finite float64 may be beyond a column's type, or change when a float64 carries it."""
        return any(np.isfinite(self.bounds.high) | self.bounds.exact)

    @cached_property
    def _own_type(self) -> object:
        """The NumPy type in which the model gets a table of numbers, where it needs no cast; else an empty text."""
        if self.number_type == BFLOAT16 or not self.is_numeric or self.container not in ("array", "frame"):
            return ""  # not None: NumPy takes that for float64
        return numpy_dtype(self.number_type or "float64")

    @cached_property
    def _is_floats(self) -> bool:
        """Whether the model takes an array of float64, so that a table of numbers needs no conversion."""
        return self.is_tabular and self.container == "array" and {f.dtype for f in self.features} <= {"", "float64"}

    @cached_property
    def _values_by_name(self) -> Callable[[dict[str, Any]], Any]:
        return itemgetter(*self.names) if len(self.names) > 1 else lambda row: (row[self.names[0]],)

    @classmethod
    def open(cls) -> FeatureSchema:
        """Return the schema that accepts any rectangular rows."""
        return cls(())

    @classmethod
    def numbers(cls, count: int, dtype: str = "") -> FeatureSchema:
        """Return a schema of `count` numbers, named x0, x1, … as in scikit-learn.

        Args:
            count: the number of columns.
            dtype: their type; by default float64.
        """
        return cls(tuple(Feature(f"x{index}", dtype=dtype) for index in range(count)))

    @classmethod
    def texts(cls) -> FeatureSchema:
        """Return the schema of one text per row; the model takes a list of strings."""
        return cls((Feature("text", FeatureKind.TEXT),), "texts")

    @classmethod
    def learn(cls, X: Any) -> FeatureSchema:  # noqa: N803 - the ecosystem's name
        """Learn the schema of an example: names, kinds, types, levels, zones, shapes, and where values are missing.

        Args:
            X: rows in the form that the model takes: a DataFrame, an array or torch tensor whose first axis is the
                rows, a dict of those by name, a list of rows (lists of values, dicts, texts), or a sparse matrix.

        Raises:
            InvalidInput: a column's values have a type that no request can carry, such as durations; two columns have
                one name; or there are no rows or columns.
        """
        return cls(*learn_columns(X))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; an open schema is `{}`."""
        if self.is_open:
            return {}
        return {"container": self.container, "features": [feature.to_json() for feature in self.features]}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> FeatureSchema:
        """Read the JSON form; `{}` is the open schema.

        Raises:
            InvalidInput: it is not a schema.
        """
        if not isinstance(body, Mapping) or not isinstance(body.get("features", []), list):
            raise InvalidInput("a feature schema is an object with 'container' and a list of 'features'")
        features = tuple(Feature.from_json(item) for item in body.get("features", []))
        return cls(features, body.get("container", "array"))

    def check_rows(self, rows: Sequence[Any]) -> Rows:
        """Check the rows of a request: each a list in column order, or an object by column name.

        Returns:
            shape (rows, features) where every column is numeric, in the type of all columns if they share one that
            holds every number exactly, else float64 (a missing value is NaN, a boolean 0 or 1); an array of shape
            (rows, …) in its own type for one tensor; else a list of rows, each a list of values in column order
            (missing: None; a datetime: the number of its unit since 1970, in UTC if it has a zone).

        Raises:
            InvalidFeatures: names every problem by row and column, up to 20.
        """
        if type(rows) is list and rows and type(rows[0]) is dict:
            rows = self._in_column_order(rows)
        if self._plain and type(rows) is list and rows:
            width = len(self.features)
            try:
                for row in rows:
                    if (
                        type(row) is not list
                        or len(row) != width
                        or not _NUMBER_TYPES.issuperset(map(type, row))  # exact types: True is not a number here
                        or not math.isfinite(sum(row))  # a sum that overflows is looked at again, slowly
                    ):
                        return self._checked(rows)
                table = np.array(rows, np.float64)
            except OverflowError:  # an integer that no float can hold
                return self._checked(rows)
            if not self._is_narrow or self.bounds.hold(table):
                return table if self._is_floats else self._typed(table)
        return self._checked(rows)

    def _checked(self, rows: Any) -> Rows:
        """Check rows slowly, and explain what is wrong."""
        found = check_table(self, rows)
        return self._typed(found) if isinstance(found, np.ndarray) else found

    def _typed(self, table: NDArray[Any]) -> NDArray[Any]:
        """A checked table in the type of its columns, so that it does not depend on the rows that are joined to it."""
        return cast_numbers(table, self.number_type) if self.number_type else table

    def _in_column_order(self, rows: list[dict[str, Any]]) -> list[Any]:
        """Rows by name as lists, if each has exactly the columns; else unchanged."""
        width, values = len(self.features), self._values_by_name
        if not width or self.container in ("tensor", "list"):
            return rows
        try:
            return [list(values(row)) if type(row) is dict and len(row) == width else _not_exact() for row in rows]
        except KeyError:
            return rows

    def check_array(self, values: NDArray[Any] | Mapping[str, NDArray[Any]]) -> Rows:
        """Check a tensor of shape (rows, features), or one of shape (rows,), (rows, 1) or (rows, *shape) per column.

        Returns:
            the same as `check_rows`.

        Raises:
            InvalidFeatures: a wrong shape or type, a number that is not finite in a column that is not optional, a
                whole number that a column of floats would round.
        """
        if isinstance(values, Mapping):
            return self._check_columns(values)
        if self.container == "tensor":
            refuse_rounding(self, {self.names[0]: values})
            return check_whole_tensor(self, values)
        if self.container == "tensors" and len(self.features) == 1:
            return self._check_columns({self.names[0]: values})
        if values.ndim == 1 and len(self.features) == 1:
            values = values.reshape(-1, 1)
        if values.ndim == 2 and values.shape[1] == len(self.features) and values.size:
            found = self._check_numbers(values)
            if found is not None:
                return found
        if values.ndim < 2 and not self.is_open and self.container != "list":
            raise InvalidFeatures(
                f"expected a tensor of shape [rows, {len(self.features)}], got {list(values.shape)}",
                problems=[f"shape {list(values.shape)}"],
            )
        return self._checked(values.tolist())

    def _check_numbers(self, values: NDArray[Any]) -> Rows | None:
        """Check an array of the right shape at once; None if it needs a look at each value."""
        kind = values.dtype.kind
        if kind in "iu" and not fits(values, self.exact_up_to):
            refuse_rounding(self, dict(zip(self.names, values.T, strict=True)))
        if not self._plain or kind not in "iuf":
            return None
        if values.dtype == self._own_type and (kind != "f" or np.isfinite(values).all()):
            return values
        numbers = np.asarray(values, np.float64)
        if np.isfinite(numbers).all() and (not self._is_narrow or self.bounds.hold(numbers)):
            return self._typed(numbers)
        return None

    def _check_columns(self, columns: Mapping[str, NDArray[Any]]) -> Rows:
        """Check one array per column."""
        if self.exact_up_to < 2**64:
            refuse_rounding(self, columns)
        is_table = self.is_numeric and self.container in ("array", "frame") and columns.keys() == set(self.names)
        if is_table and all(column.ndim == 1 and column.dtype.kind in "iuf" for column in columns.values()):
            ordered = [columns[name] for name in self.names]
            if len({column.dtype for column in ordered}) > 1:
                ordered = [as_floats(column) for column in ordered]
            if len({column.dtype for column in ordered} | {len(column) for column in ordered}) == 2:
                return self.check_array(np.column_stack(ordered))
        return self._checked(join_columns(self, columns))

    def to_input(self, rows: Rows) -> Any:
        """Return the input for the model's `predict`, in its container and types, from the result of `check_rows`."""
        if self._is_floats and isinstance(rows, np.ndarray):
            return rows
        return fill_container(self, rows)
