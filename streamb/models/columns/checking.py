"""The detailed part of the schema check: accepts any rows, and explains each mistake in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from streamb.errors import InvalidFeatures
from streamb.models.columns.exact import large_table, settle_any, whole_table
from streamb.models.columns.tensors import CUT, WrongTensor, check_tensors
from streamb.models.columns.values import MAX_LISTED, Mistake, checked_value, describe, plural, quote, wanted
from streamb.models.dtypes import EXACT
from streamb.models.features import Columns, Feature, FeatureKind, Rows

MAX_PROBLEMS: Final = 20
"""The most problems that one error names."""

_NUMBERS: Final = frozenset({int, float, type(None)})  # None becomes NaN in a table of numbers
_NUMBERS_AND_BOOLEANS: Final = _NUMBERS | {bool}


class _Full(Exception):
    """Raised internally to stop after `MAX_PROBLEMS` messages."""


class _Problems:
    """Collects sentences, at most `MAX_PROBLEMS`."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, sentence: str) -> None:
        self.found.append(sentence)
        if len(self.found) >= MAX_PROBLEMS:
            raise _Full

    def to_error(self) -> InvalidFeatures:
        more = f" (the first {MAX_PROBLEMS} problems; there may be more)" if len(self.found) >= MAX_PROBLEMS else ""
        return InvalidFeatures("; ".join(self.found) + more, problems=self.found)


def check_table(schema: Columns, rows: Any) -> Rows:
    """Check rows that the fast path of `FeatureSchema.check_rows` does not handle."""
    if isinstance(rows, np.ndarray):
        rows = rows.tolist()
    if not isinstance(rows, list | tuple):
        raise _refusal(f"expected a list of rows, got {describe(rows)}")
    if not rows:
        raise InvalidFeatures("there are no rows; send at least one", problems=["there are no rows"])
    if schema.is_open:
        return _check_open(rows)
    if schema.container == "tensor":
        return _check_tensor_rows(schema, rows)
    quick = _check_vectorised(schema, rows)
    return _check_each(schema, rows) if quick is None else quick


def check_whole_tensor(schema: Columns, values: Any) -> NDArray[Any]:
    """Check the tensors of all rows, shape (rows, *shape), of a schema with the container "tensor".

    Raises:
        InvalidFeatures: names the row that does not fit.
    """
    feature = schema.features[0]
    try:
        return check_tensors(feature, values)
    except WrongTensor as error:
        place = f"row {error.row}, column {feature.name!r}: " if error.row is not None else ""
        raise _refusal(f"{place}expected {wanted(feature)}, got {error}") from None


def _refusal(sentence: str) -> InvalidFeatures:
    return InvalidFeatures(sentence, problems=[sentence])


def _check_tensor_rows(schema: Columns, rows: Sequence[Any]) -> Rows:
    problems = _Problems()
    values = []
    try:
        for index, row in enumerate(rows):
            values += _in_order(schema, index, row, problems) or []
    except _Full:
        pass
    if problems.found:
        raise problems.to_error()
    return check_whole_tensor(schema, values)


def _check_each(schema: Columns, rows: Sequence[Any]) -> Rows:
    problems = _Problems()
    table: list[list[Any]] = []
    try:
        for index, row in enumerate(rows):
            values = _in_order(schema, index, row, problems)
            if values is not None:
                table.append(_checked_row(schema, index, values, problems))
        _check_equal_shapes(schema, table, problems)
        _check_ends(schema, table, problems)
    except _Full:
        pass
    if problems.found:
        raise problems.to_error()
    settle_any(schema, table)
    numbers = _as_numbers(schema, table)
    return table if numbers is None else numbers


_ABSENT: Final = object()


def _checked_row(schema: Columns, index: int, values: list[Any], problems: _Problems) -> list[Any]:
    checked = []
    for feature, value in zip(schema.features, values, strict=True):
        try:
            checked.append(None if value is _ABSENT else checked_value(feature, value))
        except Mistake as mistake:
            problems.add(f"row {index}, column {feature.name!r}: {mistake}")
            checked.append(None)
    return checked


def _in_order(schema: Columns, index: int, row: Any, problems: _Problems) -> list[Any] | None:
    """The row's values in column order (`_ABSENT` where a problem is reported); None if its form is invalid."""
    if isinstance(row, Mapping) and (schema.container != "list" or row.keys() == {*schema.names}):
        return _by_name(schema, index, row, problems)
    if schema.container in ("tensor", "list") or (schema.container == "texts" and isinstance(row, str)):
        return [row]
    if isinstance(row, np.ndarray):
        row = row.tolist()
    width = len(schema.features)
    if not isinstance(row, list | tuple):
        hint = "; even a single row is written as a list within the list: [[…]]" if index == 0 else ""
        form = (
            "a text"
            if schema.container == "texts"
            else f"a list of {plural(width, 'value')} or an object by column name"
        )
        problems.add(f"row {index}: expected {form}, got {describe(row)}{hint}")
        return None
    if len(row) != width:
        columns = ", ".join(repr(name) for name in schema.names[:MAX_LISTED])
        more = f", … ({width} in all)" if width > MAX_LISTED else ""
        problems.add(f"row {index}: expected {plural(width, 'value')}, got {len(row)}; the columns are {columns}{more}")
        return None
    return list(row)


def _by_name(schema: Columns, index: int, row: Mapping[Any, Any], problems: _Problems) -> list[Any]:
    for name in row:
        if name not in schema.names:
            problems.add(f"row {index}: unknown column {quote(str(name))}")
    values = []
    for feature in schema.features:
        value = row.get(feature.name, None if feature.optional else _ABSENT)
        if value is _ABSENT:
            problems.add(f"row {index}: missing column {feature.name!r}")
        values.append(value)
    return values


def _check_equal_shapes(schema: Columns, table: list[list[Any]], problems: _Problems) -> None:
    """Report tensors of one name that have different shapes, where all rows become one array."""
    if schema.container != "tensors":
        return
    for column, feature in enumerate(schema.features):
        if None in feature.shape:
            shapes = [np.shape(row[column]) for row in table]
            for index, shape in enumerate(shapes):
                if shape != shapes[0]:
                    problems.add(
                        f"row {index}, column {feature.name!r}: shape {list(shape)} while row 0 has {list(shapes[0])}; "
                        "send them in separate requests"
                    )


def _check_ends(schema: Columns, table: list[list[Any]], problems: _Problems) -> None:
    """Report texts that an array of NumPy would cut: it does not know null characters at an end."""
    for column in schema.cut_columns:
        for index, row in enumerate(table):
            value = row[column]
            if isinstance(value, str) and value.endswith("\0"):
                problems.add(f"row {index}, column {schema.names[column]!r}: {CUT}")


# --- tables of numbers --------------------------------------------------------------------------------------------


def _as_numbers(schema: Columns, table: list[list[Any]]) -> NDArray[Any] | None:
    """The checked values as an array if it holds all of them exactly, of float64 as far as it can; else None."""
    if not schema.is_tabular:
        return None
    if not schema.is_numeric and not all(_NUMBERS_AND_BOOLEANS.issuperset(map(type, row)) for row in table):
        return None
    try:
        numbers = np.array(table, np.float64)
    except OverflowError:
        return None
    if (np.abs(numbers) >= EXACT).any() and any(type(value) is int and abs(value) > EXACT for value in _flat(table)):
        return large_table(schema, table) if schema.is_numeric else whole_table(table)
    return numbers


def _flat(table: list[list[Any]]) -> Any:
    return (value for row in table for value in row)


def _check_vectorised(schema: Columns, rows: Sequence[Any]) -> NDArray[np.float64] | None:
    """Check numeric columns of all rows at once; None if anything needs the detailed check."""
    if not schema.is_tabular or any(feature.kind is FeatureKind.BOOLEAN for feature in schema.features):
        return None
    width = len(schema.features)
    if not all(type(row) is list and len(row) == width and _NUMBERS.issuperset(map(type, row)) for row in rows):
        return None
    try:
        table = np.array(rows, np.float64)
    except OverflowError:
        return None
    return table if schema.bounds.hold(table) else None


# --- rows without a schema ----------------------------------------------------------------------------------------


def _check_open(rows: Sequence[Any]) -> list[list[Any]]:
    """Check rows without a schema: all lists of one length, or all strings, or all objects with the same names."""
    first = rows[0]
    for index, row in enumerate(rows):
        if isinstance(row, list | tuple) and isinstance(first, list | tuple):
            wrong = None if len(row) == len(first) else f"has {plural(len(row), 'value')}, row 0 has {len(first)}"
        elif isinstance(row, Mapping) and isinstance(first, Mapping):
            wrong = None if row.keys() == first.keys() else "has other names than row 0"
        elif isinstance(row, str) and isinstance(first, str):
            wrong = None
        elif isinstance(row, list | tuple | Mapping | str):
            wrong = f"is {describe(row)}, row 0 is {describe(first)}"
        else:
            wrong = f"expected a list of values, got {describe(row)}"
        if wrong is not None:
            raise _refusal(f"row {index}: {wrong}")
    return list(rows)


# --- columns by name ----------------------------------------------------------------------------------------------


def join_columns(schema: Columns, columns: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Convert one array per column name to rows by name.

    Raises:
        InvalidFeatures: the arrays have different numbers of rows, or more than one value per row in a column that has
            one.
    """
    problems = _Problems()
    read = {f.name: _reading(f) for f in schema.features}
    flat: dict[str, list[Any]] = {}
    try:
        for name, tensor in columns.items():
            if tensor.ndim == 2 and tensor.shape[1] == 1 and name not in schema.nested:
                flat[name] = read.get(name, list)(tensor[:, 0].tolist())
            elif tensor.ndim == 1 or (tensor.ndim > 1 and name in schema.nested):
                flat[name] = read.get(name, list)(tensor.tolist())
            else:
                problems.add(
                    f"column {name!r}: expected a tensor of shape [rows] or [rows, 1], got {list(tensor.shape)}"
                )
    except _Full:
        pass
    if not problems.found and len({len(values) for values in flat.values()}) > 1:
        lengths = ", ".join(f"{name!r} has {len(values)}" for name, values in list(flat.items())[:MAX_LISTED])
        problems.found.append(f"the columns have different numbers of rows: {lengths}")
    if not problems.found and not flat:
        problems.found.append("there are no columns")
    if problems.found:
        raise problems.to_error()
    return [dict(zip(flat, values, strict=True)) for values in zip(*flat.values(), strict=True)]


def _reading(feature: Feature) -> Callable[[list[Any]], list[Any]]:
    """How the elements of a column's tensor are read: what a tensor of texts carries as JSON texts become values."""
    if feature.kind is FeatureKind.LIST:
        return lambda values: [_from_text(value, lambda found: type(found) is list) for value in values]
    if feature.kind is FeatureKind.CATEGORY and {str} < set(map(type, feature.categories)):
        levels = feature.categories
        return lambda values: [value if value in levels else _from_text(value, levels.__contains__) for value in values]
    return list


def _from_text(value: Any, is_wanted: Callable[[Any], bool]) -> Any:
    """A value from its JSON text, if it is a wanted one; anything else is returned unchanged."""
    if type(value) is not str:
        return value
    try:
        found = orjson.loads(value)
    except ValueError:
        return value
    return found if is_wanted(found) else value
