"""Reading from an ASGI connection without paying for a task or a timer where there is nothing to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from streamb.errors import BodyTooLarge, Overloaded, RequestTimeout

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

SMALL_BODY: Final = 64 * 1024
"""Bodies up to this size are not counted: their number is bounded elsewhere, and they are nearly all there are."""


class BodyRoom:
    """How many bytes of large bodies are held at once, from their arrival to the answer. Small ones always fit.

    Without this, a queue that is bounded in requests could hold a thousand of the largest.
    """

    __slots__ = ("_limit", "taken")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def take(self, size: int) -> None:
        """Make room for more bytes; `Overloaded` where there is none."""
        if self.taken + size > self._limit:
            raise Overloaded(
                f"the gateway holds {self.taken} bytes of large requests already; send this one again in a moment, "
                "or fewer rows at once",
                retry_after_s=1,
            )
        self.taken += size

    def give_back(self, size: int) -> None:
        """The answer is out."""
        self.taken -= size


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


async def read_body(
    receive: Receive, *, declared: int | None, limit: int, timeout_s: float, hold: Callable[[int], None]
) -> bytes | None:
    """The whole body, or None when the client went away while it was sending.

    Args:
        declared: the Content-Length, if there is one.
        limit: in bytes; a longer body is refused as soon as it is known to be longer.
        timeout_s: for all of it to arrive.
        hold: told how many bytes are here, once they are more than `SMALL_BODY`; may raise.

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
