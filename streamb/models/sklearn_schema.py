"""Derives the feature schema of a fitted estimator from what it stores about its training data.

scikit-learn remembers how many columns there were and what they were called, not their kinds. Kinds follow from the
steps that read a column first: an encoder with string categories reads categories, a vectorizer reads text, anything
else reads numbers. Where that is not enough, the user gives `schema=FeatureSchema.learn(X_train)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from streamb.errors import InvalidInput
from streamb.models.schema import Feature, FeatureKind, FeatureSchema


def fitted_schema(estimator: Any) -> FeatureSchema | None:
    """Return the schema that a fitted estimator implies; None if it is not fitted or stores nothing.

    Raises:
        InvalidInput: it was fitted on columns whose kinds it does not reveal.
    """
    first = next(_chain(estimator))
    if _reads_text(first):
        return FeatureSchema.texts() if _is_fitted(first) else None
    count = _remembered(estimator, first, "n_features_in_")
    if count is None:
        return None
    names = _remembered(estimator, first, "feature_names_in_")
    categorical = any(np.any(getattr(step, "is_categorical_", None) == np.True_) for step in _chain(estimator))
    if categorical and names is not None:
        raise InvalidInput(
            "this estimator was fitted on categorical columns but does not keep their names; "
            "pass schema=FeatureSchema.learn(X_train)"
        )
    columns = [str(name) for name in names] if names is not None else [f"x{index}" for index in range(int(count))]
    features = [Feature(name) for name in columns]
    for reader, positions in _readers(estimator, columns):
        for place, position in enumerate(positions):
            features[position] = _as_read_by(reader, place, features[position])
    return FeatureSchema(tuple(features), "frame" if names is not None else "array")


def _chain(estimator: Any) -> Iterator[Any]:
    """The steps that see the input one after the other: a pipeline's (in a search too), else the estimator alone."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    steps = getattr(estimator, "steps", None)
    if not isinstance(steps, list):
        yield estimator
        return
    for _, step in steps:
        if step is not None and step != "passthrough":
            yield from _chain(step)


def _readers(estimator: Any, columns: list[str]) -> Iterator[tuple[Any, list[int]]]:
    """Which transformers read which columns: (fitted transformer or pipeline, positions of its columns)."""
    first = next(_chain(estimator))
    transformers = getattr(first, "transformers_", None)
    if transformers is None:
        yield estimator, list(range(len(columns)))
        return
    for _, transformer, selected in transformers:
        if isinstance(transformer, str):  # "drop" or "passthrough"
            continue
        yield transformer, _positions(selected, columns)


def _positions(selected: Any, columns: list[str]) -> list[int]:
    if isinstance(selected, str):
        return [columns.index(selected)]
    if isinstance(selected, slice) and any(isinstance(end, str) for end in (selected.start, selected.stop)):
        start = columns.index(selected.start) if selected.start is not None else 0
        stop = columns.index(selected.stop) + 1 if selected.stop is not None else None  # names: the end is included
        return list(range(len(columns)))[start:stop]
    if isinstance(selected, slice):
        return list(range(len(columns)))[selected]
    chosen = np.atleast_1d(np.asarray(selected)).tolist()
    if chosen and all(isinstance(item, bool) for item in chosen):
        return [index for index, taken in enumerate(chosen) if taken]
    return [columns.index(item) if isinstance(item, str) else int(item) % len(columns) for item in chosen]


def _as_read_by(reader: Any, place: int, feature: Feature) -> Feature:
    """The feature as the first step that tells something about it reads it."""
    for step in _chain(reader):
        if _reads_text(step):
            return replace(feature, kind=FeatureKind.TEXT)
        if _fills_gaps(step):
            strings = np.asarray(step.statistics_).dtype == object
            feature = replace(feature, optional=True, kind=FeatureKind.CATEGORY if strings else feature.kind)
            continue
        categories = getattr(step, "categories_", None)
        if isinstance(categories, list) and place < len(categories):
            known = [item for item in np.asarray(categories[place]).tolist() if isinstance(item, str)]
            missing = len(known) < len(categories[place])
            if known:
                return replace(feature, kind=FeatureKind.CATEGORY, optional=feature.optional or missing)
        return feature
    return feature


def _reads_text(step: Any) -> bool:
    return callable(getattr(step, "build_analyzer", None))


def _fills_gaps(step: Any) -> bool:
    return hasattr(step, "statistics_") and hasattr(step, "missing_values")


def _is_fitted(step: Any) -> bool:
    return hasattr(step, "vocabulary_") or not hasattr(step, "vocabulary")  # HashingVectorizer needs no fitting


def _remembered(estimator: Any, first: Any, attribute: str) -> Any:
    """An attribute of the estimator, else of its first step: a pipeline forwards some but not all."""
    for source in (estimator, first):
        try:
            return getattr(source, attribute)
        except AttributeError:
            continue
    return None
