"""The limits on callers at the Console: by address before anything is known of a request, and by key afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fastapi import Depends, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamb.api.auth import Caller
from streamb.api.errors import error_response
from streamb.clock import Clock
from streamb.config import Settings
from streamb.control.platform import rate_limits
from streamb.serving.callers import CallerLimits, Exceeded

_OPEN: Final = "/healthz"


def console_limits(settings: Settings, clock: Clock, edge_secret: str) -> CallerLimits:
    """Return the limits of one Console: an even part of the limits, which begins anew with its process."""
    callers, limits = CallerLimits(clock, edge_secret), rate_limits(settings)
    callers.use(None if limits is None else replace(limits, gateways=settings.console_replicas))
    return callers


class LimitedAddresses:
    """ASGI middleware that counts requests by address, and says in every answer what the caller's limit leaves."""

    def __init__(self, app: ASGIApp, callers: CallerLimits, clock: Clock) -> None:
        self._app = app
        self._callers = callers
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._callers.active or scope["path"] == _OPEN:
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["address"] = self._callers.address_of(scope, dict(scope["headers"]))

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in state.get("quota", ()):
                    headers.append(name.decode(), value.decode())
            await send(message)

        try:
            self._callers.from_address(state["address"], self._clock.monotonic())
        except Exceeded as error:
            state["quota"] = error.headers
            await error_response(error, state.get("request_id", ""))(scope, receive, say)
        else:
            await self._app(scope, receive, say)


async def _count(request: Request, caller: Caller) -> None:
    """Count a request of a caller who is known by now.

    Raises:
        RateLimited: the key, the person, or the address without a key, sends too many requests.
    """
    callers: CallerLimits = request.app.state.callers
    if not callers.active:
        return
    who = "" if caller is None else caller.key_id or caller.name
    try:
        now = request.app.state.console.clock.monotonic()
        bucket = callers.from_caller(who, request.state.address, "", now)
        request.state.quota = bucket.headers() if bucket is not None else []
    except Exceeded as error:
        request.state.quota = error.headers
        raise


counted_caller: Final = Depends(_count)
"""A dependency for a whole router: refuses callers who send too many requests."""
