"""A tiny ASGI client: drives an app without a socket, in the way uvicorn does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


class Connection:
    """One request as the server sees it: parts of a body to receive, a client that may go away, what was sent."""

    def __init__(self, *parts: bytes, more_to_come: bool = False) -> None:
        self._parts = [
            {"type": "http.request", "body": part, "more_body": more_to_come or index < len(parts) - 1}
            for index, part in enumerate(parts or (b"",))
        ]
        self._changed = asyncio.Event()
        self._gone = False
        self.received = 0
        self.sent: list[dict[str, Any]] = []

    def disconnect(self) -> None:
        self._gone = True
        self._changed.set()

    def feed(self, body: bytes, *, more: bool = False) -> None:
        self._parts.append({"type": "http.request", "body": body, "more_body": more})
        self._changed.set()

    async def receive(self) -> dict[str, Any]:
        while True:
            if self._parts:
                self.received += 1
                return self._parts.pop(0)
            if self._gone:
                return {"type": "http.disconnect"}
            self._changed.clear()
            await self._changed.wait()

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def response(self) -> Response:
        start, *bodies = self.sent
        assert start["type"] == "http.response.start"
        assert all(name == name.lower() for name, _ in start["headers"])
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        body = b"".join(message.get("body", b"") for message in bodies)
        assert int(headers["content-length"]) == len(body)
        return Response(start["status"], headers, body)


class AsgiClient:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Response:
        connection = Connection(body)
        await self.open(connection, method, path, headers)
        return connection.response

    async def get(self, path: str, **headers: str) -> Response:
        return await self.request("GET", path, headers=_names(headers))

    async def post(self, path: str, document: Any, **headers: str) -> Response:
        body = document if isinstance(document, bytes) else orjson.dumps(document)
        return await self.request("POST", path, body, {"content-type": "application/json", **_names(headers)})

    async def open(self, connection: Connection, method: str, path: str, headers: dict[str, str] | None = None) -> None:
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
        }
        await self.app(scope, connection.receive, connection.send)


def _names(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
