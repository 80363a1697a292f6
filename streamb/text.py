"""Text from outside, before a person reads it: nothing in it may move a cursor or turn the direction of writing."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any, Final

OBEYED: Final = r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
"""Characters that terminals and readers obey instead of showing them, for a character class of a regular expression:
controls, those of the direction of writing, and invisible ones; not those that join letters (U+200C, U+200D)."""


def shown(text: str, *, lines: bool = False) -> str:
    r"""Return text with an escape in the place of each character that a terminal or a reader would obey.

    Args:
        text: any text.
        lines: whether line breaks and tabs stay as they are.

    >>> shown("iris\x1b[2J"), shown("a\nb"), shown("a\nb", lines=True), shown("Zürich 東京 \u202eexe")
    ('iris\\x1b[2J', 'a\\nb', 'a\nb', 'Zürich 東京 \\u202eexe')
    """
    if text.isprintable():
        return text
    return "".join(one if _is_harmless(one, lines=lines) else one.encode("unicode_escape").decode() for one in text)


def shown_within(value: Any) -> Any:
    """Return a JSON value with every text in it, names of fields too, as `shown` returns it; line breaks stay."""
    if isinstance(value, str):
        return shown(value, lines=True)
    if isinstance(value, Mapping):
        return {shown(str(name)): shown_within(one) for name, one in value.items()}
    return [shown_within(one) for one in value] if isinstance(value, list | tuple) else value


def shown_in_json(document: str) -> str:
    r"""Return a JSON document, in which such characters can only stand inside strings, with JSON's own escapes of them.

    >>> shown_in_json('{"name": "a\u202eb"}')
    '{"name": "a\\u202eb"}'
    """
    if document.isascii():  # a JSON text has its controls escaped already, but for DEL
        return document.replace("\x7f", "\\u007f")
    return "".join(one if _is_harmless(one, lines=True) else _json_escape(one) for one in document)


def _is_harmless(one: str, *, lines: bool) -> bool:
    # `isprintable` is False for the kinds Cc, Cf, Cs, Co, Cn, Zl and Zp, and for spaces other than U+0020.
    return one.isprintable() or (lines and one in "\n\t") or unicodedata.category(one) == "Zs"


def _json_escape(one: str) -> str:
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
