"""Tensors of the Open Inference Protocol V2: datatypes, and conversion to rows and from predictions.

Rows come either as one tensor of shape (rows, features), whatever its name, or as one tensor for each feature, named
after it, of shape (rows,) or (rows, 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from streamb.errors import BadRequest, InvalidInput
from streamb.models.columns.casting import as_floats
from streamb.models.json_values import held
from streamb.models.named_outputs import row_values
from streamb.models.outputs import as_array
from streamb.models.schema import FeatureKind, FeatureSchema
from streamb.serving.answer import Rows
from streamb.serving.outputs import UNKNOWN_FORM, Form

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
"""Datatype name -> little-endian NumPy type; BYTES holds Python strings."""

_NAMES: Final = {dtype: name for name, dtype in DTYPES.items() if name != "BYTES"}
ROWS_AS_TEXTS: Final = frozenset({"list", "object", "any"})
"""The kinds of outputs whose rows are sent as JSON texts."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array."""

    name: str
    values: NDArray[Any]

    @property
    def datatype(self) -> str:
        """The protocol's name for the array's type; BYTES for everything that is not a number."""
        return _NAMES.get(self.values.dtype, "BYTES")


def tensor_from_json(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> Tensor:
    """Return a tensor from the `data` of a JSON input, flat or nested.

    Raises:
        BadRequest: the data has another type or number of elements than declared.
    """
    try:
        values = np.asarray(data) if datatype != "BYTES" else _texts(name, data)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"the data of input {name!r} is not a tensor: {error}") from None
    check_size(name, shape, values.size)
    return Tensor(name, _as_type(name, values, datatype).reshape(shape))


def check_size(name: str, shape: tuple[int, ...], size: int) -> None:
    """Raise `BadRequest` if the number of elements, `size`, does not match the shape."""
    wanted = 1
    for length in shape:
        wanted *= length
    if wanted != size:
        raise BadRequest(f"input {name!r} has shape {list(shape)}, so {wanted} elements, but {size} in its data")


def _texts(name: str, data: Any) -> NDArray[Any]:
    values = np.asarray(data, dtype=object).ravel()
    if not all(type(value) is str for value in values):
        raise BadRequest(f"input {name!r} has datatype BYTES, so every element of its data must be a string")
    return values


def _as_type(name: str, values: NDArray[Any], datatype: str) -> NDArray[Any]:
    dtype = DTYPES[datatype]
    kind = values.dtype.kind
    allowed = {"b": "b", "u": "iu", "i": "iu", "f": "iuf", "O": "O"}[dtype.kind]
    if kind not in allowed:
        raise BadRequest(f"input {name!r} has datatype {datatype}, but its data holds {_spoken(kind)}")
    if dtype.kind in "iu" and values.size:
        bounds = np.iinfo(dtype)
        if values.min() < bounds.min or values.max() > bounds.max:
            raise BadRequest(f"input {name!r} has elements that do not fit in {datatype}")
    return values.astype(dtype, copy=False)


def _spoken(kind: str) -> str:
    names = {"b": "booleans", "i": "whole numbers", "u": "whole numbers", "f": "fractions", "U": "strings"}
    return names.get(kind, "values of several types, or null")


# --- rows ---------------------------------------------------------------------------------------------------------


def count_rows(tensors: Sequence[Tensor]) -> int:
    """Return the number of rows in the inputs; raises `BadRequest` if they disagree or have none."""
    counts = {tensor.values.shape[0] if tensor.values.ndim else 0 for tensor in tensors}
    if len(counts) != 1 or counts == {0}:
        shapes = {tensor.name: list(tensor.values.shape) for tensor in tensors}
        raise BadRequest(
            f"all inputs must have the same first dimension, the number of rows, and at least one: {shapes}"
        )
    return counts.pop()


def rows_from_tensors(tensors: Sequence[Tensor], schema: FeatureSchema | None) -> Rows:
    """Return the rows of a request, checked against the schema if there is one."""
    is_column = schema is not None and tensors[0].name in schema.names and len(schema.names) > 1
    if len(tensors) == 1 and not is_column:
        values = tensors[0].values
        if schema is not None:
            return schema.check_array(values)
        values = values if values.ndim > 1 else values[:, None]
        return as_floats(values) if values.dtype.kind in "biuf" else values.tolist()
    whole = [] if schema is None else [f.name for f in schema.features if f.kind is FeatureKind.TENSOR]
    columns = {tensor.name: tensor.values if tensor.name in whole else _column(tensor) for tensor in tensors}
    if schema is None:
        listed = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, values, strict=True)) for values in listed]
    if schema.is_numeric and columns.keys() == set(schema.names):
        ordered = [as_floats(columns[name]) for name in schema.names if columns[name].dtype.kind in "iuf"]
        if len(ordered) == len(columns) and all(column.dtype == np.float64 for column in ordered):
            return schema.check_array(np.column_stack(ordered))
    return schema.check_array(columns)


def _column(tensor: Tensor) -> NDArray[Any]:
    values = tensor.values
    if values.ndim == 1:
        return values
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    raise InvalidInput(
        f"input {tensor.name!r} has shape {list(values.shape)}; send one tensor of shape [rows, features], "
        "or one of shape [rows] for each feature, named after it"
    )


# --- outputs ------------------------------------------------------------------------------------------------------


def output_datatype(output: Mapping[str, Any]) -> str:
    """Return the datatype in which an output is sent.

    Args:
        output: the JSON form of a `models.signature.Output`.
    """
    try:
        return _NAMES.get(np.dtype(output.get("dtype") or object).newbyteorder("<"), "BYTES")
    except TypeError:  # a type that this build does not know
        return "BYTES"


def output_tensor(name: str, values: NDArray[Any], form: Form = UNKNOWN_FORM) -> Tensor:
    """Return an output as a tensor of a protocol type.

    An element of a BYTES tensor is a text as it is, None, or the JSON text of any other value that is no number.

    Args:
        name: the name of the output.
        values: one entry per row.
        form: what the version's signature says of it, so that it has the same datatype and shape in every reply. If it
            is unknown, objects become numbers if all of them are, also lists of the same length.
    """
    if form.kind in ROWS_AS_TEXTS or values.dtype.names is not None:
        return Tensor(name, _texts_of(held(row_values(values))))
    if values.dtype.kind == "O":
        values = _numbers_of(values, form.kind)
        if values.dtype.kind == "O":
            return Tensor(name, _texts_of(values))
    if form.dtype is not None and values.dtype != form.dtype and values.dtype.kind in "iuf":
        values = _cast(values, form.dtype)
    if form.column and values.ndim == 1:
        values = values[:, None]
    little = values.dtype.newbyteorder("<") if values.dtype.kind in "iuf" else values.dtype
    if little in _NAMES:
        return Tensor(name, np.ascontiguousarray(values, dtype=little))
    if values.dtype.kind in "iuf":  # a width that the protocol does not have, such as float128
        return Tensor(name, np.ascontiguousarray(values, dtype=np.dtype("<f8")))
    return Tensor(name, values.astype(object))


def _numbers_of(values: NDArray[Any], kind: str) -> NDArray[Any]:
    """Objects as an array of numbers or texts, if they are; where numbers are usual, a missing one is NaN."""
    listed = values.tolist()
    found = as_array([math.nan if value is None else value for value in listed] if kind == "number" else listed)
    return found if isinstance(found, np.ndarray) else values


def _cast(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Numbers in another type if that changes none, else as they are."""
    if values.dtype.kind != "f" or dtype.kind != "f":
        low, high = (-(2**53), 2**53) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if not values.size or not low <= values.min().item() <= values.max().item() <= high:
            return values
    with np.errstate(all="ignore"):
        cast = values.astype(dtype)
    return cast if np.array_equal(cast.astype(values.dtype), values, equal_nan=values.dtype.kind == "f") else values


def _texts_of(values: NDArray[Any]) -> NDArray[Any]:
    """The elements of a BYTES tensor; None stays."""
    texts = [
        value if value is None or isinstance(value, str) else orjson.dumps(value).decode() for value in values.flat
    ]
    return held(texts).reshape(values.shape)
