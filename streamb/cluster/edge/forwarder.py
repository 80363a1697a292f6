"""The edge on machines without HAProxy: the same reverse proxy in Python, slower but otherwise equivalent."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import count
from typing import Any, Final, TypeAlias

import httpx

from streamb.cluster.edge.configuration import (
    STEERING_HEADERS,
    STEERING_PREFIX,
    Backend,
    EdgeConfig,
    Server,
    refusal,
    unavailable,
)
from streamb.cluster.listener import Listener
from streamb.control.observations import Endpoint
from streamb.errors import BadRequest, RequestTimeout, StartFailed, StreambError
from streamb.serving.callers import CLIENT_HEADER
from streamb.serving.http.access import RequestIds
from streamb.serving.http.cors import with_cors
from streamb.serving.http.receive import read_body, when_gone
from streamb.serving.http.replies import error_reply
from streamb.serving.http.routes import path_of
from streamb.serving.lane import ClientGone

_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"expect", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_CONNECTIONS: Final = 1000
_JSON: Final = (b"content-type", b"application/json")
_REQUEST_IDS: Final = RequestIds()

_BODY_S: Final = 30.0
_SILENCE_S: Final = 60.0
"""The longest time for the body of a prediction, and the longest pause in other bodies, as in HAProxy's settings."""

_log = logging.getLogger(__name__)

_Answer: TypeAlias = tuple[int, list[tuple[bytes, bytes]], bytes]


class Forwarder:
    """An HTTP reverse proxy in this process, with the methods of `HAProxy`."""

    def __init__(self, config: EdgeConfig) -> None:
        self._config = config
        self._servers: dict[tuple[str, str], Endpoint] = {}
        self._busy: dict[tuple[str, str], int] = {}
        self._draining: set[tuple[str, str]] = set()
        self._turn = count()
        self._listener: Listener | None = None
        self._client: httpx.AsyncClient | None = None
        self._connect_s = 0.0

    @property
    def pid(self) -> int | None:
        """This process's id while the proxy listens; else None."""
        return os.getpid() if self._listener and self._listener.alive else None

    async def ended(self, timeout_s: float) -> None:
        """Wait for `timeout_s` seconds; it ends only with this process."""
        await asyncio.sleep(timeout_s)

    async def start(self, timeout_s: float = 10.0, *, known: Mapping[str, Server] | None = None) -> None:  # noqa: ARG002
        """Start listening.

        Args:
            timeout_s: how long a connection to a server may take, in seconds.
            known: as for HAProxy; this proxy keeps its servers itself.

        Raises:
            StartFailed: the address is in use, or TLS is configured, which needs HAProxy.
        """
        if self._config.certificate is not None:
            raise StartFailed(
                "TLS needs HAProxy, which is not installed on this machine; install it with a package manager"
            )
        limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
        self._connect_s = timeout_s
        self._client = httpx.AsyncClient(limits=limits, follow_redirects=False)
        try:
            app = with_cors(self, self._config.cors_origins)
            self._listener = Listener(app, self._config.host, self._config.port)
        except OSError as error:
            raise StartFailed(f"cannot listen on {self._config.host}:{self._config.port}: {error}") from error

    async def stop(self) -> None:
        """Stop accepting, let running requests finish, then close."""
        if self._listener is not None:
            await self._listener.close()
        if self._client is not None:
            await self._client.aclose()

    async def add(self, backend: Backend, name: str, endpoint: Endpoint) -> None:
        """Add a server; it takes requests at once."""
        self._servers[backend, name] = endpoint

    async def drain(self, backend: Backend, name: str) -> None:
        """Stop sending new requests to a server."""
        self._draining.add((backend, name))

    async def remove(self, backend: Backend, name: str) -> bool:
        """Remove a drained server; return False while it still has requests."""
        if self._busy.get((backend, name)):
            return False
        self._servers.pop((backend, name), None)
        self._busy.pop((backend, name), None)
        self._draining.discard((backend, name))
        return True

    async def sessions(self) -> dict[tuple[str, str], tuple[int, str]]:
        """Return, by `(backend, server)`, the number of running requests, and "UP" or "DRAIN"."""
        return {key: (self._busy.get(key, 0), "DRAIN" if key in self._draining else "UP") for key in self._servers}

    # --- requests -----------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            answer = await self._forward(scope, receive)
        except StreambError as error:
            await error_reply(error, request_id := _REQUEST_IDS.new()).send(send, request_id)
        except ClientGone:
            return
        except Exception:
            _log.exception("a request to %s could not be passed on", scope["path"])
            await _reply(send, 500, [_JSON], refusal(500).encode())
        else:
            await _reply(send, *answer)

    async def _forward(self, scope: dict[str, Any], receive: Any) -> _Answer:
        """Return the answer of a gateway or of the Console."""
        path = path_of(scope)
        if path != "/v2" and not path.startswith("/v2/"):
            # Streamed: an artifact may be larger than the memory. Without a body there is nothing to wait for.
            has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
            return await self._ask_any("consoles", None, scope, lambda: _chunks(receive) if has_body else b"")
        limit = self._config.max_body_bytes
        # The gateways limit the total size of large bodies; here each request has its own limit.
        body = await read_body(receive, declared=None, limit=limit, timeout_s=_BODY_S, hold=lambda _size: None)
        if body is None:
            raise ClientGone
        about = _request_id(body) if path.startswith("/v2/models/") and path.endswith("/feedback") else None
        asking = asyncio.ensure_future(self._ask_any("gateways", about, scope, lambda: body))
        when_gone(scope, asking.cancel)  # closes the connection to the gateway, which then stops its work
        try:
            return await asking
        except asyncio.CancelledError:
            if asking.cancelled():
                raise ClientGone from None
            raise

    async def _ask_any(
        self, backend: Backend, about: str | None, scope: dict[str, Any], content: Callable[[], Any]
    ) -> _Answer:
        """Return the answer of the first reachable server; tries a backend's servers in turn if that is harmless."""
        tried: set[tuple[str, str]] = set()
        ended = False
        while found := next((one for one in self._candidates(backend, about) if one[0] not in tried), None):
            key, endpoint = found
            tried.add(key)
            self._busy[key] = self._busy.get(key, 0) + 1
            try:
                return await self._ask(endpoint, scope, content(), self._config.silence_of(backend))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue  # nothing was sent
            except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
                raise BadRequest(f"this request cannot be passed on: {error}") from None
            except httpx.TimeoutException:
                return 504, [_JSON], refusal(504).encode()
            except httpx.TransportError:
                # The server ended before it answered. Predictions have no side effects, so another one may be asked.
                ended = True
                if backend == "consoles" or about is not None:
                    break
            finally:
                self._busy[key] -= 1
        if ended:
            return 502, [_JSON], refusal(502).encode()
        return 503, [_JSON, (b"retry-after", b"1")], unavailable(backend).encode()

    def _candidates(self, backend: Backend, about: str | None) -> list[tuple[tuple[str, str], Endpoint]]:
        """Each server of a backend once: the least busy first, in turn, or the one assigned to `about` first."""
        servers = sorted(
            (key, one) for key, one in self._servers.items() if key[0] == backend and key not in self._draining
        )
        turn = next(self._turn) if about is None else zlib.crc32(about.encode())
        start = turn % len(servers) if servers else 0
        turned = servers[start:] + servers[:start]
        return turned if about is not None else sorted(turned, key=lambda server: self._busy.get(server[0], 0))

    def _named(self, scope: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
        """The header that says where a request comes from, with the proof that the edge says it."""
        client = scope.get("client")
        if not self._config.secret or client is None:
            return []
        return [(CLIENT_HEADER, f"{self._config.secret} {client[0]}".encode())]

    async def _ask(self, endpoint: Endpoint, scope: dict[str, Any], content: Any, silence_s: float) -> _Answer:
        if self._client is None:
            raise StartFailed("the edge is not started")
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
        url = f"http://{host}:{endpoint.port}{scope['raw_path'].decode('latin-1')}{query}"
        request = self._client.build_request(
            scope["method"],
            url,
            headers=[*_passed_on(scope["headers"]), *self._named(scope)],
            content=content,
            timeout=httpx.Timeout(silence_s, connect=self._connect_s),
        )
        answer = await self._client.send(request, stream=True)
        try:
            body = b"".join([chunk async for chunk in answer.aiter_raw()])  # as sent, not decoded
        finally:
            await answer.aclose()
        headers = [(k.lower(), v) for k, v in answer.headers.raw if k.lower() not in _HOP_BY_HOP]
        return answer.status_code, headers, body


def _request_id(body: bytes) -> str:
    """The request id that feedback refers to; "" if it names none, or is compressed."""
    try:
        return str(json.loads(body)["request_id"])
    except (ValueError, LookupError, TypeError):
        return ""


def _passed_on(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers to pass on: none of this hop, none that steers Ray Serve, nothing that the edge says itself."""
    named = {name.strip().lower() for k, v in headers if k == b"connection" for name in v.split(b",")}
    named -= {b"host", b"origin", b"sec-fetch-site"}  # what the doors check is always passed on
    return [(k, v) for k, v in headers if k not in _HOP_BY_HOP and k not in named and not _steers(k)]


def _steers(header: bytes) -> bool:
    name = header.decode("latin-1")
    return header == CLIENT_HEADER or name in STEERING_HEADERS or name.startswith(STEERING_PREFIX)


async def _chunks(receive: Any) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(_SILENCE_S):
                message = await receive()
        except TimeoutError:
            raise RequestTimeout(f"nothing of the body arrived for {_SILENCE_S:g} s") from None
        if message["type"] == "http.disconnect":  # an incomplete body must not be taken for the whole
            raise ClientGone
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


async def _reply(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    if body and not any(name == b"content-length" for name, _ in headers):
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
