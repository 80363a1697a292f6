"""Parameters in dicts within dicts, as flat names and back: `{"model": {"lr": 0.1}}` is `{"model/lr": 0.1}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SEPARATOR: Final = "/"


def nested(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with flat names as the nested dict that they came from."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        *outer, last = name.split(SEPARATOR)
        place = found
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = value
    return found


def flat(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a nested dict as one dict with flat names: the inverse of `nested`."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            found |= {f"{name}{SEPARATOR}{inner}": one for inner, one in flat(value).items()}
        else:
            found[name] = value
    return found
