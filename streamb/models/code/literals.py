"""Plain values as Python source: numbers, texts, bytes, and tuples, lists, dictionaries and sets of them."""

from __future__ import annotations

import math
from typing import Any, Final

MAX_LITERAL: Final = 1 << 20
"""Characters of source; a larger value is stored beside the code."""

_MAX_DEPTH: Final = 30


def literal(value: Any) -> str | None:
    """Return source that evaluates to `value`, or None if it is not plain or too large.

    The same value always gives the same text: sets are sorted.

    >>> literal({"limits": (0.5, float("inf")), "names": {"b", "a"}})
    "{'limits': (0.5, float('inf')), 'names': {'a', 'b'}}"
    """
    try:
        text = _text(value, _MAX_DEPTH)
    except (_NotPlainError, RecursionError):
        return None
    return text if len(text) <= MAX_LITERAL else None


class _NotPlainError(Exception):
    """The value has no literal."""


def _text(value: Any, depth: int) -> str:
    kind = type(value)
    if value is None or value is Ellipsis or kind in (bool, int, str, bytes):
        return repr(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
    if kind is complex:
        return f"complex({_text(value.real, depth)}, {_text(value.imag, depth)})"
    if depth == 0 or kind not in (tuple, list, dict, set, frozenset):
        raise _NotPlainError
    if kind is dict:
        pairs = (f"{_text(key, depth - 1)}: {_text(item, depth - 1)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    items = [_text(item, depth - 1) for item in value]
    if kind is list:
        return "[" + ", ".join(items) + "]"
    if kind is tuple:
        return "(" + ", ".join(items) + (",)" if len(items) == 1 else ")")
    text = "{" + ", ".join(sorted(items)) + "}" if items else "set()"
    return text if kind is set else f"frozenset({text})" if items else "frozenset()"
