"""Converts dataclasses to JSON values: fields by name, enums as values, tuples as lists, dataclasses as objects.

A class with an older stored form converts it to the present one before `from_plain` reads it.
Do not use this in the prediction path or for arrays: they are encoded by hand, as bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


def to_plain(value: Any) -> dict[str, Any]:
    """Return a dataclass as JSON values; `from_plain` reads them back.

    >>> from streamb.metrics.criteria import Finding, Verdict
    >>> to_plain(Finding("accuracy", Verdict.PASS, "0.9 of 50 labels"))["verdict"]
    'pass'
    """
    plain: dict[str, Any] = _adapter_of(value.__class__).dump_python(value, mode="json")
    return plain


def from_plain(cls: type[T], plain: Mapping[str, Any]) -> T:
    """Return the dataclass that `to_plain` converted.

    Args:
        cls: the dataclass.
        plain: values by name; unknown names are ignored, a missing field gets its default.

    Raises:
        ValueError: names each field that is missing without a default, or has a value of a wrong type.

    >>> from streamb.metrics.criteria import Finding
    >>> from_plain(Finding, {"criterion": "accuracy", "verdict": "maybe", "detail": ""})
    Traceback (most recent call last):
    ...
    ValueError: not a Finding: verdict: Input should be 'pass', 'fail' or 'inconclusive'
    """
    from pydantic import ValidationError

    kind: Any = cls  # mypy takes a type[T] for unhashable
    try:
        found: T = _adapter_of(kind).validate_python(plain)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'value'}: {one['msg']}" for one in error.errors())
        raise ValueError(f"not a {cls.__name__}: {wrong}") from None  # without the values: some are secret
    return found


@cache
def _adapter_of(cls: type[Any]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # late: it takes a quarter of a second, and most processes need it anyway

    return TypeAdapter(cls)
