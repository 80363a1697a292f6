"""Lets pages of other sites call the data plane from a browser (CORS): only those that a setting names."""

from __future__ import annotations

from typing import Final

from streamb.errors import Forbidden, StreambError
from streamb.serving.http.access import RequestIds
from streamb.serving.http.listener import App
from streamb.serving.http.origins import ANY, Headers, Origins
from streamb.serving.http.receive import Message, Receive, Send
from streamb.serving.http.replies import Reply, error_reply

EXPOSED: Final = (
    "x-request-id, x-model-version, retry-after, ratelimit, ratelimit-policy, ratelimit-limit, ratelimit-remaining, "
    "ratelimit-reset, inference-header-content-length"
)
"""The headers of an answer that a page may read."""

_TAKEN: Final = (
    "authorization, content-encoding, content-type, inference-header-content-length, x-api-key, x-model-version, "
    "x-request-id, x-request-timeout-ms, x-user-id"
)
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-allow-headers", _TAKEN.encode()),
    (b"access-control-max-age", b"600"),
)


class Cors:
    """ASGI middleware for the paths of the data plane. A page authenticates with a key in a header, never by cookies.

    So credentials are never allowed, whatever origin asks.

    Args:
        app: what answers.
        origins: the sites whose pages may call it.
        rules: the names by which it may be called, for preflight requests, which do not reach the app; None: any.
    """

    def __init__(self, app: App, origins: tuple[str, ...], rules: Origins | None = None) -> None:
        self._app = app
        self._rules = rules
        self._origins = frozenset(origin.encode() for origin in origins)
        self._request_ids = RequestIds()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a preflight request; else add headers to the app's answer, errors included."""
        if scope["type"] != "http" or not f"{scope['path']}/".startswith("/v2/"):
            return await self._app(scope, receive, send)
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        added = self._headers(origin)
        if scope["method"] == "OPTIONS" and origin is not None and b"access-control-request-method" in headers:
            return await self._preflight(origin, headers, added).send(send, self._request_ids.new())

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = list(message.get("headers", ()))
                names = {name for name, _ in sent}
                message = {**message, "headers": [*sent, *(one for one in added if one[0] not in names)]}
            await send(message)

        return await self._app(scope, receive, send_more)

    def _headers(self, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        vary = (b"vary", b"Origin")
        if origin is None or (origin not in self._origins and ANY.encode() not in self._origins):
            return [vary]
        allowed = ANY.encode() if ANY.encode() in self._origins else origin
        return [vary, (b"access-control-allow-origin", allowed), (b"access-control-expose-headers", EXPOSED.encode())]

    def _preflight(self, origin: bytes, headers: Headers, added: list[tuple[bytes, bytes]]) -> Reply:
        if self._rules is not None:
            try:
                self._rules.check("OPTIONS", headers)
            except StreambError as refusal:
                return error_reply(refusal, self._request_ids.new(), added[:1])
        if len(added) > 1:
            return Reply(200, b"", [*added, *_PREFLIGHT])
        named = origin[:200].decode("latin-1")
        foreign = Forbidden(f"pages of {named} may not call this platform; ML_CORS_ORIGINS names those that may")
        return error_reply(foreign, self._request_ids.new(), added)


def with_cors(app: App, origins: tuple[str, ...], rules: Origins | None = None) -> App:
    """Return the app, behind `Cors` if there are any origins."""
    return Cors(app, origins, rules) if origins else app
