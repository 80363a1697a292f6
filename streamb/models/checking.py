"""The detailed part of the schema check: accepts any rows, and explains each mistake in a sentence."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidFeatures
from streamb.models.features import Columns, Feature, FeatureKind, Rows

MAX_PROBLEMS: Final = 20
"""The most problems that one error names."""

_MAX_QUOTED: Final = 40
_MAX_LISTED: Final = 10
_VECTOR_ROWS: Final = 8  # below this, looking at each value is as fast as building the limits as arrays
_WANTED: Final = {
    FeatureKind.NUMBER: "a number",
    FeatureKind.INTEGER: "a whole number",
    FeatureKind.BOOLEAN: "true or false",
    FeatureKind.CATEGORY: "a category (a string)",
    FeatureKind.TEXT: "a text (a string)",
    FeatureKind.DATETIME: "a date and time (a string such as 2024-01-31T12:00:00)",
    FeatureKind.TENSOR: "a tensor (nested lists of numbers)",
    FeatureKind.LIST: "a list",
    FeatureKind.ANY: "a value",
}
_EXACT_FLOAT_LIMIT: Final = 2**53  # whole numbers beyond it change when carried as a float


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
        sentence = f"expected a list of rows, got {describe(rows)}"
        raise InvalidFeatures(sentence, problems=[sentence])
    if not rows:
        raise InvalidFeatures("there are no rows; send at least one", problems=["there are no rows"])
    if schema.is_open:
        return _check_open(rows)
    quick = _check_vectorised(schema, rows)
    return _check_each(schema, rows) if quick is None else quick


def _check_each(schema: Columns, rows: Sequence[Any]) -> Rows:
    problems = _Problems()
    table: list[list[Any]] = []
    try:
        for index, row in enumerate(rows):
            values = _in_order(schema, index, row, problems)
            if values is not None:
                table.append(
                    [
                        _check_value(index, feature, value, problems)
                        for feature, value in zip(schema.features, values, strict=True)
                    ]
                )
    except _Full:
        pass
    if problems.found:
        raise problems.to_error()
    return np.array(table, np.float64) if schema.is_numeric else table


_ABSENT: Final = object()


def _in_order(schema: Columns, index: int, row: Any, problems: _Problems) -> list[Any] | None:
    """The row's values in column order (`_ABSENT` where a problem is reported); None if its form is invalid."""
    width = len(schema.features)
    if isinstance(row, Mapping):
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
    if schema.container == "texts" and isinstance(row, str):
        return [row]
    if isinstance(row, np.ndarray):
        row = row.tolist()
    if not isinstance(row, list | tuple):
        hint = "; even a single row is written as a list within the list: [[…]]" if index == 0 else ""
        wanted = (
            "a text"
            if schema.container == "texts"
            else f"a list of {plural(width, 'value')} or an object by column name"
        )
        problems.add(f"row {index}: expected {wanted}, got {describe(row)}{hint}")
        return None
    if len(row) != width:
        columns = ", ".join(repr(name) for name in schema.names[:_MAX_LISTED])
        more = f", … ({width} in all)" if width > _MAX_LISTED else ""
        problems.add(f"row {index}: expected {plural(width, 'value')}, got {len(row)}; the columns are {columns}{more}")
        return None
    return list(row)


def _check_value(index: int, feature: Feature, value: Any, problems: _Problems) -> Any:
    """The value as the model gets it, or None after its problem is reported."""
    if value is _ABSENT:
        return None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        if not feature.nullable:
            problems.add(
                f"row {index}, column {feature.name!r}: expected {_WANTED[feature.kind]}, got {describe(value)}"
            )
        return math.nan if feature.kind is FeatureKind.NUMBER else None
    if feature.kind in (FeatureKind.DATETIME, FeatureKind.TENSOR, FeatureKind.LIST, FeatureKind.ANY):
        return value
    if feature.kind in (FeatureKind.CATEGORY, FeatureKind.TEXT):
        wrong = _wrong_string(feature, value)
    elif feature.kind is FeatureKind.BOOLEAN:
        is_boolean = isinstance(value, bool | np.bool_) or (_is_number(value) and value in (0, 1))
        wrong = None if is_boolean else f"expected {_WANTED[feature.kind]}, got {describe(value)}"
    else:
        wrong = _wrong_number(feature, value)
    if wrong is not None:
        problems.add(f"row {index}, column {feature.name!r}: {wrong}")
        return None
    if feature.kind is FeatureKind.NUMBER:
        return float(value)
    if feature.kind is FeatureKind.INTEGER:
        return int(value)
    return bool(value) if feature.kind is FeatureKind.BOOLEAN else value


def _wrong_string(feature: Feature, value: Any) -> str | None:
    if not isinstance(value, str):
        return f"expected {_WANTED[feature.kind]}, got {describe(value)}"
    if feature.categories and value not in feature.categories:
        known = ", ".join(repr(item) for item in feature.categories[:_MAX_LISTED])
        more = f", … ({len(feature.categories)} in all)" if len(feature.categories) > _MAX_LISTED else ""
        return f"{quote(value)} is not one of {known}{more}"
    return None


def _wrong_number(feature: Feature, value: Any) -> str | None:
    if not _is_number(value):
        return f"expected {_WANTED[feature.kind]}, got {describe(value)}"
    try:
        number = float(value)
    except OverflowError:
        return "the number is too large for a 64-bit float"
    if not math.isfinite(number):
        return f"expected {_WANTED[feature.kind]}, got {describe(number)}"
    if feature.kind is FeatureKind.INTEGER and not number.is_integer():
        return f"expected a whole number, got {value}"
    if feature.kind is FeatureKind.INTEGER and abs(number) > _EXACT_FLOAT_LIMIT:
        return f"the whole number {value} is beyond ±2**53"
    if feature.minimum is not None and number < feature.minimum:
        return f"{value} is below the minimum {feature.minimum:g}"
    if feature.maximum is not None and number > feature.maximum:
        return f"{value} is above the maximum {feature.maximum:g}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check_vectorised(schema: Columns, rows: Sequence[Any]) -> NDArray[np.float64] | None:
    """Check numeric columns of many rows at once; None if anything needs the detailed check."""
    kinds = {feature.kind for feature in schema.features}
    if len(rows) < _VECTOR_ROWS or not kinds <= {FeatureKind.NUMBER, FeatureKind.INTEGER}:
        return None
    width = len(schema.features)
    types = {int, float, type(None)}  # None becomes NaN below
    if not all(type(row) is list and len(row) == width and types.issuperset(map(type, row)) for row in rows):
        return None
    try:
        table = np.array(rows, np.float64)
    except OverflowError:
        return None
    missing = np.isnan(table)
    required = np.array([not feature.nullable for feature in schema.features])
    whole = np.array([feature.kind is FeatureKind.INTEGER for feature in schema.features])
    low = np.array([-np.inf if f.minimum is None else f.minimum for f in schema.features])
    high = np.array([np.inf if f.maximum is None else f.maximum for f in schema.features])
    wrong = np.isinf(table) | (missing & required) | (table < low) | (table > high)
    counts = table[:, whole]
    uneven = ~np.isnan(counts) & ((counts != np.trunc(counts)) | (np.abs(counts) > _EXACT_FLOAT_LIMIT))
    return None if wrong.any() or uneven.any() else table


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
            raise InvalidFeatures(f"row {index}: {wrong}", problems=[f"row {index}: {wrong}"])
    return list(rows)


def join_columns(columns: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Convert one tensor per column name to rows by name.

    Raises:
        InvalidFeatures: the tensors have different numbers of rows, or more than one value per row.
    """
    problems = _Problems()
    flat: dict[str, list[Any]] = {}
    try:
        for name, tensor in columns.items():
            if tensor.ndim == 2 and tensor.shape[1] == 1:
                flat[name] = tensor[:, 0].tolist()
            elif tensor.ndim == 1:
                flat[name] = tensor.tolist()
            else:
                problems.add(
                    f"column {name!r}: expected a tensor of shape [rows] or [rows, 1], got {list(tensor.shape)}"
                )
    except _Full:
        pass
    if not problems.found and len({len(values) for values in flat.values()}) > 1:
        lengths = ", ".join(f"{name!r} has {len(values)}" for name, values in list(flat.items())[:_MAX_LISTED])
        problems.found.append(f"the columns have different numbers of rows: {lengths}")
    if not flat and not problems.found:
        problems.found.append("there are no columns")
    if problems.found:
        raise problems.to_error()
    return [dict(zip(flat, values, strict=True)) for values in zip(*flat.values(), strict=True)]


def quote(text: str) -> str:
    """Return the text in quotes, shortened if it is long."""
    return repr(text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 1] + "…")


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 value`, `2 values`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def describe(value: Any) -> str:
    """Describe a JSON value for messages.

    >>> describe("abc"), describe(True), describe(None), describe([1]), describe(float("nan"))
    ("the string 'abc'", 'the boolean true', 'null', 'a list', 'NaN')
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"the string {quote(value)}"
    if isinstance(value, bool | np.bool_):
        return f"the boolean {str(bool(value)).lower()}"
    if isinstance(value, numbers.Real):
        if isinstance(value, float) and not math.isfinite(value):
            return "NaN" if math.isnan(value) else ("infinity" if value > 0 else "-infinity")
        return f"the number {str(value)[:_MAX_QUOTED]}"
    if isinstance(value, list | tuple):
        return "a list"
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"
