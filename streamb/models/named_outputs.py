"""Predictions with several named outputs: a NumPy structured array, so that each output keeps its own type and shape.

Such an array has one field for each output, and is sliced, joined and masked by rows like any other array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamb.models.json_values import held


def named_array(parts: Mapping[str, NDArray[Any]], count: int) -> NDArray[Any]:
    """Return one structured array of shape (count,) with a field for each output.

    Args:
        parts: for each name an array with `count` entries: booleans, numbers, texts, or objects that JSON can hold.
        count: the number of rows.

    >>> made = named_array({"a": np.array([1, 2], np.int8), "b": np.zeros((2, 3))}, 2)
    >>> made.dtype["a"].name, made["b"].shape
    ('int8', (2, 3))
    """
    columns = {name: held(row_values(part)) if part.dtype.names else part for name, part in parts.items()}
    formats = [(column.dtype if column.dtype.itemsize else "<U1", column.shape[1:]) for column in columns.values()]
    made = np.empty(count, np.dtype({"names": list(columns), "formats": formats}))
    for name, column in columns.items():
        made[name] = column
    return made


def positions(count: int) -> tuple[str, ...]:
    """Return the names of the outputs that a model answers as a tuple: "output_0", "output_1" and so on."""
    return tuple(f"output_{index}" for index in range(count))


def row_values(predictions: NDArray[Any]) -> list[Any]:
    """Return the predictions as values of JSON, one for each row.

    Several named outputs become an object for each row; those of a tuple (see `positions`) become a list.

    >>> row_values(named_array({"a": np.array([1, 2]), "b": np.array(["x", "y"])}, 2))
    [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'y'}]
    """
    names = predictions.dtype.names
    if names is None:
        values: list[Any] = predictions.tolist()
        return values
    rows = zip(*(predictions[name].tolist() for name in names), strict=True)
    if names == positions(len(names)):
        return [list(row) for row in rows]
    return [dict(zip(names, row, strict=True)) for row in rows]


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the rows of several answers below each other; as objects if they differ in kind, shape or outputs."""
    if len(parts) == 1:
        return parts[0]
    if len({_form(part) for part in parts}) == 1:
        return np.concatenate(parts)
    return held([row for part in parts for row in row_values(part)]) if parts else np.empty(0)


def _form(part: NDArray[Any]) -> Any:
    """What must be equal so that arrays can be joined without changing a value."""
    names = part.dtype.names
    if names is None:
        return part.dtype.kind, part.shape[1:]
    return tuple((name, _form(part[name])) for name in names)
