"""The gateway's HTTP listener: uvicorn with unneeded features off, which writes each reply in one system call.

uvicorn writes the head and the body of a reply separately, and uvloop makes a system call of each. On a small reply
that second call is a tenth of all it costs, so the protocol here joins what is written in one turn of the event loop.

It also bounds what uvicorn does not: how long the head of a request may take and how large it may be. And where uvicorn
drops the body of a request that offers to go on in another protocol (as many HTTP/2 clients do), it is read here. A
request can be told that its client has left (`receive.when_gone`) instead of asking again and again.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from streamb.errors import BadRequest, MethodNotAllowed, RequestTimeout, StartFailed, StreambError
from streamb.serving.http.access import RequestIds
from streamb.serving.http.receive import CONNECTION, Message, Receive, Send
from streamb.serving.http.replies import error_reply
from streamb.serving.http.transport import CorkedTransport

App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

_HEAD_S: Final = 30.0
_HEAD_BYTES: Final = 64 * 1024
"""The longest time for the head of a request from its first byte (first request: from connecting), and its size."""

_REQUEST_IDS: Final = RequestIds()

TESTED_UVICORN: Final = "uvicorn>=0.54,<0.55"
"""As in pyproject.toml."""

_INTERNALS: Final[Mapping[type, str]] = {
    HttpToolsProtocol: (
        "connection_made connection_lost data_received on_headers_complete on_response_complete "
        "send_400_response timeout_keep_alive_handler handle_websocket_upgrade _should_upgrade "
        "_unset_keepalive_if_required cycle flow headers loop parser pipeline scope server_state timeout_keep_alive "
        "timeout_keep_alive_task transport url"
    ),
    RequestResponseCycle: "disconnected message_event more_body response_complete scope",
}


def missing_internals() -> list[str]:
    """Return what the listener uses of uvicorn's internals, and the installed uvicorn does not have."""
    return [
        f"{owner.__name__}.{name}"
        for owner, needed in _INTERNALS.items()
        for name in needed.split()
        if not hasattr(owner, name) and name not in _set_by(owner)
    ]


def _set_by(owner: type) -> set[str]:
    """The attributes that the methods of a class set, and other names in them."""
    codes = [getattr(method, "__code__", None) for method in vars(owner).values()]
    return {name for code in codes if code is not None for name in code.co_names}


def listener_config(app: App, *, host: str, port: int, **overrides: Any) -> uvicorn.Config:
    """Return the uvicorn configuration of a gateway.

    Args:
        app: the gateway, as it is or wrapped.
        host: the address to listen on.
        port: 0 for any free port.
        overrides: further arguments of `uvicorn.Config`, such as `ssl_certfile`, `fd` or `uds`.

    Raises:
        StartFailed: the installed uvicorn is another one inside than the listener needs.
    """
    if missing := missing_internals():
        raise StartFailed(
            f"the listener builds on internals of uvicorn, and the installed uvicorn {uvicorn.__version__} lacks "
            f"{', '.join(missing)}; install one that streamb is tested with: pip install '{TESTED_UVICORN}'"
        )
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


class _Dropped(list[tuple[bytes, bytes]]):
    """Discards the headers after a chunked body: they would count as request headers, without a size limit."""

    def append(self, _header: tuple[bytes, bytes]) -> None:
        return


_TRAILERS: Final = _Dropped()


class CorkedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 over a corked transport, with bounded heads.

    Attributes:
        is_lost: whether the connection has ended.
        on_lost: called if it ends before the answer of the request in progress; set by `receive.when_gone`.
    """

    is_lost = False
    on_lost: Callable[[], object] | None = None
    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _data = b""
    _answered_at = 0.0
    _running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start a connection."""
        self._corked = CorkedTransport(transport, self.loop, self._body_is_coming)
        super().connection_made(self._corked)  # type: ignore[arg-type]
        self._head_timer = self.loop.call_later(_HEAD_S, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._forget_head()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)
        self.is_lost = True
        running = self._running
        if running is not None and not running.response_complete:  # uvicorn tells only the last of those sent ahead
            running.disconnected = True
            running.message_event.set()
        told, self.on_lost = self.on_lost, None
        if told is not None:
            told()

    def data_received(self, data: bytes) -> None:
        """Read requests; after the last reply of the connection, only drop what comes."""
        if self._corked.lingers:
            self._corked.drop(data)
            return
        self._data, scope, cycle = data, self.scope, self.cycle
        super().data_received(data)
        while self._data is not data:  # an offer was declined: once more
            data = self._data
            super().data_received(data)
        if self.cycle is None or self.cycle.scope is not self.scope:
            idle = cycle is None or (cycle.response_complete and not cycle.more_body)
            whole = self.scope is scope or (idle and self.cycle is cycle)
            if not whole:  # it begins behind other requests in these data: it counts from the next data on
                self._forget_head()
            self._head_grew(len(data) if whole else 0)
        elif self._head_timer is not None:
            self._forget_head()

    def on_headers_complete(self) -> None:
        """Start a request; its headers are complete now."""
        self.scope[CONNECTION] = self  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()
        self.headers = _TRAILERS
        if not self.pipeline:
            self._running = self.cycle

    def say(self, lines: bytes) -> None:
        """Add header lines to the next reply, each with its line end; that costs less than headers of the reply."""
        self._corked.lines = lines

    def send_400_response(self, msg: str) -> None:
        """Answer data that is not HTTP with an error in the usual form."""
        self._refuse(BadRequest(f"{msg.rstrip('.')}: it cannot be read as HTTP/1.1"))

    def _refuse(self, error: StreambError) -> None:
        """Send an error instead of calling the app, and close."""
        reply = error_reply(error, request_id := _REQUEST_IDS.new())
        lines = [*reply.headers, (b"x-request-id", request_id.encode()), (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % line for line in dict(lines).items())
        self.transport.write(b"".join((STATUS_LINE[error.status], head, b"\r\n", reply.body)))
        self.transport.close()

    # --- heads --------------------------------------------------------------------------------------------------------

    def _head_grew(self, size: int) -> None:
        """Check size and time of a head that has begun but not ended."""
        if self.transport.is_closing():
            return
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_S, self._head_is_late)
        self._head_bytes += size
        if self._head_bytes > _HEAD_BYTES:
            self._forget_head()
            self._refuse(BadRequest(f"the head of the request is larger than {_HEAD_BYTES} bytes"))

    def _head_is_late(self) -> None:
        begun, self._head_timer = self._head_bytes, None
        if self.transport.is_closing():
            return
        if begun:
            self._refuse(RequestTimeout(f"the head of the request did not arrive within {_HEAD_S:g} s"))
        else:  # no request has begun
            self.transport.close()

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._head_bytes = 0

    # --- between requests ---------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Start the next request, or wait for one; a single timer serves all the pauses of a connection."""
        self.on_lost = None
        if self.pipeline:
            self._running = self.pipeline[-1][0]
        if self.pipeline or self.timeout_keep_alive_task is None or self.transport.is_closing():
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
        self._answered_at = self.loop.time()

    def _unset_keepalive_if_required(self) -> None:
        """Keep the timer running: when it fires, it checks whether the connection is idle."""

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has been idle long enough; else check again when it may have been."""
        is_idle = self.cycle.response_complete and self._head_timer is None
        left = self._answered_at + self.timeout_keep_alive - self.loop.time() if is_idle else self.timeout_keep_alive
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            self.timeout_keep_alive_task = None
            super().timeout_keep_alive_handler()

    # --- offers of another protocol -----------------------------------------------------------------------------------

    def _should_upgrade(self) -> bool:
        """Make uvicorn call `handle_websocket_upgrade` for every request that offers to change the protocol."""
        return True

    def handle_websocket_upgrade(self) -> None:
        """Decline the offer: parse the request once more without it.

        The parser stops at the end of such a head, so a new one gets the same head and what follows it.
        """
        method, stopped = self.parser.get_method(), sys.exception()
        if method == b"CONNECT" or stopped is None:
            self._refuse(MethodNotAllowed("this server is not a proxy", allowed=["GET", "HEAD", "POST"]))
            return
        rest = self._data[stopped.args[0] :]
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.scope["http_version"].encode())]
        lines += [
            b"%b: %b" % header for header in self.scope["headers"] if header[0] not in (b"connection", b"upgrade")
        ]
        self.parser = httptools.HttpRequestParser(self)
        self._data = b"\r\n".join((*lines, b"\r\n")) + rest

    def _body_is_coming(self) -> bool:
        cycle = self.cycle
        return cycle is not None and cycle.response_complete and cycle.more_body
