"""A replica's own HTTP listener: uvicorn on the replica's event loop, on any free port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import ray
import uvicorn

from streamb.config import Settings
from streamb.control.observations import Endpoint
from streamb.serving.http.listener import listener_config
from streamb.serving.links.frames import tune_socket

_PATIENCE_S: Final = 60
"""Seconds after which a client that reads nothing of its answer, or whose machine is gone, is disconnected."""

_BACKLOG: Final = 4096


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
    """Return the address to listen on: this machine's only, unless other nodes of a joined cluster must reach it."""
    if settings.ray_address is None:
        return "127.0.0.1"
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
