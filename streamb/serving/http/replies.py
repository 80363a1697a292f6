"""Replies: status, headers and body, and the reply for an error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from streamb.errors import StreambError
from streamb.serving.answer import JSON_HEADERS
from streamb.serving.http.receive import Send

_RETRIED_LATER: Final = frozenset({429, 503})
_CLOSING: Final = frozenset({408, 413})
_LONGEST: Final = 4000
"""The most characters of an error's sentence: it may repeat what the client sent, of any length."""


class Reply:
    """One complete HTTP reply."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = JSON_HEADERS) -> None:
        self.status = status
        self.body = body
        self.headers = [*headers, (b"content-length", b"%d" % len(body))]

    async def send(self, send: Send, request_id: str) -> None:
        """Send the reply; it is not an error if the client has gone away."""
        self.headers.append((b"x-request-id", request_id.encode("ascii")))
        try:
            await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
            await send({"type": "http.response.body", "body": self.body})
        except OSError:  # some ASGI servers raise this if the client is gone
            return


def json_reply(document: Mapping[str, Any], status: int = 200) -> Reply:
    """Return a reply with a JSON document."""
    return Reply(status, orjson.dumps(document))


def error_reply(error: StreambError, request_id: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> Reply:
    """Return the reply to a request that fails: `{"error", "code", "request_id", …details}`."""
    message = error.message if len(error.message) <= _LONGEST else f"{error.message[:_LONGEST]}…"
    named = {"error": message, "code": error.code, "request_id": request_id}
    document = {**named, **error.details, **named}  # these three come first, and no detail replaces them
    body = orjson.dumps(document, default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    return Reply(error.status, body, [*JSON_HEADERS, *headers, *_error_headers(error)])


def _error_headers(error: StreambError) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    if error.status in _RETRIED_LATER:
        seconds = error.details.get("retry_after_s", 1)
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(seconds))))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.status == 405:
        headers.append((b"allow", ", ".join(error.details.get("allowed", ())).encode()))
    if error.status in _CLOSING:  # the rest of the body is not worth reading
        headers.append((b"connection", b"close"))
    return headers
