"""Converts tables (data frames, arrays, rows, texts) into columns in the order of a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidFeatures, InvalidInput
from streamb.monitoring.profiles.column import OUTPUT
from streamb.monitoring.profiles.values import is_frame

TEXT: Final = "text"
_MOST_NAMED: Final = 20


def named_columns(data: Any) -> dict[str, Any]:
    """Return the columns, by name, of a table from which a baseline is learned.

    Args:
        data: a DataFrame, an ndarray of shape (rows, columns) or (rows,), a mapping from names to values, or a list of
            dicts, of rows or of texts. Columns without names are called x0, x1, …, a single one of texts "text".

    Raises:
        InvalidInput: `data` is of another type, has no columns, or has columns of different lengths.
    """
    columns = _named_columns(data)
    if not columns:
        raise InvalidInput("a baseline needs at least one column")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name!r}: {length}" for name, length in list(lengths.items())[:_MOST_NAMED])
        raise InvalidInput(f"the columns have different lengths ({shown}); give each a value for every row")
    return columns


def _named_columns(data: Any) -> dict[str, Any]:
    if is_frame(data):
        heads = [str(name) for name in data.columns]
        if len(set(heads)) < len(heads):
            twice = sorted({name for name in heads if heads.count(name) > 1})
            raise InvalidInput(f"column names must differ: {twice[:_MOST_NAMED]}")
        return {name: data.iloc[:, index] for index, name in enumerate(heads)}
    if isinstance(data, Mapping):
        return {str(name): _sized(str(name), values) for name, values in data.items()}
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        if data and all(isinstance(row, Mapping) for row in data):
            names = dict.fromkeys(name for row in data for name in row)
            return {str(name): [row.get(name) for row in data] for name in names}
        if data and all(isinstance(row, str) for row in data):
            return {TEXT: list(data)}
    table = _rectangular(data)
    if table.ndim == 1:
        return {TEXT if table.dtype.kind in "US" or _all_strings(table) else "x0": table}
    return {f"x{index}": table[:, index] for index in range(table.shape[1])}


def _all_strings(table: NDArray[Any]) -> bool:
    return table.dtype.kind == "O" and table.size > 0 and all(isinstance(value, str) for value in table.tolist())


def _sized(name: str, values: Any) -> Any:
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        raise InvalidInput(f"column {name!r} must be a list of values, not {type(values).__name__}")
    return values


def _rectangular(data: Any) -> NDArray[Any]:
    """An array of shape (rows,) or (rows, columns); mixed values stay objects."""
    if hasattr(data, "toarray"):  # a sparse matrix
        data = data.toarray()
    if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple):
        if len({len(row) if isinstance(row, list | tuple) else -1 for row in data}) > 1:
            raise InvalidInput("the rows have different lengths")
        table = np.empty((len(data), len(data[0])), dtype=object)
        for index, row in enumerate(data):
            table[index, :] = row
        return table
    try:
        table = np.asarray(data)
    except ValueError as error:
        raise InvalidInput(f"not a table of rows and columns: {error}") from error
    if table.ndim not in (1, 2):
        raise InvalidInput(f"a table has rows and columns; this has the shape {list(table.shape)}")
    return table


def output_columns(predictions: Any) -> dict[str, Any]:
    """Return a model's outputs by name: "prediction", or "prediction.0", "prediction.1", … if there are several.

    Raises:
        InvalidInput: `predictions` has neither one value nor one list of values for each row.
    """
    if predictions is None:
        return {}
    if is_frame(predictions):
        predictions = predictions.to_numpy()
    if getattr(predictions, "dtype", None) is not None and getattr(predictions, "ndim", 1) == 1:
        return {OUTPUT: predictions}
    if isinstance(predictions, list) and predictions and not isinstance(predictions[0], list | tuple | np.ndarray):
        return {OUTPUT: predictions}
    table = _rectangular(predictions)
    if table.ndim == 1 or table.shape[1] == 1:
        return {OUTPUT: table.ravel()}
    return {f"{OUTPUT}.{index}": table[:, index] for index in range(table.shape[1])}


def matched_columns(data: Any, wanted: Sequence[str], names: Sequence[str] | None = None) -> list[Any]:
    """Return the columns of a table in the order of a baseline.

    Args:
        data: a table as for `named_columns`; a dict in a list of dicts may omit missing values.
        wanted: the baseline's features.
        names: the column names of `data` if it has none; by default `wanted`.

    Raises:
        InvalidFeatures: columns are missing or unknown; the message names them.
    """
    if is_frame(data):
        found = [str(name) for name in data.columns]
        if found == list(wanted):
            return [data.iloc[:, index] for index in range(len(wanted))]
        check_columns(found, wanted)
        twice = sorted({name for name in found if found.count(name) > 1})
        if twice:
            raise InvalidFeatures(
                f"columns appear twice: {_shown(twice)}", problems=[f"{name}: twice" for name in twice[:_MOST_NAMED]]
            )
        return [data.iloc[:, found.index(name)] for name in wanted]
    if isinstance(data, Mapping):
        check_columns([str(name) for name in data], wanted)
        by_name = {str(name): values for name, values in data.items()}
        return _of_one_length([_sized(name, by_name[name]) for name in wanted])
    if isinstance(data, list) and data and isinstance(data[0], Mapping):
        return _of_records(data, wanted)
    return _in_order(_unnamed(data, len(wanted)), wanted, names)


def _of_records(rows: Sequence[Any], wanted: Sequence[str]) -> list[Any]:
    odd = next((place for place, row in enumerate(rows) if not isinstance(row, Mapping)), None)
    if odd is not None:
        kind = type(rows[odd]).__name__
        raise InvalidFeatures(
            f"row {odd} is a {kind}, the first one is by column name", problems=[f"row {odd}: {kind}"]
        )
    keys = {str(name): name for name in set().union(*rows)}  # of a frame without names they are numbers
    unknown = keys.keys() - set(wanted)
    if unknown:
        check_columns([*wanted, *sorted(unknown)], wanted)
    return [[row.get(keys.get(name, name)) for row in rows] for name in wanted]


def _in_order(columns: list[Any], wanted: Sequence[str], names: Sequence[str] | None) -> list[Any]:
    if names is not None and list(names) != list(wanted):
        check_columns(names, wanted)
        columns = [columns[list(names).index(name)] for name in wanted]
    return columns


def _unnamed(data: Any, width: int) -> list[Any]:
    if isinstance(data, list) and (not data or isinstance(data[0], list | tuple)):
        odd = [row for row in data if not isinstance(row, list | tuple) or len(row) != width]
        if odd:
            counted = isinstance(odd[0], list | tuple)
            wrong = f"{len(odd[0])} values" if counted else f"is a {type(odd[0]).__name__}"
            raise InvalidFeatures(
                f"a row {'has ' * counted}{wrong}; the baseline has {width} features", problems=[wrong]
            )
        return [list(values) for values in zip(*data, strict=True)] if data else [[] for _ in range(width)]
    table = list(data) if isinstance(data, list) else _rectangular(data)
    if width == 1 and (isinstance(table, list) or table.ndim == 1):
        return [table]
    if isinstance(table, list) or table.ndim != 2 or table.shape[1] != width:
        shape = [len(table)] if isinstance(table, list) else list(table.shape)
        raise InvalidFeatures(f"expected the shape [rows, {width}], got {shape}", problems=[f"shape {shape}"])
    return [table[:, index] for index in range(width)]


def _of_one_length(columns: list[Any]) -> list[Any]:
    if len({len(values) for values in columns}) > 1:
        raise InvalidFeatures("the columns have different lengths", problems=["the columns have different lengths"])
    return columns


def check_columns(found: Sequence[str], wanted: Sequence[str], *, what: str = "the baseline") -> None:
    """Check that a table has exactly the wanted columns, in any order.

    Args:
        found: the names of the table's columns.
        wanted: the names of the required columns.
        what: the owner of the required columns, for the message.

    Raises:
        InvalidFeatures: columns are missing or unknown; the message names them.
    """
    missing = [name for name in wanted if name not in set(found)]
    unknown = [name for name in found if name not in set(wanted)]
    if not missing and not unknown:
        return
    problems = [f"{name}: missing" for name in missing]
    problems += [f"{name}: {what} has no such feature" for name in unknown]
    parts = [f"missing: {_shown(missing)}"] * bool(missing) + [f"unknown: {_shown(unknown)}"] * bool(unknown)
    raise InvalidFeatures(f"the columns are not those of {what}; {'; '.join(parts)}", problems=problems[:_MOST_NAMED])


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(repr, names[:_MOST_NAMED])) + more
