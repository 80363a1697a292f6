"""Reading from an ASGI connection without paying for a task or a timer where there is nothing to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from streamb.errors import BodyTooLarge, RequestTimeout

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


def poll(receive: Receive) -> Message | None:
    """The next message if it is there already, else None (and nothing is lost).

    Runs `receive` to its first wait and closes it there, as cancelling it would; Starlette's `is_disconnected` does the
    same with a cancelled scope, for ten times the price.
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
    """Whether the client went away. Only after the whole body was read: it would swallow a part of it."""
    message = poll(receive)
    return message is not None and message["type"] == "http.disconnect"


async def read_body(receive: Receive, *, declared: int | None, limit: int, timeout_s: float) -> bytes | None:
    """The whole body, or None when the client went away while it was sending.

    Args:
        declared: the Content-Length, if there is one.
        limit: in bytes; a longer body is refused as soon as it is known to be longer.
        timeout_s: for all of it to arrive.

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
        return body
    try:
        async with asyncio.timeout(timeout_s):
            return await _read_parts(receive, message, limit)
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {timeout_s:g} s", limit_s=timeout_s) from None


async def _read_parts(receive: Receive, message: Message | None, limit: int) -> bytes | None:
    parts = bytearray()
    while True:
        if message is None:
            message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts += message.get("body", b"")
        if len(parts) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(parts)
        message = None


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit} bytes; send fewer rows at once", limit_bytes=limit)
