"""Checks names of collections, streams and keys: text that every database can store and sort."""

from __future__ import annotations

import re
from typing import Final

from streamb.errors import InvalidInput

_MAX_COLLECTION_CHARS: Final = 100
_MAX_KEY_CHARS: Final = 512  # PostgreSQL indexes up to 2,700 bytes; a character takes up to four
_UNSTORABLE: Final = re.compile("[\x00-\x1f\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Return True for text without control characters and lone surrogates, which PostgreSQL or UTF-8 cannot hold."""
    return _UNSTORABLE.search(text) is None


def check_collection(collection: str) -> None:
    """Raise InvalidInput unless this is a valid name of a collection."""
    _check("collection", collection, _MAX_COLLECTION_CHARS)


def check_stream(stream: str) -> None:
    """Raise InvalidInput unless this is a valid name of a journal stream."""
    _check("stream", stream, _MAX_KEY_CHARS)


def check_key(key: str) -> None:
    """Raise InvalidInput unless this is a valid key."""
    _check("key", key, _MAX_KEY_CHARS)


def check_prefix(prefix: str) -> None:
    """Raise InvalidInput unless this is a valid prefix of keys; it may be empty."""
    if prefix:
        _check("prefix", prefix, _MAX_KEY_CHARS)


def _check(what: str, text: str, longest: int) -> None:
    if not 0 < len(text) <= longest:
        raise InvalidInput(f"a {what} has 1 to {longest} characters; this one has {len(text)}")
    if not is_storable(text):
        raise InvalidInput(f"a {what} must not hold control characters or broken Unicode, unlike {text!r}")
