"""The form of a request's rows: two requests go into one call only if their forms are equal.

What a model gets for a row may depend on the rows beside it: NumPy and pandas choose one type for a column from all its
values, so `5` becomes `5.0` beside a null and `"5"` beside a text. Rows of equal form cannot change each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.models.dtypes import OBJECT, numpy_dtype
from streamb.models.schema import FeatureSchema
from streamb.serving.answer import Rows

_NESTED: Final = frozenset({list, tuple, dict})
_INT64: Final = 2**63


def value_typed(schema: FeatureSchema | None) -> NDArray[np.bool_] | None:
    """Return for each column whether its type depends on its values: a fraction or NaN turns whole numbers into floats.

    None means that there is no such column, as in a table of floats.

    >>> value_typed(FeatureSchema.numbers(2)) is None
    True
    """
    if schema is None:
        return None
    columns = []
    for feature in schema.features:
        dtype = numpy_dtype(feature.column_type) if feature.column_type not in ("", OBJECT) else None
        columns.append(feature.kind.is_numeric and dtype is not None and dtype.kind in "iub")
    return np.array(columns) if any(columns) else None


def form_of(rows: Rows, typed: NDArray[np.bool_] | None = None) -> object:
    """Return the form of a request's rows, to be compared with `==`.

    - an array: its dtype and the shape of one row; of objects, the types of the values in each column as well;
    - lists: the set of types in each column, by position;
    - objects by name: their names in order, and the set of types under each name;
    - other rows, such as texts: the set of their types.

    Args:
        rows: the rows.
        typed: which columns of an array of floats get another type if all their values are whole (`value_typed`).

    >>> form_of([[5, "a"]]) == form_of([[None, "b"]]), form_of([[5, "a"]]) == form_of([[6, "b"], [7, "c"]])
    (False, True)
    """
    if isinstance(rows, np.ndarray):
        if typed is None and rows.dtype.char == "d":  # nearly always; no other form is a tuple of lengths
            return rows.shape[1:]
        return _form_of_array(rows, typed)
    types = set(map(type, rows))
    if types == {list}:
        widths = set(map(len, rows))
        columns: Iterable[Any] = zip(*rows, strict=True) if len(widths) == 1 else ([v for row in rows for v in row],)
        return (list, tuple(widths), *map(_kinds, columns))
    if types == {dict}:
        names = tuple(dict.fromkeys(map(tuple, rows)))
        every = dict.fromkeys(name for some in names for name in some)
        return (dict, names, *(_kinds([row[name] for row in rows if name in row]) for name in every))
    return (None, _kinds(rows))


def _form_of_array(rows: NDArray[Any], typed: NDArray[np.bool_] | None) -> object:
    dtype: Any = rows.dtype
    if dtype.hasobject:
        return (dtype, rows.shape[1:], *map(_kinds, _object_columns(rows)))
    if dtype.kind in "US":  # the width of its longest text is no type
        dtype = dtype.kind
    if typed is None or dtype.kind != "f" or rows.ndim != 2 or rows.shape[1] != len(typed):
        return (dtype, rows.shape[1:])
    whole = (rows == np.trunc(rows)).all(axis=0) & typed  # NaN is not equal to itself
    return (dtype, rows.shape[1:], whole.tobytes())


def _object_columns(rows: NDArray[Any]) -> list[list[Any]]:
    if rows.dtype.names is not None:
        return [rows[name].ravel().tolist() for name in rows.dtype.names]
    return [column.ravel().tolist() for column in rows.T] if rows.ndim == 2 else [rows.ravel().tolist()]


def _kinds(values: Iterable[Any]) -> frozenset[Any]:
    """Return the types of values, of nested ones with the types inside; a whole number beyond 64 bits joins nothing."""
    types: frozenset[Any] = frozenset(map(type, values))
    if int in types:
        whole = [value for value in values if type(value) is int]
        if not -_INT64 <= min(whole) <= max(whole) < _INT64:
            types |= {object()}
    if np.ndarray in types:
        types |= {(value.dtype, value.shape) for value in values if type(value) is np.ndarray}
    if types & _NESTED:
        for value in values:
            if type(value) is dict:
                types |= {tuple(value), _kinds(list(value.values()))}
            elif type(value) in _NESTED:
                types |= {_kinds(value)}
    return types
