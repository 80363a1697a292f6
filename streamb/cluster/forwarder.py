"""The edge where there is no HAProxy for the machine: the same front in Python, slower, otherwise alike."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import AsyncIterator
from itertools import count
from typing import Any, Final

import httpx

from streamb.cluster.haproxy import STEERING_HEADERS, STEERING_PREFIX, Backend, EdgeConfig, unavailable
from streamb.cluster.listener import Listener
from streamb.errors import StartFailed
from streamb.wiring.observations import Endpoint

_HOP_BY_HOP: Final = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"te", b"trailer"})
_CONNECTIONS: Final = 1000


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

    @property
    def pid(self) -> int | None:
        """This process, while the front listens."""
        return os.getpid() if self._listener and self._listener.alive else None

    async def start(self, timeout_s: float = 10.0) -> None:
        """Begin to listen.

        Raises:
            StartFailed: the address is taken, or TLS was asked for.
        """
        if self._config.certificate is not None:
            raise StartFailed(
                "TLS needs HAProxy, and there is none for this machine; install it with a package manager"
            )
        limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
        waits = httpx.Timeout(self._config.answer_timeout_s, connect=timeout_s)
        self._client = httpx.AsyncClient(limits=limits, timeout=waits, follow_redirects=False)
        try:
            self._listener = Listener(self, self._config.host, self._config.port)
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
        """Give a server no new requests."""
        self._draining.add((backend, name))

    async def remove(self, backend: Backend, name: str) -> bool:
        """Remove a drained server; False while it still has requests."""
        if self._busy.get((backend, name)):
            return False
        self._servers.pop((backend, name), None)
        self._draining.discard((backend, name))
        return True

    async def sessions(self) -> dict[tuple[str, str], tuple[int, str]]:
        """`(backend, server)` -> requests it is working on, and "UP" or "DRAIN"."""
        return {key: (self._busy.get(key, 0), "DRAIN" if key in self._draining else "UP") for key in self._servers}

    # --- requests -----------------------------------------------------------------------------------------------------

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path: str = scope["path"]
        backend: Backend = "gateways" if path == "/v2" or path.startswith("/v2/") else "consoles"
        body = b"".join([chunk async for chunk in _chunks(receive)])
        about = _request_id(body) if path.startswith("/v2/models/") and path.endswith("/feedback") else None
        for key in self._candidates(backend, about):
            self._busy[key] = self._busy.get(key, 0) + 1
            try:
                answer = await self._ask(self._servers[key], scope, body)
            except httpx.TransportError:
                continue  # predictions have no side effects: another server may be asked
            finally:
                self._busy[key] -= 1
            headers = [(k.lower(), v) for k, v in answer.headers.raw if k.lower() not in _HOP_BY_HOP]
            await _reply(send, answer.status_code, headers, answer.content)
            return
        headers = [(b"content-type", b"application/json"), (b"retry-after", b"1")]
        await _reply(send, 503, headers, unavailable(backend).encode())

    def _candidates(self, backend: Backend, about: str | None) -> list[tuple[str, str]]:
        """Every server of a backend once: from the next in turn, or from the one for what a request is about."""
        keys = sorted(key for key in self._servers if key[0] == backend and key not in self._draining)
        turn = next(self._turn) if about is None else zlib.crc32(about.encode())
        start = turn % len(keys) if keys else 0
        return keys[start:] + keys[:start]

    async def _ask(self, endpoint: Endpoint, scope: dict[str, Any], body: bytes) -> httpx.Response:
        if self._client is None:
            raise StartFailed("the front is not started")
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
        url = f"http://{host}:{endpoint.port}{scope['raw_path'].decode('latin-1')}{query}"
        headers = [(k, v) for k, v in scope["headers"] if not _steers(k) and k not in _HOP_BY_HOP]
        request = self._client.build_request(scope["method"], url, headers=headers, content=body)
        answer = await self._client.send(request, stream=True)
        answer._content = b"".join([chunk async for chunk in answer.aiter_raw()])  # noqa: SLF001 - as sent, not decoded
        return answer


def _request_id(body: bytes) -> str | None:
    """What feedback is about; None where it does not say."""
    try:
        return str(json.loads(body)["request_id"])
    except (ValueError, LookupError, TypeError):
        return None


def _steers(header: bytes) -> bool:
    name = header.decode("latin-1")
    return name in STEERING_HEADERS or name.startswith(STEERING_PREFIX)


async def _chunks(receive: Any) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


async def _reply(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
