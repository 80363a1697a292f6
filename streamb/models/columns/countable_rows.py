"""Checked rows as monitoring counts them: one number, category or text for each feature."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamb.models.features import Columns, Feature, FeatureKind, Rows


def countable_rows(schema: Columns, rows: Rows) -> Rows:
    """Return checked rows with each tensor as the mean of its numbers, and each list as its length.

    A datetime is already the number of its unit since 1970. Rows without tensors and lists are returned unchanged.
    """
    wide = [index for index, feature in enumerate(schema.features) if _is_wide(feature)]
    if schema.container == "tensor" and isinstance(rows, np.ndarray):
        return _means(rows).reshape(-1, 1)
    if not wide or isinstance(rows, np.ndarray):
        return rows
    return [
        [_size(schema.features[index], value) if index in wide else value for index, value in enumerate(row)]
        for row in rows
    ]


def _is_wide(feature: Feature) -> bool:
    return feature.kind in (FeatureKind.TENSOR, FeatureKind.LIST)


def _means(tensors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The mean of each row's tensor; of strings, their number."""
    flat = tensors.reshape(len(tensors), -1)
    if flat.dtype.kind == "U" or not flat.shape[1]:
        return np.full(len(flat), float(flat.shape[1]))
    return np.asarray(flat.mean(axis=1, dtype=np.float64))


def _size(feature: Feature, value: Any) -> float | None:
    if value is None:
        return None
    return float(len(value)) if feature.kind is FeatureKind.LIST else float(_means(np.asarray(value)[None])[0])
