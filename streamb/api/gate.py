"""The gate: decides for each request whether its caller may make it, before its body is read and its route is found.

It knows the routes from the one table of permissions (`security.permissions.CONSOLE`) alone. What is not in the table
does not exist for callers, so a new route is closed until somebody gives it a place there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from streamb.api.auth import authenticate, authorize
from streamb.api.errors import error_response
from streamb.errors import MethodNotAllowed, NotFound, StreambError
from streamb.security.permissions import CONSOLE, Needed, Place

_PARAMETER: Final = re.compile(r"{[^}]*}")


class Gate:
    """The middleware that refuses what the table of permissions does not allow.

    A route finds what was decided in the state of the request: `caller`, the principal (None: nobody gave a key), and
    `judged`, the place in the table.

    Args:
        app: the routes.
        table: what each route needs.
    """

    def __init__(self, app: ASGIApp, table: Mapping[Place, Needed] = CONSOLE) -> None:
        self._app = app
        self._table = table
        # "/api/deployments/history" before "/api/deployments/{deployment_id}": the routes are declared in that order.
        paths = sorted({path for _, path in table}, key=lambda path: [not part for part in _fixed(path)])
        self._paths = [(compile_path(path)[0], path) for path in paths]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            try:
                await self._judge(scope)
            except StreambError as refusal:
                headers = None
                if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
                    headers = {"Allow": ", ".join(refusal.details.pop("allowed"))}
                answer = error_response(refusal, scope["state"]["request_id"], headers)
                await answer(scope, receive, send)
                return
            await self._app(scope, receive, send)

    async def _judge(self, scope: Scope) -> None:
        """Note who calls, and that it may.

        Raises:
            NotFound, MethodNotAllowed: the table has no such place.
            Unauthorized: it needs to be known who calls.
            Forbidden: the caller lacks the permission, or its key is not good for this model.
        """
        place, parameters = self._find(scope["method"], scope["path"])
        needed = self._table[place]
        state = scope["state"]
        state["judged"], state["caller"] = place, None
        if needed:
            request = Request(scope)
            state["caller"] = await authenticate(request)
            authorize(request.app.state.console.settings, state["caller"], place, needed, parameters.get("model_id"))

    def _find(self, method: str, path: str) -> tuple[Place, Mapping[str, str]]:
        for pattern, known in self._paths:
            match = pattern.match(path)
            if match is not None:
                if (method, known) in self._table:
                    return (method, known), match.groupdict()
                # Its other methods may stand under another pattern that fits as well.
                allowed = sorted({m for one, p in self._paths if one.match(path) for m, q in self._table if q == p})
                if method not in allowed:
                    raise MethodNotAllowed(f"{path} does not answer {method}", allowed=allowed)
        raise NotFound(f"there is nothing at {path}; the API is described at /api/openapi.json")


def _fixed(path: str) -> list[bool]:
    """Return for each part of a path pattern whether it is fixed text."""
    return [_PARAMETER.search(part) is None for part in path.split("/")]
