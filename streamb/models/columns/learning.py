"""Learns a feature schema from an example: a frame, an array, tensors, lists of rows, dicts, or texts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.models.columns.learning_columns import learn_array, learn_objects, learn_series
from streamb.models.columns.rows import as_numpy, is_bfloat16, refuse_repeated_columns
from streamb.models.dtypes import BFLOAT16, OBJECT
from streamb.models.features import INPUT, Container, Feature, FeatureKind

if TYPE_CHECKING:
    import pandas as pd

Learned = tuple[tuple[Feature, ...], Container]

_TEXTS: Final = (Feature("text", FeatureKind.TEXT),)
_SCALARS: Final = (str, bool, int, float, np.generic, type(None))
_NUMBERS: Final = (int, float, np.integer, np.floating)


def learn_columns(data: Any) -> Learned:
    """Return the columns of the data and its container, for `FeatureSchema.learn`."""
    pandas = sys.modules.get("pandas")  # data can only be a frame when somebody imported pandas
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return _learn_frame(data)
    if pandas is not None and isinstance(data, pandas.Series):
        data = data.to_numpy()
    if hasattr(data, "tocsr"):  # a sparse matrix: absent means zero, so ranges would mislead
        return tuple(Feature(f"x{index}") for index in range(int(data.shape[1]))), "array"
    is_half, data = is_bfloat16(data), as_numpy(data)
    if isinstance(data, np.ndarray):
        return _as_bfloat16(_learn_ndarray(data)) if is_half else _learn_ndarray(data)
    if isinstance(data, Mapping):
        return _learn_named(data)
    if isinstance(data, list | tuple):
        learned = _learn_list([as_numpy(row) for row in data])
        return _as_bfloat16(learned) if data and all(map(is_bfloat16, data)) else learned
    try:
        data = as_numpy(np.asarray(data))  # another library's array
    except (TypeError, ValueError):
        data = np.array(None)
    if not data.ndim:
        raise InvalidInput("an example is a frame, an array, a list of rows, a dict of arrays or a list of texts")
    return _as_bfloat16(_learn_ndarray(data)) if is_half else _learn_ndarray(data)


def _as_bfloat16(learned: Learned) -> Learned:
    """Columns of bfloat16, learned from the float32 that held it."""
    features, container = learned
    return tuple(replace(one, dtype=BFLOAT16) if one.dtype == "float32" else one for one in features), container


def _learn_frame(frame: pd.DataFrame) -> Learned:
    refuse_repeated_columns(frame)
    if not len(frame.columns):
        raise InvalidInput("the frame has no columns")
    return tuple(learn_series(str(name), frame.iloc[:, index]) for index, name in enumerate(frame.columns)), "frame"


def _learn_ndarray(array: NDArray[Any]) -> Learned:
    if array.ndim == 1 and array.dtype.kind in "UOT" and len(array):
        return _learn_list(array.tolist())
    if array.ndim == 2:
        if not array.shape[1]:
            raise InvalidInput("the rows have no columns")
        columns = (learn_array(f"x{index}", array[:, index]) for index in range(array.shape[1]))
        return tuple(columns), "array"
    return (_tensor(INPUT, array),), "tensor"


def _tensor(name: str, array: NDArray[Any]) -> Feature:
    """The feature of an array whose first axis is the rows."""
    kind = array.dtype.kind
    if kind == "O" and array.size and all(isinstance(value, str) for value in array.ravel()):
        array, kind = array.astype(str), "U"
    if kind not in "biufU" or (array.dtype.itemsize == 16 and kind == "f"):
        raise InvalidInput(
            f"the tensor {name!r} has the type {array.dtype}; make it numbers, booleans or strings of one type"
        )
    if kind == "f" and np.isinf(array).any():
        raise InvalidInput(f"the tensor {name!r} has infinite values; JSON cannot carry them")
    nullable = kind == "f" and bool(np.isnan(array).any())
    dtype = "str" if kind == "U" else array.dtype.name
    return Feature(name, FeatureKind.TENSOR, dtype=dtype, shape=array.shape[1:], nullable=nullable)


def _learn_named(columns: Mapping[Any, Any]) -> Learned:
    """A dict of arrays or tensors, each with one entry per row."""
    arrays = {str(name): _named_array(str(name), values) for name, values in columns.items()}
    if not arrays:
        raise InvalidInput("the dict has no arrays")
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"{name!r} has {len(array)}" for name, array in list(arrays.items())[:10])
        raise InvalidInput(f"the arrays by name have different numbers of rows: {lengths}")
    features = [
        learn_array(name, array, is_strict=True) if array.ndim == 1 else _tensor(name, array)
        for name, array in arrays.items()
    ]
    halves = {str(name) for name, values in columns.items() if is_bfloat16(values)}
    return tuple(replace(f, dtype=BFLOAT16) if f.name in halves else f for f in features), "tensors"


def _named_array(name: str, values: Any) -> NDArray[Any]:
    values = as_numpy(values)
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise InvalidInput(
            f"in a dict of arrays, {name!r} holds a single value; give a list of dicts for rows by column name"
        )
    try:
        array = np.asarray(values)
    except ValueError:
        raise InvalidInput(f"{name!r} holds lists of different lengths; make them one array, or give rows") from None
    if not array.ndim:
        raise InvalidInput(f"{name!r} is no array of one entry per row")
    return array


def _learn_list(rows: Sequence[Any]) -> Learned:
    if not rows:
        raise InvalidInput("the example has no rows; give at least one")
    if all(isinstance(row, str) for row in rows):
        return _TEXTS, "texts"
    if all(isinstance(row, Mapping) for row in rows):
        return _learn_records(rows), "records"
    if all(isinstance(row, _NUMBERS) and not isinstance(row, bool) for row in rows):
        return (_tensor(INPUT, np.asarray(rows)),), "tensor"
    if all(isinstance(row, list | tuple | np.ndarray) for row in rows):
        found = _learn_nested(rows)
        if found is not None:
            return found
    return (learn_objects(INPUT, list(rows), dtype=OBJECT),), "list"


def _learn_nested(rows: Sequence[Any]) -> Learned | None:
    """Rows that are lists: of single values for columns, of lists of equal lengths for a tensor; None if neither."""
    lengths = {len(row) if np.ndim(row) else 0 for row in rows if isinstance(row, np.ndarray)}
    lengths |= {len(row) for row in rows if not isinstance(row, np.ndarray)}
    if len(lengths) > 1 or 0 in lengths:
        return None
    cells = [value for row in rows for value in row]
    if all(isinstance(value, _NUMBERS) and not isinstance(value, bool) for value in cells):
        return _learn_ndarray(np.array([list(row) for row in rows]))
    if all(isinstance(value, bool | np.bool_) for value in cells):
        return _learn_ndarray(np.array([list(row) for row in rows]))
    if all(
        isinstance(value, _SCALARS) or not isinstance(value, list | tuple | np.ndarray | Mapping) for value in cells
    ):
        columns = zip(*rows, strict=True)
        features = [learn_objects(f"x{i}", list(values), dtype=OBJECT) for i, values in enumerate(columns)]
        if all(feature.kind.is_numeric for feature in features):  # an array of floats, as NumPy makes of them
            features = [replace(feature, dtype="") for feature in features]
        return tuple(features), "array"
    try:
        tensor = np.array([np.asarray(as_numpy(row)) for row in rows])
    except ValueError:
        return None
    return ((_tensor(INPUT, tensor),), "tensor") if tensor.dtype.kind in "biuf" else None


def _learn_records(rows: Sequence[Mapping[Any, Any]]) -> tuple[Feature, ...]:
    """Columns of rows by name; a name that some rows lack is optional."""
    names: dict[str, Any] = {}
    for row in rows:
        names |= dict.fromkeys(map(str, row))
    if not names:
        raise InvalidInput("the rows have no columns")
    by_text = [{str(name): value for name, value in row.items()} for row in rows]
    for name in names:
        present = [row[name] for row in by_text if name in row]
        names[name] = learn_objects(name, present, dtype=OBJECT, is_optional=len(present) < len(rows))
    return tuple(names.values())
