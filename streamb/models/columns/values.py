"""Checks one value against its feature: returns it as the model gets it, or says in a sentence what is wrong."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from streamb.models.columns.datetimes import WrongTime, count_of
from streamb.models.columns.tensors import WrongTensor, check_tensor
from streamb.models.dtypes import OBJECT, datetime_unit, number_limits
from streamb.models.features import Feature, FeatureKind

MAX_LISTED: Final = 10
_MAX_QUOTED: Final = 40


class Mistake(ValueError):
    """A value that its column does not accept; the message is a sentence for the client."""


def checked_value(feature: Feature, value: Any) -> Any:
    """Return the value as rows carry it to the model; for a moment, the number of units since 1970.

    Raises:
        Mistake: the column does not accept it.
    """
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        if not feature.nullable:
            raise Mistake(f"expected {wanted(feature)}, got {describe(value)}")
        return math.nan if feature.kind is FeatureKind.NUMBER else None
    return _CHECKS[feature.kind](feature, value)


def _number(feature: Feature, value: Any) -> float | int:
    if feature.takes_booleans and isinstance(value, bool | np.bool_):
        return float(value)
    if not _is_number(value):
        raise Mistake(f"expected a number, got {describe(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise Mistake("the number is too large for a 64-bit float") from None
    if not math.isfinite(number):
        raise Mistake(f"expected a number, got {describe(number)}")
    _check_limits(feature, value, number_limits(feature.dtype))
    if feature.dtype == OBJECT:
        return value.item() if isinstance(value, np.generic) else value  # type: ignore[no-any-return]
    return int(value) if feature.is_whole_type and number.is_integer() else number


def _integer(feature: Feature, value: Any) -> int:
    if not _is_number(value) or (isinstance(value, float | np.floating) and not math.isfinite(value)):
        raise Mistake(f"expected a whole number, got {describe(value)}")
    whole = int(value)
    if whole != value:
        raise Mistake(f"expected a whole number, got {value}")
    _check_limits(feature, whole, number_limits(feature.dtype or "int64"))
    return whole


def _check_limits(feature: Feature, value: Any, fitting: tuple[float, float]) -> None:
    lowest, highest = fitting
    if not lowest <= value <= highest:
        span = f" ({lowest} to {highest})" if isinstance(lowest, int) else ""
        raise Mistake(f"{_short(value)} does not fit {feature.dtype or 'int64'}{span}")
    if feature.minimum is not None and value < feature.minimum:
        raise Mistake(f"{value} is below the minimum {feature.minimum:g}")
    if feature.maximum is not None and value > feature.maximum:
        raise Mistake(f"{value} is above the maximum {feature.maximum:g}")


def _boolean(_: Feature, value: Any) -> bool:
    if isinstance(value, bool | np.bool_) or (_is_number(value) and value in (0, 1)):
        return bool(value)
    raise Mistake(f"expected true or false, got {describe(value)}")


def _category(feature: Feature, value: Any) -> Any:
    levels = feature.categories
    if not levels:
        return _text(feature, value)
    is_boolean = isinstance(value, bool | np.bool_)
    if isinstance(value, str) or is_boolean or _is_number(value):
        try:
            level = levels[levels.index(value)]
        except ValueError:
            level = None
        if level is not None and isinstance(level, bool) == is_boolean:
            return level
        alike = [level for level in levels if level == value and isinstance(level, bool) == is_boolean]  # 1 beside True
        if alike:
            return alike[0]
        if any(isinstance(level, str) == isinstance(value, str) for level in levels):
            raise Mistake(f"{_quoted(value)} is not one of {_listed(levels)}")
    raise Mistake(f"expected {wanted(feature)}, got {describe(value)}")


def _text(feature: Feature, value: Any) -> str:
    if not isinstance(value, str):
        raise Mistake(f"expected {wanted(feature)}, got {describe(value)}")
    return value


def _moment(feature: Feature, value: Any) -> int:
    text = _text(feature, value)
    try:
        return count_of(text, datetime_unit(feature.dtype) or "us", zoned=bool(feature.zone))
    except WrongTime as error:
        raise Mistake(f"{quote(text)} {error}") from None


def _tensor(feature: Feature, value: Any) -> Any:
    try:
        return check_tensor(feature, value).tolist()
    except WrongTensor as error:
        raise Mistake(f"expected {wanted(feature)}, got {error}") from None


def _list(feature: Feature, value: Any) -> list[Any]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise Mistake(f"expected {wanted(feature)}, got {describe(value)}")
    return list(value)


def _any(_: Feature, value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


_CHECKS: Final[Mapping[FeatureKind, Callable[[Feature, Any], Any]]] = {
    FeatureKind.NUMBER: _number,
    FeatureKind.INTEGER: _integer,
    FeatureKind.BOOLEAN: _boolean,
    FeatureKind.CATEGORY: _category,
    FeatureKind.TEXT: _text,
    FeatureKind.DATETIME: _moment,
    FeatureKind.TENSOR: _tensor,
    FeatureKind.LIST: _list,
    FeatureKind.ANY: _any,
}


# --- words --------------------------------------------------------------------------------------------------------


def wanted(feature: Feature) -> str:
    """Describe what a column accepts, for messages."""
    if feature.kind is FeatureKind.CATEGORY:
        return f"a category ({_spoken_levels(feature)})"
    if feature.kind is FeatureKind.DATETIME:
        return f"a date and time (a string such as 2024-01-31T12:00:00{'+01:00' if feature.zone else ''})"
    if feature.kind is FeatureKind.TENSOR:
        return f"a tensor of shape {spoken_shape(feature.shape)}" if feature.shape else "a single value"
    return _WANTED[feature.kind]


_WANTED: Final = {
    FeatureKind.NUMBER: "a number",
    FeatureKind.INTEGER: "a whole number",
    FeatureKind.BOOLEAN: "true or false",
    FeatureKind.TEXT: "a text (a string)",
    FeatureKind.LIST: "a list",
    FeatureKind.ANY: "a value",
}


def _spoken_levels(feature: Feature) -> str:
    types = {type(level) for level in feature.categories} or {str}
    if len(types) > 1:
        return "a number" if types == {int, float} else f"one of {_listed(feature.categories)}"
    return {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}[types.pop()]


def spoken_shape(shape: tuple[int | None, ...]) -> str:
    """Return a shape for messages, with -1 for an axis of any length.

    >>> spoken_shape((None, 3))
    '[-1, 3]'
    """
    return str([-1 if length is None else length for length in shape])


def _listed(levels: tuple[Any, ...]) -> str:
    known = ", ".join(_quoted(item) for item in levels[:MAX_LISTED])
    return f"{known}, … ({len(levels)} in all)" if len(levels) > MAX_LISTED else known


def _quoted(value: Any) -> str:
    if isinstance(value, str):
        return quote(value)
    return str(bool(value)).lower() if isinstance(value, bool | np.bool_) else _short(value)


def _short(value: Any) -> str:
    return str(value)[:_MAX_QUOTED]


def quote(text: str) -> str:
    """Return the text in quotes, shortened if it is long."""
    return repr(text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 1] + "…")


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 value`, `2 values`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def describe(value: Any) -> str:
    """Describe a JSON value for messages.

    >>> describe("abc"), describe(True), describe(None), describe([1]), describe(float("nan"))
    ("the string 'abc'", 'the boolean true', 'null', 'a list', 'NaN')
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"the string {quote(value)}"
    if isinstance(value, bool | np.bool_):
        return f"the boolean {str(bool(value)).lower()}"
    if isinstance(value, numbers.Real):
        if isinstance(value, float | np.floating) and not math.isfinite(value):
            return "NaN" if math.isnan(value) else ("infinity" if value > 0 else "-infinity")
        return f"the number {_short(value)}"
    if isinstance(value, list | tuple):
        return "a list"
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
