"""Describes the inputs of a model as tensors of the Open Inference Protocol V2: datatypes, shapes, what is known."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from streamb.models.dtypes import BFLOAT16, numpy_dtype
from streamb.models.schema import Feature, FeatureKind, FeatureSchema
from streamb.serving.http.tensors import BF16, Tensor

_DEFAULTS: Final = {
    FeatureKind.NUMBER: np.dtype("<f8"),
    FeatureKind.INTEGER: np.dtype("<i8"),
    FeatureKind.BOOLEAN: np.dtype("?"),
    FeatureKind.TENSOR: np.dtype("<f8"),
}
_TOLD: Final = (FeatureKind.DATETIME, FeatureKind.LIST, FeatureKind.ANY)
_ISO: Final = "ISO 8601"


def describe_inputs(schema: FeatureSchema | None) -> list[dict[str, Any]]:
    """Return the inputs of a model: one tensor for all columns if they share a datatype, else one for each feature."""
    if schema is None:
        return [{"name": "input", "datatype": "FP64", "shape": [-1, -1]}]
    datatypes = {datatype_of(feature) for feature in schema.features}
    if schema.container == "array" and len(datatypes) == 1 and datatypes != {"BYTES"}:
        names = list(schema.names)
        about: dict[str, Any] = {"columns": names}
        for flag in ("nullable", "optional"):
            flagged = [feature.name for feature in schema.features if getattr(feature, flag)]
            about |= {flag: flagged} if flagged else {}
        return [{"name": "input", "datatype": datatypes.pop(), "shape": [-1, len(names)], "parameters": about}]
    return [_described(feature) for feature in schema.features]


def datatype_of(feature: Feature) -> str:
    """Return the protocol's datatype of a feature's values; BYTES for texts, datetimes, lists and anything."""
    if feature.kind is FeatureKind.CATEGORY and feature.categories:
        kind = np.array(feature.categories).dtype
        return Tensor(feature.name, np.empty(0, kind)).datatype if kind.kind in "bif" else "BYTES"
    default = _DEFAULTS.get(feature.kind)
    if default is None or feature.dtype == "str":
        return "BYTES"
    if feature.dtype == BFLOAT16:
        return BF16
    return Tensor(feature.name, np.empty(0, numpy_dtype(feature.dtype) or default)).datatype


def _described(feature: Feature) -> dict[str, Any]:
    shape = [-1, *(-1 if length is None else length for length in feature.shape)]
    document: dict[str, Any] = {"name": feature.name, "datatype": datatype_of(feature), "shape": shape}
    about: dict[str, Any] = {"kind": str(feature.kind)} if feature.kind in _TOLD else {}
    if feature.kind is FeatureKind.DATETIME:
        about["format"] = _ISO
        about |= {"time_zone": feature.zone} if feature.zone else {}
    if feature.categories:
        about |= {"categories": list(feature.categories), "ordered": feature.ordered}
    about |= {flag: True for flag in ("nullable", "optional") if getattr(feature, flag)}
    return {**document, "parameters": about} if about else document
