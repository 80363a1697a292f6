"""A replica's own HTTP listener: uvicorn on the replica's event loop, on any free port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import ray
import uvicorn

from streamb.config import Settings, is_loopback, read_variable
from streamb.control.observations import Endpoint
from streamb.errors import Forbidden, StartFailed
from streamb.serving.http.access import RequestIds
from streamb.serving.http.listener import App, listener_config
from streamb.serving.http.receive import Message, Receive, Send
from streamb.serving.http.replies import error_reply
from streamb.serving.links.frames import tune_socket

_PATIENCE_S: Final = 60
"""Seconds after which a client that reads nothing of its answer, or whose machine is gone, is disconnected."""

_BACKLOG: Final = 4096

LOOPBACK: Final = "127.0.0.1"


class Listener:
    """Serves one ASGI app until it is closed, on the given port or on any free one."""

    def __init__(self, app: Callable[..., Any], host: str, port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tune_socket(self._socket, patience_s=_PATIENCE_S)  # accepted connections inherit it
        try:
            self._socket.bind((host, port))
            self._socket.listen(_BACKLOG)  # from here on connections wait instead of being refused
        except OSError:
            self._socket.close()
            raise
        self._server = uvicorn.Server(listener_config(app, host=host, port=port, loop="none"))
        self.endpoint = Endpoint(host, self._socket.getsockname()[1])
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets=[self._socket]))

    @property
    def alive(self) -> bool:
        """Whether the server is running; False once it has ended for any reason."""
        return not self._task.done()

    async def close(self, timeout_s: float = 5.0) -> None:
        """Stop accepting, let running requests finish for `timeout_s` seconds, then close."""
        self._server.should_exit = True
        _, waiting = await asyncio.wait({self._task}, timeout=timeout_s)
        if waiting:
            self._server.force_exit = True
            self._task.cancel()


def own_address(settings: Settings) -> str:
    """Return the address to listen on: this machine's only, unless other nodes of a joined cluster must reach it.

    Raises:
        StartFailed: other nodes would have to reach it, but then others could as well, and no API key is required.
    """
    if settings.ray_address is None:
        return LOOPBACK
    if not settings.api_key_required:
        refuse_open(settings)
        return LOOPBACK
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def refuse_open(settings: Settings) -> None:
    """Raise StartFailed if the platform joins a cluster of several machines and requires no API key.

    The gateways and Consoles would listen on addresses that others reach, although `ML_HOST` is this machine's.
    """
    if settings.ray_address is None or settings.api_key_required:
        return
    machines = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]
    if len(machines) > 1:
        raise StartFailed(
            f"the Ray cluster has {len(machines)} machines, so gateways and Consoles must listen to others, and no API "
            "key is required: anybody there could deploy models; set ML_API_KEY_REQUIRED=true"
        )


class NearOnly:
    """Answers requests of this machine only: for a platform that requires no key, behind a proxy of Ray Serve's.

    Serve decides where that proxy listens; `serve deploy` opens it to all. If the proxy is a HAProxy, it listens to all
    and does not tell who calls, so nobody is answered.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._sees_callers = read_variable("RAY_SERVE_ENABLE_HA_PROXY") != "1"
        self._request_ids = RequestIds()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on a request of this machine; refuse any other."""
        client = scope.get("client")
        if scope["type"] != "http" or (client is not None and self._sees_callers and is_loopback(client[0])):
            await self._app(scope, receive, send)
            return
        refusal = Forbidden(
            "no API key is required here, so only this machine may call; set ML_API_KEY_REQUIRED=true for others"
        )
        request_id = self._request_ids.new()
        await error_reply(refusal, request_id).send(send, request_id)
