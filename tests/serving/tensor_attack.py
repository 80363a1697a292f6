"""Tensors of every datatype, coded in every way, against models of every type: what is sent and what a model saw."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from streamb.models import FeatureSchema
from streamb.models.dtypes import bfloat16_of, numpy_dtype
from streamb.models.schema import Feature, FeatureKind
from tests.serving.served_model import serve

NUMPY = {
    "BOOL": np.dtype(bool),
    **{f"UINT{bits}": np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
    "BF16": np.dtype(np.float32),
    "BYTES": np.dtype(object),
}
TYPES = [
    "bool",
    "int8",
    "uint8",
    "int32",
    "int64",
    "uint64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "str",
    "object",
]
CONTAINERS = ["array", "frame", "records", "tensors", "columns", "tensor"]


def values_of(datatype: str) -> list[Any]:
    """Values of a datatype, its extremes among them, as the Python values that they are."""
    dtype = NUMPY[datatype]
    if datatype == "BOOL":
        return [True, False]
    if datatype == "BYTES":
        return ["", "a", "a\0b", "ends\0", "東京 🗼", "5", "true", "null", "NaN", "2024-01-31T12:00:00", "x" * 300]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        tried = [
            limits.min,
            limits.max,
            0,
            1,
            2**8 + 1,
            2**11 + 1,
            2**24 + 1,
            2**53,
            2**53 + 1,
            2**60,
            2**63,
            2**64 - 1,
        ]
        return [value for value in tried if limits.min <= value <= limits.max]
    if datatype == "BF16":
        raw = [0x7F7F, 0xFF7F, 0x0001, 0x8000, 0x3DCD, 0x7FC0, 0x7F80, 0xFF80, 0x4380]
        return [struct.unpack("<f", struct.pack("<HH", 0, bits))[0] for bits in raw]
    limits = np.finfo(dtype)
    tried = [limits.max, limits.min, limits.smallest_subnormal, limits.tiny, -0.0, 0.1, 2.0, 255.0, math.nan, math.inf]
    return [float(dtype.type(value)) for value in (*tried, -math.inf)]


def schema_of(container: str, dtype: str, *, nullable: bool = False) -> FeatureSchema:
    """A schema of two columns, or one tensor of two, of a type."""
    kinds = {"str": FeatureKind.TEXT, "bool": FeatureKind.BOOLEAN, "object": FeatureKind.ANY}
    kind = kinds.get(dtype, FeatureKind.NUMBER)
    if container == "tensor":
        return FeatureSchema((Feature("input", FeatureKind.TENSOR, dtype=dtype, shape=(2,)),), "tensor")
    if container == "tensors":
        tensor = Feature("x0", FeatureKind.TENSOR, dtype=dtype, shape=(2,), nullable=nullable)
        return FeatureSchema((tensor,), "tensors")
    if container == "columns":
        container = "tensors"
        kind = FeatureKind.INTEGER if "int" in dtype else kind
    elif container == "frame":
        kind = FeatureKind.INTEGER if "int" in dtype else kind
    return FeatureSchema(tuple(Feature(f"x{i}", kind, dtype=dtype, nullable=nullable) for i in range(2)), container)


@dataclass
class Saw:
    """Keeps what it is asked; answers one number per row."""

    schema: FeatureSchema | None
    given: Any = None
    has_probabilities = False
    classes = None

    def predict(self, given):
        self.given = given
        rows = next(iter(given.values())) if isinstance(given, dict) else given
        return np.zeros(len(rows))

    def cell(self) -> tuple[Any, str]:
        """The value of the last column of the second row, and the type of its column."""
        given = self.given
        if hasattr(given, "columns"):
            column = given.iloc[:, -1]
            return column.iloc[1], str(column.dtype)
        if isinstance(given, dict):
            column = list(given.values())[-1]
            return column[1].flat[-1] if column.ndim > 1 else column[1], str(column.dtype)
        if isinstance(given, np.ndarray):
            return given[1].flat[-1], str(given.dtype)
        row = given[1]
        value = list(row.values())[-1] if isinstance(row, dict) else row[-1]
        return value, type(value).__name__


def coded(datatype: str, flat: list[Any]) -> bytes:
    """The bytes of elements in the binary extension."""
    if datatype == "BYTES":
        encoded = [value.encode() for value in flat]
        return b"".join(struct.pack("<I", len(one)) + one for one in encoded)
    if datatype == "BF16":
        return b"".join(struct.pack("<f", value)[2:] for value in flat)
    with np.errstate(over="ignore"):
        return np.array(flat, NUMPY[datatype]).tobytes()


def tensors_of(parts: list[tuple[str, str, list[int], list[Any]]], *, binary: bool) -> tuple[list[Any], bytes]:
    """The inputs of a request, and the bytes of the binary ones; each part is a name, a datatype, a shape, values."""
    inputs, content = [], b""
    for name, datatype, shape, flat in parts:
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        if binary:
            coded_values = coded(datatype, flat)
            entry["parameters"] = {"binary_data_size": len(coded_values)}
            content += coded_values
        else:
            entry["data"] = flat
        inputs.append(entry)
    return inputs, content


def body_of(datatype: str, value: Any, *, binary: bool, by_column: bool) -> tuple[bytes, dict[str, str]]:
    """A request of two rows and columns; the value stands at the end."""
    plain = {"BOOL": True, "BYTES": "a"}.get(datatype, 1)
    parts = {"x0": [plain, plain], "x1": [plain, value]} if by_column else {"input": [plain, plain, plain, value]}
    shape = [2] if by_column else [2, 2]
    inputs, content = tensors_of([(name, datatype, shape, flat) for name, flat in parts.items()], binary=binary)
    head = orjson.dumps({"inputs": inputs})
    if not binary:
        return head, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return head + content, headers


def client_of(model: Saw) -> Any:
    return serve(model, task="regression")


def expected(container: str, dtype: str, value: Any) -> Any:
    """A sent value as a type holds it: floats are rounded to the precision of the type, nothing else changes."""
    if container == "records" and not (value == 0 and "int" in dtype):
        return value
    if dtype == "bfloat16" and isinstance(value, float):
        return float(bfloat16_of(np.array([value]))[0])
    found = numpy_dtype(dtype)
    if found is not None and found.kind in "iu" and isinstance(value, float) and value.is_integer():
        return int(value)
    if found is not None and found.kind == "f" and isinstance(value, float):
        with np.errstate(over="ignore"):
            return float(found.type(value))
    return value


def same(found: Any, sent: Any) -> bool:
    """Whether two values are the same, NaN and the sign of zero included."""
    found = found.item() if isinstance(found, np.generic) else found
    if isinstance(found, str) or isinstance(sent, str):
        return found == sent
    if isinstance(sent, float) and math.isnan(sent):
        return isinstance(found, float) and math.isnan(found)
    if isinstance(sent, float) and isinstance(found, float) and math.copysign(1, found) != math.copysign(1, sent):
        return False
    return found == sent
