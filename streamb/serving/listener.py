"""How a gateway listens: uvicorn, told to do nothing a gateway does not need, and to write each reply once.

uvicorn writes the head and the body of a reply separately, and uvloop makes a system call of each. On a small reply
that second call is a tenth of all it costs, so the protocol here joins what is written in one turn of the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streamb.serving.receive import Message, Receive, Send

App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

_FLUSH_BYTES: Final = 64 * 1024
"""More than this is handed on at once, so that flow control sees it."""

_LINGER_S: Final = 3.0
_LINGER_BYTES: Final = 256 * 1024 * 1024
"""How long, and for how much, a refused body is dropped before the connection is closed."""


def listener_config(app: App, *, host: str, port: int, **overrides: Any) -> uvicorn.Config:
    """The uvicorn configuration of a gateway.

    Args:
        app: the gateway, as it is or wrapped.
        host: the address to listen on.
        port: 0 for any free port.
        overrides: further arguments of `uvicorn.Config`, such as `ssl_certfile`, `fd` or `uds`.
    """
    settings: dict[str, Any] = {
        "http": CorkedProtocol,
        "ws": "none",
        "lifespan": "off",
        "interface": "asgi3",
        "access_log": False,
        "log_config": None,
        "proxy_headers": False,
        "server_header": False,
        "date_header": False,
        "timeout_keep_alive": 75,
        "backlog": 4096,
    }
    return uvicorn.Config(app, host=host, port=port, **{**settings, **overrides})


class CorkedTransport:
    """A transport that joins the writes of one turn of the event loop, and that lingers where a body is still coming.

    Closing a socket with unread bytes resets the connection, and the reset may overtake the reply that says why. So
    while a refused body is still being sent, only the writing side is closed; what comes is dropped for a while.
    """

    __slots__ = ("_body_is_coming", "_dropped", "_loop", "_parts", "_real", "_size", "lingers", "pause_reading")

    def __init__(
        self, real: asyncio.Transport, loop: asyncio.AbstractEventLoop, body_is_coming: Callable[[], bool]
    ) -> None:
        self._real = real
        self._loop = loop
        self._body_is_coming = body_is_coming
        self._parts: list[bytes] = []
        self._size = 0
        self._dropped = 0
        self.lingers = False
        self.pause_reading = real.pause_reading

    def write(self, data: bytes) -> None:
        """Write with what else is written in this turn."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand everything on now."""
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            self._real.write(b"".join(parts))

    def close(self) -> None:
        """Close, after what was written; the second time without lingering."""
        self.flush()
        if self.lingers or not self._body_is_coming():
            self._real.close()
            return
        self.lingers = True
        if self._real.can_write_eof():
            self._real.write_eof()
        self._real.resume_reading()
        self._loop.call_later(_LINGER_S, self._real.close)

    def drop(self, data: bytes) -> None:
        """Take what comes while it lingers."""
        self._dropped += len(data)
        if self._dropped > _LINGER_BYTES:
            self._real.close()

    def is_closing(self) -> bool:
        """Whether nothing more will be written."""
        return self.lingers or self._real.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class CorkedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 over a corked transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start a connection."""
        self._corked = CorkedTransport(transport, self.loop, self._body_is_coming)
        super().connection_made(self._corked)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Read requests; after the last reply of the connection, only drop what comes."""
        if self._corked.lingers:
            self._corked.drop(data)
        else:
            super().data_received(data)

    def _body_is_coming(self) -> bool:
        cycle = self.cycle
        return cycle is not None and cycle.response_complete and cycle.more_body
