"""Which texts may name something in a store: those that every database can hold and sort."""

from __future__ import annotations

import re
from typing import Final

from streamb.errors import InvalidInput

_MAX_COLLECTION_CHARS: Final = 100
_MAX_KEY_CHARS: Final = 512  # PostgreSQL indexes up to 2,700 bytes; a character takes up to four
_UNSTORABLE: Final = re.compile("[\x00-\x1f\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """True for text without control characters and lone surrogates, which PostgreSQL or UTF-8 cannot hold."""
    return _UNSTORABLE.search(text) is None


def check_collection(collection: str) -> None:
    """Refuse (`InvalidInput`) a collection that cannot be one."""
    _check("collection", collection, _MAX_COLLECTION_CHARS)


def check_stream(stream: str) -> None:
    """Refuse (`InvalidInput`) a journal stream that cannot be one."""
    _check("stream", stream, _MAX_KEY_CHARS)


def check_key(key: str) -> None:
    """Refuse (`InvalidInput`) a key that cannot be one."""
    _check("key", key, _MAX_KEY_CHARS)


def check_prefix(prefix: str) -> None:
    """Refuse (`InvalidInput`) a prefix that no key can have."""
    if prefix:
        _check("prefix", prefix, _MAX_KEY_CHARS)


def _check(what: str, text: str, longest: int) -> None:
    if not 0 < len(text) <= longest:
        raise InvalidInput(f"a {what} has 1 to {longest} characters; this one has {len(text)}")
    if not is_storable(text):
        raise InvalidInput(f"a {what} is text for people; {text!r} holds control characters or broken Unicode")
