"""ASGI middleware that every request passes before it reaches a route.

It gives the request an id, refuses foreign names of this platform, changes that another site's page sends through a
browser and bodies that do not say that they are JSON, limits the body in size and time, turns a crash into a 500 that
reveals no internals, and sets the headers of every answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamb.api.errors import error_response
from streamb.api.tables import MAX_TABLE_BYTES
from streamb.config import Settings
from streamb.errors import BodyTooLarge, StreambError, UnsupportedMediaType
from streamb.serving.http.origins import SAFE_METHODS, origins_of
from streamb.serving.http.routes import path_of

_log = logging.getLogger(__name__)

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_JSON_TYPE: Final = re.compile(r"application/([!#$&^_.+a-z0-9-]+\+)?json\s*(;.*)?", re.ASCII | re.IGNORECASE)
_VERSIONS_PATH: Final = re.compile(r"/api/models/[^/]+/versions")
_BASELINE_PATH: Final = "/api/monitoring/baseline"
_FORM: Final = "multipart/form-data"
_MULTIPART_OVERHEAD_BYTES: Final = 1 << 20
"""How much longer than its file an upload may be, for metadata and boundaries."""

_ANSWER_HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class FrontDoor:
    """The outermost middleware of the Console."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._origins = origins_of(settings, data_plane=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        reply = _Reply(send, request_id)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await error_response(refusal, request_id)(scope, receive, reply)
            return
        file_bytes = self._file_limit(scope["path"], headers)
        body = _BoundedBody(
            receive, self._body_limit(file_bytes), self._settings.request_timeout_s, per_piece=file_bytes is not None
        )
        try:
            await self._app(scope, body, reply)
        except ClientDisconnect:
            _log.info("%s %s: the client disconnected before its whole body arrived", scope["method"], scope["path"])
        except Exception:
            _log.exception("%s %s failed (request %s)", scope["method"], scope["path"], request_id)
            if not reply.started:
                failure = StreambError(f"internal error of the platform; its log has the details under {request_id}")
                await error_response(failure, request_id)(scope, receive, reply)

    def _refusal(self, scope: Scope, headers: Headers) -> StreambError | None:
        try:
            self._origins.check_request(scope, dict(headers.raw))
            path = path_of(scope)
            if scope["method"] not in SAFE_METHODS:
                _check_media_type(headers, path)
        except StreambError as refusal:
            return refusal
        if headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            return UnsupportedMediaType("the Console does not unpack bodies: send this one without Content-Encoding")
        limit = self._body_limit(self._file_limit(path, headers))
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > limit:
            return BodyTooLarge(f"the body has {length} bytes; the limit is {limit}", limit_bytes=limit)
        return None

    def _file_limit(self, path: str, headers: Headers) -> int | None:
        """Return the size limit of a file uploaded to this path, in bytes; None if the path takes no file."""
        if _VERSIONS_PATH.fullmatch(path):
            return self._settings.max_artifact_bytes
        is_form = headers.get("content-type", "").lower().startswith(_FORM)
        return MAX_TABLE_BYTES if path == _BASELINE_PATH and is_form else None

    def _body_limit(self, file_bytes: int | None) -> int:
        return self._settings.max_body_bytes if file_bytes is None else file_bytes + _MULTIPART_OVERHEAD_BYTES


class _Reply:
    """Sends an answer and adds the headers that every answer has."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            for name, value in _ANSWER_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


class _BoundedBody:
    """Receives a body within limits on its size and time.

    A body must arrive within `seconds`; for an upload, which may be long, this limit applies to each piece instead.
    """

    def __init__(self, receive: Receive, limit_bytes: int, seconds: float, *, per_piece: bool) -> None:
        self._receive = receive
        self._limit_bytes = limit_bytes
        self._seconds = seconds
        self._per_piece = per_piece
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._seen_bytes = 0
        self._complete = False

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        if self._per_piece:
            self._deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"the body did not arrive within {self._seconds:g} s; send it again") from None
        self._seen_bytes += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._seen_bytes > self._limit_bytes:
            raise HTTPException(413, f"the body is longer than the limit of {self._limit_bytes} bytes")
        return message


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _check_media_type(headers: Headers, path: str) -> None:
    """Check that the body of a change says it is JSON.

    A page of another site can send text or a form without asking first, but not JSON; and a form without fields has
    a type, but no body.

    Args:
        headers: the headers of the request.
        path: the path, which may take a form with a file as well.

    Raises:
        UnsupportedMediaType: the type is another one, or there is none although there is a body.
    """
    form = path == _BASELINE_PATH or _VERSIONS_PATH.fullmatch(path) is not None
    given = headers.get("content-type")
    if given is None:
        if path == _BASELINE_PATH:  # reads its body itself, and refuses one without a type
            return
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            return
    elif _JSON_TYPE.fullmatch(given) or (form and given.lower().startswith(_FORM)):
        return
    raise UnsupportedMediaType(
        "send the body as JSON, with Content-Type: application/json" + (f", or a file as {_FORM}" if form else "")
    )
