"""Tensors of the Open Inference Protocol V2: datatypes, and conversion from predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from streamb.models.exact_arrays import as_array
from streamb.models.json_values import held
from streamb.models.named_outputs import row_values
from streamb.serving.outputs import UNKNOWN_FORM, Form

BF16: Final = "BF16"
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
    BF16: np.dtype("<f4"),
    "BYTES": np.dtype(object),
}
"""Datatype name -> little-endian NumPy type; float32 holds the numbers of BF16, BYTES holds Python strings."""

_NAMES: Final = {dtype: name for name, dtype in DTYPES.items() if name not in (BF16, "BYTES")}
ROWS_AS_TEXTS: Final = frozenset({"list", "object", "any"})
"""The kinds of outputs whose rows are sent as JSON texts."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array.

    Attributes:
        declared: the datatype that the client declared; "" for what the array itself tells.
    """

    name: str
    values: NDArray[Any]
    declared: str = ""

    @property
    def datatype(self) -> str:
        """The protocol's name for the array's type; BYTES for everything that is not a number."""
        return self.declared or _NAMES.get(self.values.dtype, "BYTES")


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
    if form.dtype is not None and values.dtype != form.dtype:
        values = form.settled(values)
    if values.dtype.kind == "O":
        found = as_array(values.tolist())
        if not isinstance(found, np.ndarray):
            return Tensor(name, _texts_of(values))
        values = found
    if form.column and values.ndim == 1:
        values = values[:, None]
    little = values.dtype.newbyteorder("<") if values.dtype.kind in "iuf" else values.dtype
    if little in _NAMES:
        return Tensor(name, np.ascontiguousarray(values, dtype=little))
    if values.dtype.kind in "iuf":  # a width that the protocol does not have, such as float128
        return Tensor(name, np.ascontiguousarray(values, dtype=np.dtype("<f8")))
    return Tensor(name, values.astype(object))


def _texts_of(values: NDArray[Any]) -> NDArray[Any]:
    """The elements of a BYTES tensor; None stays."""
    texts = [
        value if value is None or isinstance(value, str) else orjson.dumps(value).decode() for value in values.flat
    ]
    return held(texts).reshape(values.shape)
