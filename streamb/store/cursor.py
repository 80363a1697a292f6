"""Opaque cursors: the end of a page, bound to the list that it belongs to.

A cursor holds the key or number of the last item, never an offset, so that pages stay stable while items are added
and removed. It is neither secret nor signed: a forged one can only select another place in the same list.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, TypeVar

import orjson

from streamb.errors import BadRequest
from streamb.hashing import sha256_hex
from streamb.store.names import is_storable

P = TypeVar("P", str, int)

_MAX_INTEGER: Final = 2**63 - 1
_MAX_CURSOR_CHARS: Final = 4096


def encode_cursor(list_name: str, place: str | int) -> str:
    """Return the cursor for the items after `place` in the named list (URL-safe text)."""
    return base64.urlsafe_b64encode(orjson.dumps([_fingerprint(list_name), place])).decode().rstrip("=")


def decode_cursor(list_name: str, cursor: str, kind: type[P]) -> P:
    """Return the place in a cursor of this list.

    Args:
        list_name: the name of the list, as for `encode_cursor`.
        cursor: the cursor that a client sent.
        kind: the type of the place: str or int.

    Raises:
        BadRequest: the text is not a cursor, or belongs to another list.
    """
    place = _decode(list_name, cursor)
    if type(place) is not kind:
        raise _broken()
    if isinstance(place, str) and not is_storable(place):
        raise _broken()
    if isinstance(place, int) and not 0 <= place <= _MAX_INTEGER:
        raise _broken()
    return place


def _decode(list_name: str, cursor: str) -> object:
    if len(cursor) > _MAX_CURSOR_CHARS:
        raise _broken()
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        content = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise _broken() from error
    if not isinstance(content, list) or len(content) != 2 or content[0] != _fingerprint(list_name):
        raise _broken()
    return content[1]


def _broken() -> BadRequest:
    return BadRequest("the cursor does not belong to this list: start again without a cursor")


def _fingerprint(list_name: str) -> str:
    return sha256_hex(list_name.encode())[:8]
