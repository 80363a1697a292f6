"""Compares a label with a predicted class, whatever the types in which they are written.

`1`, `1.0`, `"1"` and `true` are one class, as in the same column saved as JSON, as CSV, by a data frame. Two strings
are compared as they are: `"01"` is not `"1"`.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

Label: TypeAlias = str | bool | int | float

_NUMBER: Final = re.compile(r"[+-]?(\d+|(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?)", re.ASCII)
_TRUTHS: Final = {"true": 1, "false": 0}


def same_class(label: Label, prediction: Label) -> bool:
    """Return whether both name the same class.

    >>> same_class("1", 1.0), same_class(1, True), same_class("True", True)
    (True, True, True)
    >>> same_class("01", "1"), same_class("1.5", 1)
    (False, False)
    """
    if type(label) is type(prediction):
        return label == prediction
    return _plain(label) == _plain(prediction)


def _plain(value: Label) -> str | int | float:
    """A class as a number if it can be read as one. Python compares whole numbers and fractions exactly."""
    if not isinstance(value, str):
        return value
    truth = _TRUTHS.get(value.lower())
    if truth is not None:
        return truth
    if _NUMBER.fullmatch(value) is None:
        return value
    return int(value) if value.lstrip("+-").isdigit() else float(value)
