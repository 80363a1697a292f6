"""The columns of a model's input: names, kinds, types, limits. Data only: other modules check and convert."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.models.dtypes import (
    BFLOAT16,
    EXACT,
    OBJECT,
    STRINGS,
    datetime_unit,
    exact_whole,
    number_limits,
    numpy_dtype,
)
from streamb.store.plain import from_plain

Container = Literal["array", "frame", "texts", "records", "tensor", "tensors", "list"]
Rows = NDArray[Any] | list[Any]
Level: TypeAlias = str | bool | int | float
"""One of the values that a category may have."""

INPUT: Final = "input"
"""The name of the only feature where the rows have no columns: a tensor, a list."""


class FeatureKind(StrEnum):
    """The kind of values in one column."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CATEGORY = "category"
    TEXT = "text"
    DATETIME = "datetime"
    TENSOR = "tensor"
    LIST = "list"
    ANY = "any"

    @property
    def is_numeric(self) -> bool:
        """Whether a float can represent the values."""
        return self in (FeatureKind.NUMBER, FeatureKind.INTEGER, FeatureKind.BOOLEAN)


def _kind(column: str, kind: str) -> FeatureKind:
    try:
        return FeatureKind(kind)
    except ValueError:
        raise InvalidInput(f"column {column!r}: the kind is one of {', '.join(FeatureKind)}, got {kind!r}") from None


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of a model's input.

    Attributes:
        name: the column's name.
        kind: the kind of its values; "any" if it is not known, which accepts every JSON value.
        minimum, maximum: inclusive limits; enforced when given.
        observed_min, observed_max: the range in the training data; informative, never enforced.
        categories: the closed set of values of a category, in order; enforced when not empty.
        ordered: whether the order of the categories has a meaning, as in pandas.
        dtype: the NumPy or pandas type in which the model gets the values, such as "int8", "float32", "Int64",
            "category" or "datetime64[us]"; of a category, the type of its levels. Empty: float64 for numbers, int64
            for integers, bool for booleans, and for other kinds what pandas makes of the values. A number with a type
            of whole numbers takes fractions as well; the model gets these as float64.
        zone: the time zone of datetimes, such as "Europe/Berlin" or "UTC"; empty if they have none.
        shape: the shape of one row's tensor; None for an axis of any length, `()` for a single value.
        nullable: whether the value may be null (None, NaN, NaT).
        optional: whether the key may be absent, which counts as null; implies `nullable`.
        takes_booleans: whether a number may be sent as true or false; the model gets 1 or 0.
        null_is_nan: whether the model gets NaN for null in a column of Python objects; else it gets None.
    """

    name: str
    kind: FeatureKind = FeatureKind.NUMBER
    minimum: float | None = None
    maximum: float | None = None
    observed_min: float | None = None
    observed_max: float | None = None
    categories: tuple[Level, ...] = ()
    ordered: bool = False
    dtype: str = ""
    zone: str = ""
    shape: tuple[int | None, ...] = ()
    nullable: bool = False
    optional: bool = False
    takes_booleans: bool = False
    null_is_nan: bool = False

    def __post_init__(self) -> None:
        if type(self.kind) is not FeatureKind:
            object.__setattr__(self, "kind", _kind(self.name, self.kind))
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise InvalidInput(f"column {self.name!r}: the minimum {self.minimum} is above the maximum {self.maximum}")
        if self.optional and not self.nullable:
            object.__setattr__(self, "nullable", True)
        if self.kind is FeatureKind.DATETIME and datetime_unit(self.dtype) is None:
            raise InvalidInput(
                f"column {self.name!r}: the type of a datetime is datetime64[s], [ms], [us] or [ns], 'date' or "
                f"'object', got {self.dtype!r}"
            )
        if self.kind.is_numeric and self.dtype not in ("", OBJECT) and numpy_dtype(self.dtype) is None:
            raise InvalidInput(f"column {self.name!r}: {self.dtype!r} is not a type of numbers or booleans")

    @property
    def is_whole_type(self) -> bool:
        """Whether the model gets the values in a type of whole numbers, beyond 2**53 too."""
        dtype = numpy_dtype(self.dtype)
        return self.kind is FeatureKind.INTEGER or (dtype is not None and dtype.kind in "iu")

    @property
    def column_type(self) -> str:
        """The type of a numeric column of a frame; where none was recorded, nulls were floats."""
        if self.dtype or self.nullable:
            return self.dtype
        return {FeatureKind.INTEGER: "int64", FeatureKind.BOOLEAN: "bool"}.get(self.kind, "")

    @property
    def exact_up_to(self) -> int:
        """The size up to which the type of the values holds every whole number; 2**64 if it holds all of them."""
        if self.kind in (FeatureKind.NUMBER, FeatureKind.TENSOR):
            return exact_whole(self.dtype or "float64")
        return exact_whole(self.dtype) if self.kind is FeatureKind.INTEGER else 2**64

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, without fields that have their default value."""
        body: dict[str, Any] = {"name": self.name, "kind": str(self.kind)}
        for field in fields(self)[2:]:
            value = getattr(self, field.name)
            if value != field.default:
                body[field.name] = list(value) if isinstance(value, tuple) else value
        if self.optional:
            del body["nullable"]  # it follows, and earlier versions did not write it
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Feature:
        """Read the JSON form; raises `InvalidInput` if it is invalid."""
        try:
            return from_plain(cls, body)
        except ValueError as error:
            raise InvalidInput(f"{error} in {str(body)[:200]}") from error


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """The numbers that columns accept, to check a table of them at once.

    Attributes:
        low, high: the lowest and highest accepted number of each column, shape (columns,).
        required: whether NaN is refused, shape (columns,).
        whole: whether fractions are refused, shape (columns,).
        exact: whether a float64 must hold the number exactly, shape (columns,).
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    required: NDArray[np.bool_]
    whole: NDArray[np.bool_]
    exact: NDArray[np.bool_]

    @classmethod
    def of(cls, features: tuple[Feature, ...]) -> Bounds:
        """Return the bounds of columns of numbers, whole numbers and anything."""
        fitting = [number_limits(feature.dtype) for feature in features]
        low = [
            max(fit[0], -np.inf if f.minimum is None else f.minimum) for f, fit in zip(features, fitting, strict=True)
        ]
        high = [
            min(fit[1], np.inf if f.maximum is None else f.maximum) for f, fit in zip(features, fitting, strict=True)
        ]
        return cls(
            np.array(low, np.float64),
            np.array(high, np.float64),
            np.array([not feature.nullable for feature in features]),
            np.array([feature.kind is FeatureKind.INTEGER for feature in features]),
            np.array([feature.is_whole_type or feature.kind is FeatureKind.ANY for feature in features]),
        )

    def hold(self, table: NDArray[np.float64]) -> bool:
        """Return whether every number of a table, shape (rows, columns), is accepted."""
        missing = np.isnan(table)
        wrong = np.isinf(table) | (missing & self.required) | (table < self.low) | (table > self.high)
        wrong |= self.whole & (table != np.trunc(table)) & ~missing
        wrong |= self.exact & (np.abs(table) >= EXACT)
        return not wrong.any()


@dataclass(frozen=True)
class Columns:
    """The columns of a model's input, in order.

    Attributes:
        features: the columns; none means that nothing is known of them.
        container: what the model's `predict` takes: an ndarray of rows and columns ("array"), a DataFrame ("frame"), a
            list of str ("texts"), a list of dicts by column name ("records"), one ndarray of any shape ("tensor"), a
            dict of ndarrays by feature name ("tensors"), or a list of whatever each row holds ("list").
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
        if self.container == "tensor" and [f.kind for f in self.features] != [FeatureKind.TENSOR]:
            raise InvalidInput("the container 'tensor' holds exactly one tensor; for several, use 'tensors'")
        if self.container == "list" and len(self.features) != 1:
            raise InvalidInput("the container 'list' holds exactly one column")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def is_numeric(self) -> bool:
        """Whether a float64 array can represent every column."""
        return bool(self.features) and all(feature.kind.is_numeric for feature in self.features)

    @cached_property
    def is_tabular(self) -> bool:
        """Whether rows of numbers become a float64 array: every column is numeric, or "any" in an array."""
        return bool(self.features) and all(
            f.dtype != OBJECT and (f.kind.is_numeric or (f.kind is FeatureKind.ANY and self.container == "array"))
            for f in self.features
        )

    @cached_property
    def nested(self) -> frozenset[str]:
        """The names of the columns whose rows may have axes: tensors and lists."""
        return frozenset(f.name for f in self.features if f.kind in (FeatureKind.TENSOR, FeatureKind.LIST))

    @cached_property
    def exact_up_to(self) -> int:
        """The size up to which every column holds every whole number."""
        return min((feature.exact_up_to for feature in self.features), default=2**64)

    @cached_property
    def half_type(self) -> str:
        """The type of numbers of 16 bits that columns have, bfloat16 or float16; empty if none or both are there."""
        names = {feature.dtype for feature in self.features} & {BFLOAT16, "float16"}
        return names.pop() if len(names) == 1 else ""

    @cached_property
    def number_type(self) -> str:
        """The type of all numbers of a table if it is the same for all columns, and not float64; else empty."""
        names = {feature.dtype for feature in self.features}
        if self.container not in ("array", "frame") or len(names) != 1 or not self.is_numeric:
            return ""
        name = names.pop()
        return name if numpy_dtype(name) not in (None, np.float64) else ""

    @cached_property
    def cut_columns(self) -> list[int]:
        """The columns whose texts become an array of NumPy's strings, which have no null character at the end."""
        is_array = self.container in ("array", "tensors")
        return [i for i, f in enumerate(self.features) if is_array and f.dtype in STRINGS and not f.kind.is_numeric]

    @cached_property
    def bounds(self) -> Bounds:
        """The numbers that each column accepts."""
        return Bounds.of(self.features)

    @cached_property
    def shared_type(self) -> str | None:
        """The type of all columns of a frame of numbers; None if they differ."""
        types = {feature.column_type for feature in self.features}
        return types.pop() if len(types) == 1 else None

    @property
    def is_open(self) -> bool:
        """Whether the columns are unknown, so that any rectangular rows are accepted."""
        return not self.features
