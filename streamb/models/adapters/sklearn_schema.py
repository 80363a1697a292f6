"""Derives the feature schema of a fitted estimator from what it stores about its training data.

scikit-learn remembers how many columns there were and what they were called, not their kinds. Kinds follow from the
steps that read a column: an encoder keeps the categories that it saw, a vectorizer reads text, and the tags of most
steps say that they take only numbers. What no step tells is of any kind and optional. An example tells more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.models.adapters.sklearn_steps import Path, chain, paths
from streamb.models.columns.datetimes import text_unit
from streamb.models.dtypes import OBJECT
from streamb.models.schema import Feature, FeatureKind, FeatureSchema

_ANYTHING: Final = Feature("", FeatureKind.ANY, optional=True)


def fitted_schema(estimator: Any) -> FeatureSchema | None:
    """Return the schema that a fitted estimator implies; None if it is not fitted or stores nothing."""
    steps = chain(estimator)
    first = steps[0] if steps else estimator
    if _reads_text(first):
        return FeatureSchema.texts() if _is_fitted(first) else None
    count = _remembered(estimator, first, "n_features_in_")
    if count is None:
        return None
    names = _remembered(estimator, first, "feature_names_in_")
    columns = [str(name) for name in names] if names is not None else [f"x{index}" for index in range(int(count))]
    try:
        read = paths(estimator, columns)
    except (ValueError, IndexError):  # columns that are selected in another way
        read = [[] for _ in columns]
    features = [replace(_as_read(found), name=name) for name, found in zip(columns, read, strict=True)]
    return FeatureSchema(tuple(features), "frame" if names is not None else "array")


def _as_read(found: Sequence[Path]) -> Feature:
    """The feature of a column that several paths read: what tells most counts, and all of them must take null."""
    told = [_on_path(path) for path in found]
    if not told:
        return _ANYTHING
    telling = sorted(told, key=lambda feature: _VAGUE.get(feature.kind, 0))[0]
    nullable = all(feature.nullable for feature in told)
    optional = nullable and any(feature.optional for feature in told)
    return replace(telling, nullable=nullable, optional=optional)


_VAGUE: Final = {FeatureKind.NUMBER: 1, FeatureKind.ANY: 2}


def _on_path(path: Path) -> Feature:
    """The feature as the first step that tells something about it reads it."""
    for step, place in path:
        if _reads_text(step):
            return Feature("", FeatureKind.TEXT)
        if _fills_gaps(step):
            return _filled(step, place)
        categories = getattr(step, "categories_", None)
        if isinstance(categories, list) and place is not None and place < len(categories):
            return _encoded(np.asarray(categories[place]), takes_unknown=getattr(step, "handle_unknown", "") != "error")
        if not _takes_numbers_only(step, place):
            return _ANYTHING
        return Feature("", FeatureKind.NUMBER, takes_booleans=True, nullable=_takes_gaps(path))
    return _ANYTHING


def _filled(step: Any, place: int | None) -> Feature:
    """A column whose gaps a step fills."""
    statistics = np.asarray(getattr(step, "statistics_", np.empty(0)))
    if statistics.dtype.kind not in "OU":
        return Feature("", FeatureKind.NUMBER, takes_booleans=True, optional=True)
    is_text = place is not None and place < len(statistics) and isinstance(statistics[place], str)
    return Feature("", FeatureKind.CATEGORY, optional=True, null_is_nan=True) if is_text else _ANYTHING


def _encoded(levels: NDArray[Any], *, takes_unknown: bool) -> Feature:
    """A column of the categories that an encoder saw; others may follow, the encoder knows what to do with them."""
    known = [level for level in levels.tolist() if level is not None and level == level]  # without NaN
    nullable = takes_unknown or len(known) < len(levels)
    is_nan = any(isinstance(level, float) and level != level for level in levels.tolist())
    feature = Feature("", FeatureKind.ANY, nullable=True, optional=True, null_is_nan=is_nan)
    kind = levels.dtype.kind
    if kind in "OUT" and known and all(isinstance(level, str) for level in known):
        dtype = OBJECT if None in levels.tolist() else ""
        return Feature("", FeatureKind.CATEGORY, dtype=dtype, nullable=nullable, optional=nullable, null_is_nan=is_nan)
    if kind == "b" or (kind == "O" and known and all(isinstance(level, bool) for level in known)):
        return Feature("", FeatureKind.BOOLEAN, dtype=OBJECT if kind == "O" else "bool", nullable=nullable)
    if kind in "iu":
        return Feature(
            "", FeatureKind.INTEGER, dtype="uint64" if levels.dtype == np.uint64 else "int64", nullable=nullable
        )
    if kind == "f":
        return Feature("", FeatureKind.NUMBER, takes_booleans=True, nullable=nullable)
    if kind == "M":
        return Feature("", FeatureKind.DATETIME, dtype=f"datetime64[{text_unit(levels)}]", nullable=nullable)
    return feature


def _takes_numbers_only(step: Any, place: int | None) -> bool:
    """Whether a step's tags say that it takes numbers and no categories or texts."""
    categorical = _categorical_columns(step)
    if categorical is not None:
        return place is not None and place not in categorical
    tags = _input_tags(step)
    return tags is not None and not (tags.string or tags.categorical)


def _categorical_columns(step: Any) -> Sequence[int] | range | None:
    """The positions of the columns that a booster was fitted on as categories; None if it does not say."""
    flagged = getattr(step, "is_categorical_", None)
    if flagged is not None:  # scikit-learn's histograms; after encoding, the order is another one
        return range(len(flagged)) if np.any(flagged) else ()
    if hasattr(step, "get_cat_feature_indices"):  # CatBoost
        return [*step.get_cat_feature_indices(), *step.get_text_feature_indices()]
    if hasattr(step, "get_booster"):  # XGBoost
        kinds = step.get_booster().feature_types or ()
        return [index for index, kind in enumerate(kinds) if kind == "c"]
    booster = getattr(step, "booster_", None)
    if getattr(booster, "pandas_categorical", None):  # LightGBM; it keeps levels, but not of which columns
        return range(int(step.n_features_in_))
    return None


def _takes_gaps(path: Path) -> bool:
    """Whether all steps take NaN up to the one that fills it in."""
    for step, _ in path:
        if _fills_gaps(step):
            return True
        tags = _input_tags(step)
        if tags is not None and not tags.allow_nan:
            return False
    return True


def _input_tags(step: Any) -> Any:
    """The step's tags of its input; None if it has none, or validates nothing, so that they mean nothing."""
    from sklearn.utils import get_tags

    try:
        tags = get_tags(step)
    except (AttributeError, TypeError, ValueError):
        return None
    validates = not tags.no_validation or hasattr(step, "get_booster")
    return tags.input_tags if validates and tags.input_tags.two_d_array else None


def _reads_text(step: Any) -> bool:
    return callable(getattr(step, "build_analyzer", None))


def _fills_gaps(step: Any) -> bool:
    return hasattr(step, "missing_values") and hasattr(step, "add_indicator")  # scikit-learn's imputers


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
