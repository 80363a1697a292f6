"""Datetimes as ISO 8601 text (what travels) and as whole numbers of a unit since 1970 (what checked rows hold)."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput

_ISO: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2}))?)?"
)
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_SPOKEN: Final = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds", "D": "days"}
_COARSE: Final = frozenset({"Y", "M", "W", "D", "h", "m", "generic"})  # generic: the unit of a bare NaT
_INT64: Final = 2**63
_DAY_S: Final = 86_400


class WrongTime(ValueError):
    """A text that is not a datetime of the wanted form; the message says what is wrong."""


def count_of(text: str, unit: str, *, zoned: bool) -> int:
    """Return the number of units from 1970 (in UTC where there is a zone) to the moment that the text names.

    Args:
        text: ISO 8601: a date, or a date and a time with up to nine digits of a second.
        unit: "s", "ms", "us", "ns", or "D" for days.
        zoned: whether the text must have an offset ("Z", "+02:00"); otherwise it must have none.

    Raises:
        WrongTime: the text has another form, names no moment, or does not fit in the unit.

    >>> count_of("1970-01-01T00:00:01.5", "ms", zoned=False), count_of("1970-01-01T01:00+01:00", "s", zoned=True)
    (1500, 0)
    """
    found = _ISO.fullmatch(text)
    if found is None:
        raise WrongTime("is not a date and time such as 2024-01-31T12:00:00")
    day, time, utc, sign, hours, minutes = found.groups()
    if zoned and utc is None and sign is None:
        raise WrongTime("has no offset from UTC; write it behind the time, such as 2024-01-31T12:00:00+01:00")
    if not zoned and (utc or sign):
        raise WrongTime("has an offset from UTC, but this column has no time zone; leave the offset out")
    try:
        moment = np.datetime64(f"{day}T{time or '00:00'}")
    except ValueError:
        raise WrongTime("names no moment: such a date or time does not exist") from None
    given, _ = np.datetime_data(moment.dtype)
    count = int(moment.astype(np.int64))
    if given == "m":
        given, count = "s", count * 60
    if sign:
        count -= (1 if sign == "+" else -1) * (int(hours) * 60 + int(minutes)) * 60 * _PER_SECOND[given]
    return _in_unit(count, given, unit)


def _in_unit(count: int, given: str, unit: str) -> int:
    """Convert a count exactly from one unit to another."""
    numerator, denominator = (
        (1, _DAY_S * _PER_SECOND[given]) if unit == "D" else (_PER_SECOND[unit], _PER_SECOND[given])
    )
    whole, rest = divmod(count * numerator, denominator)
    if rest:
        raise WrongTime(f"is more precise than this column, which has whole {_SPOKEN[unit]}")
    if not -_INT64 < whole < _INT64:
        raise WrongTime(f"is too far from 1970 for 64 bits of {_SPOKEN[unit]}")
    return whole


def moments(counts: Any, unit: str) -> NDArray[np.datetime64]:
    """Return counts of a unit since 1970 as datetime64 of this unit; None becomes NaT."""
    missing = np.iinfo(np.int64).min  # how NumPy stores NaT
    return np.array([missing if count is None else count for count in counts], np.int64).view(f"datetime64[{unit}]")


def text_unit(values: NDArray[Any]) -> str:
    """Return the unit of datetime64 values, seconds for coarser ones; also where it is one that no text carries."""
    unit, step = np.datetime_data(values.dtype)
    return "s" if unit in _COARSE or step != 1 else str(unit)


def iso_texts(values: NDArray[np.datetime64], suffix: str = "") -> list[str | None]:
    """Return datetime64 values as ISO 8601 texts in the precision of their type, each with the suffix; NaT as None.

    Raises:
        InvalidInput: the type has no unit that a text can carry, such as picoseconds.

    >>> iso_texts(np.array(["2024-01-31T12:00", "NaT"], "datetime64[ms]"), "Z")
    ['2024-01-31T12:00:00.000Z', None]
    """
    unit: Any = text_unit(values)
    if unit == "s":
        values = values.astype("datetime64[s]")
    if unit not in _PER_SECOND:
        raise InvalidInput(f"datetimes in the unit {unit!r} cannot be sent; convert them to datetime64[ns]")
    texts = np.datetime_as_string(values, unit=unit).tolist()
    missing = np.isnat(values).tolist()
    return [None if absent else text + suffix for text, absent in zip(texts, missing, strict=True)]
