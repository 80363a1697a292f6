"""Reads from an ASGI connection without the cost of a task or a timer when nothing must be waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from streamb.errors import BodyTooLarge, Overloaded, RequestTimeout

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

CONNECTION: Final = "streamb.connection"
"""The key of a request's scope under which this package's listener puts the connection."""

SMALL_BODY: Final = 64 * 1024
"""Bodies up to this size are not counted: their number is limited elsewhere, and nearly all bodies are this small."""


class BodyRoom:
    """Limits the bytes of large bodies in memory, from their arrival to the answer. Small bodies are always accepted.

    Without this, a queue that is limited only in requests could hold a thousand of the largest.
    """

    __slots__ = ("_limit", "taken")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def take(self, size: int) -> None:
        """Reserve more bytes; raises `Overloaded` if the limit is reached."""
        if self.taken + size > self._limit:
            raise Overloaded(
                f"the gateway already holds {self.taken} bytes of large requests; send this one again in a moment, "
                "or send fewer rows at once",
                retry_after_s=1,
            )
        self.taken += size

    def give_back(self, size: int) -> None:
        """Release bytes after the answer was sent."""
        self.taken -= size


def poll(receive: Receive) -> Message | None:
    """Return the next message if it has already arrived, else None (no message is lost).

    Runs `receive` to its first wait and closes it there, as cancelling it would; Starlette's `is_disconnected` does the
    same with a cancelled scope, at ten times the cost.
    """
    waiter = receive().__await__()
    try:
        next(waiter)
    except StopIteration as arrived:
        message: Message = arrived.value
        return message
    close = getattr(waiter, "close", None)
    if close is not None:
        close()
    return None


def has_disconnected(receive: Receive) -> bool:
    """Return whether the client went away. Call it only after the whole body was read: it would discard a part."""
    message = poll(receive)
    return message is not None and message["type"] == "http.disconnect"


def when_gone(scope: Message, callback: Callable[[], object]) -> bool:
    """Have `callback` called once, if the client leaves before its answer is complete.

    It is called in the event loop, from within the protocol, or at once if the client has already left. A request has
    one callback: a second one replaces it, and it is forgotten when the answer is complete. Call this after the whole
    body was read: from then on the connection is read, and only reading notices that the client has left.

    Returns:
        Whether it will be called. False behind a server other than this package's listener, which cannot tell: then
        `has_disconnected` must be asked from time to time.
    """
    connection = scope.get(CONNECTION)
    if connection is None:
        return False
    if connection.is_lost:
        callback()
    else:
        connection.on_lost = callback
        connection.flow.resume_reading()
    return True


async def read_body(
    receive: Receive, *, declared: int | None, limit: int, timeout_s: float, hold: Callable[[int], None]
) -> bytes | None:
    """Read the whole body; return None if the client went away while it was sending.

    Args:
        declared: the Content-Length, if there is one.
        limit: the largest size in bytes; a longer body is refused as soon as it is known to be longer.
        timeout_s: how long the whole body may take to arrive, in seconds.
        hold: called with the number of bytes received, once they are more than `SMALL_BODY`; may raise.

    Raises:
        BodyTooLarge: it passes the limit.
        RequestTimeout: it did not arrive in time.
    """
    if declared is not None and declared > limit:
        raise _too_large(limit)
    message = poll(receive)
    if message is not None and not message.get("more_body", False):
        if message["type"] == "http.disconnect":
            return None
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if len(body) > SMALL_BODY:
            hold(len(body))
        return body
    try:
        async with asyncio.timeout(timeout_s):
            return await _read_parts(receive, message, limit, hold)
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {timeout_s:g} s", limit_s=timeout_s) from None


async def _read_parts(
    receive: Receive, message: Message | None, limit: int, hold: Callable[[int], None]
) -> bytes | None:
    parts = bytearray()
    while True:
        if message is None:
            message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts += message.get("body", b"")
        if len(parts) > limit:
            raise _too_large(limit)
        if len(parts) > SMALL_BODY:
            hold(len(parts))
        if not message.get("more_body", False):
            return bytes(parts)
        message = None


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit} bytes; send fewer rows at once", limit_bytes=limit)
