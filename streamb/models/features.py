"""The columns of a model's input: names, kinds, limits. Data only; checks and conversions are in other modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.store.plain import from_plain

Container = Literal["array", "frame", "texts"]
Rows = NDArray[np.float64] | list[list[Any]]


class FeatureKind(StrEnum):
    """The kind of values in one column."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CATEGORY = "category"
    TEXT = "text"

    @property
    def is_numeric(self) -> bool:
        """Whether a float can represent the values."""
        return self in (FeatureKind.NUMBER, FeatureKind.INTEGER, FeatureKind.BOOLEAN)


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of a model's input.

    Attributes:
        minimum, maximum: inclusive limits; enforced when given.
        observed_min, observed_max: the range in the training data; informative, never enforced.
        categories: the closed set of values of a category; enforced when not empty.
        optional: whether the value may be missing (no such key, null or NaN).
    """

    name: str
    kind: FeatureKind = FeatureKind.NUMBER
    minimum: float | None = None
    maximum: float | None = None
    observed_min: float | None = None
    observed_max: float | None = None
    categories: tuple[str, ...] = ()
    optional: bool = False

    def __post_init__(self) -> None:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise InvalidInput(f"column {self.name!r}: the minimum {self.minimum} is above the maximum {self.maximum}")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, without fields that have their default value."""
        body: dict[str, Any] = {"name": self.name, "kind": str(self.kind)}
        for key in ("minimum", "maximum", "observed_min", "observed_max"):
            value = getattr(self, key)
            if value is not None:
                body[key] = value
        if self.categories:
            body["categories"] = list(self.categories)
        if self.optional:
            body["optional"] = True
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Feature:
        """Read the JSON form; raises `InvalidInput` if it is invalid."""
        try:
            return from_plain(cls, body)
        except ValueError as error:
            raise InvalidInput(f"{error} in {str(body)[:200]}") from error


@dataclass(frozen=True)
class Columns:
    """The columns of a model's input, in order.

    Attributes:
        features: the columns; none means that nothing is known of them.
        container: what the model's `predict` takes: an ndarray, a DataFrame or a list of str.
    """

    features: tuple[Feature, ...]
    container: Container = "array"

    def __post_init__(self) -> None:
        names = self.names
        if len(set(names)) != len(names):
            raise InvalidInput(f"column names must differ: {sorted({n for n in names if names.count(n) > 1})}")
        if self.container not in get_args(Container):
            raise InvalidInput(f"the container is one of {', '.join(get_args(Container))}, got {self.container!r}")
        if self.container == "texts" and [f.kind for f in self.features] != [FeatureKind.TEXT]:
            raise InvalidInput("the container 'texts' holds exactly one text column")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def is_numeric(self) -> bool:
        """Whether a float64 array can represent every column."""
        return bool(self.features) and all(feature.kind.is_numeric for feature in self.features)

    @property
    def is_open(self) -> bool:
        """Whether the columns are unknown, so that any rectangular rows are accepted."""
        return not self.features
