"""Describes the inputs of a model as tensors of the Open Inference Protocol V2: datatypes, shapes, what is known."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from streamb.models.dtypes import BFLOAT16, STRINGS, datetime_unit, numpy_dtype
from streamb.models.schema import Feature, FeatureKind, FeatureSchema
from streamb.serving.http.tensors import BF16, Tensor

_DEFAULTS: Final = {
    FeatureKind.NUMBER: np.dtype("<f8"),
    FeatureKind.INTEGER: np.dtype("<i8"),
    FeatureKind.BOOLEAN: np.dtype("?"),
    FeatureKind.TENSOR: np.dtype("<f8"),
}
_KINDS: Final = {
    FeatureKind.NUMBER: "iuf",
    FeatureKind.INTEGER: "iu",
    FeatureKind.BOOLEAN: "b",
    FeatureKind.TENSOR: "biuf",
}
_EXACT_IN: Final = {2: "INT8", 4: "INT16", 8: "INT32"}
"""Bytes of a type of floats -> the datatype of whole numbers that it holds exactly."""
_TOLD: Final = (FeatureKind.DATETIME, FeatureKind.LIST, FeatureKind.ANY)
_ISO: Final = "ISO 8601"


def describe_inputs(schema: FeatureSchema | None) -> list[dict[str, Any]]:
    """Return the inputs of a model: one tensor for all columns if they share a datatype, else one for each feature."""
    if schema is None:
        return [{"name": "input", "datatype": "FP64", "shape": [-1, -1]}]
    datatypes = {datatype_of(feature) for feature in schema.features}
    has_levels = any(feature.categories for feature in schema.features)
    if schema.container == "array" and len(datatypes) == 1 and datatypes != {"BYTES"} and not has_levels:
        names = list(schema.names)
        about: dict[str, Any] = {"columns": names}
        for limit in ("minimum", "maximum"):
            limits = {feature.name: getattr(feature, limit) for feature in schema.features}
            limits = {name: value for name, value in limits.items() if value is not None}
            about |= {limit: limits} if limits else {}
        for flag in ("nullable", "optional"):
            flagged = [feature.name for feature in schema.features if getattr(feature, flag)]
            about |= {flag: flagged} if flagged else {}
        return [{"name": "input", "datatype": datatypes.pop(), "shape": [-1, len(names)], "parameters": about}]
    return [_described(feature) for feature in schema.features]


def datatype_of(feature: Feature) -> str:
    """Return the protocol's datatype of a feature's values; BYTES for texts, datetimes, lists and anything."""
    if feature.kind is FeatureKind.CATEGORY and feature.categories:
        return _of_levels(feature.categories)
    default = _DEFAULTS.get(feature.kind)
    if default is None or feature.dtype in STRINGS:
        return "BYTES"
    if feature.dtype == BFLOAT16 and feature.kind is not FeatureKind.INTEGER:
        return BF16
    dtype = numpy_dtype(feature.dtype)
    if dtype is not None and feature.kind is FeatureKind.INTEGER and dtype.kind == "f":
        return _EXACT_IN[dtype.itemsize if feature.dtype != BFLOAT16 else 2]
    fitting = dtype if dtype is not None and dtype.kind in _KINDS[feature.kind] else default
    return Tensor(feature.name, np.empty(0, fitting)).datatype


def _of_levels(levels: tuple[Any, ...]) -> str:
    """The datatype of all levels; BYTES, as texts and JSON texts, if no other one holds each of them exactly."""
    types = {type(level) for level in levels}
    if types == {bool}:
        return "BOOL"
    if types == {int} and all(-(2**63) <= level < 2**63 for level in levels):
        return "INT64"
    return "FP64" if types <= {int, float} and all(float(level) == level for level in levels) else "BYTES"


def _described(feature: Feature) -> dict[str, Any]:
    shape = [-1, *(-1 if length is None else length for length in feature.shape)]
    document: dict[str, Any] = {"name": feature.name, "datatype": datatype_of(feature), "shape": shape}
    about: dict[str, Any] = {"kind": str(feature.kind)} if feature.kind in _TOLD else {}
    if feature.kind is FeatureKind.DATETIME:
        about |= {"format": _ISO, "unit": datetime_unit(feature.dtype)}
        about |= {"time_zone": feature.zone} if feature.zone else {}
    if feature.categories:
        about |= {"categories": list(feature.categories), "ordered": feature.ordered}
    limits = {limit: getattr(feature, limit) for limit in ("minimum", "maximum")}
    about |= {limit: value for limit, value in limits.items() if value is not None}
    about |= {flag: True for flag in ("nullable", "optional") if getattr(feature, flag)}
    return {**document, "parameters": about} if about else document
