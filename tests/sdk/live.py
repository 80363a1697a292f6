"""A platform over real HTTP in a thread of this process: the real Console, the real gateway, real models; no Ray."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streamb.api import create_app
from streamb.clock import SystemClock
from streamb.control.platform import gateway_policy
from streamb.serving import Batch, BatchPredictor, BatchReply, GatewayApp, GatewayLimits
from streamb.traffic import VersionTarget
from tests.api.fakes import InProcess


class LocalPredictor:
    """Loads the artifacts of the apps that run, and asks them here."""

    def __init__(self, backend: InProcess) -> None:
        self._backend = backend
        self._loaded: dict[str, BatchPredictor] = {}

    def replicas(self, target) -> int:
        return 1

    async def predict(self, target: VersionTarget, batch: Batch) -> BatchReply:
        if target.app not in self._loaded:
            model, _ = self._backend.artifacts.load(self._backend.runtime.specs[target.app].blob)
            self._loaded[target.app] = BatchPredictor(model)
        return self._loaded[target.app].run(batch)


class LivePlatform:
    """Where it answers, and what is behind it.

    Attributes:
        hits: method and path of every request that came.
        broken: how many of the next requests are cut off without an answer.
    """

    def __init__(self, state_dir: Path, **settings: Any) -> None:
        self.backend = InProcess(state_dir, **settings)
        backend = self.backend
        self.hits: list[str] = []
        self.broken = 0
        self._console = create_app(backend.control, backend.artifacts, backend.settings, backend.clock, backend.monitor)
        self._gateway: GatewayApp | None = None
        config = uvicorn.Config(
            self._app,
            host="127.0.0.1",
            port=0,
            http=self._cutting_protocol(),
            log_level="error",
            lifespan="off",
            interface="asgi3",
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self.url = ""

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.hits.append(f"{scope['method']} {scope['path']}")
        if not scope["path"].startswith("/v2"):
            await self._console(scope, receive, send)
            return
        if self._gateway is None:
            self._gateway = GatewayApp(LocalPredictor(self.backend), GatewayLimits(), SystemClock())
        table = self.backend.rollouts.table
        known = gateway_policy(self.backend.settings, self.backend.platform.keys, b"").keys
        self._gateway.apply(replace(table, policy=replace(table.policy, keys=known)))
        await self._gateway(scope, receive, send)

    def _cutting_protocol(self) -> type[HttpToolsProtocol]:
        platform = self

        class Cutting(HttpToolsProtocol):
            """Cuts the connection, as if the process had died, while the platform is broken."""

            def on_headers_complete(self) -> None:
                if platform.broken > 0:
                    platform.broken -= 1
                    platform.hits.append(f"{self.parser.get_method().decode()} {self.url.decode()}")
                    self.transport.abort()
                    return
                super().on_headers_complete()

        return Cutting

    @contextmanager
    def passing_time(self) -> Any:
        """The platform's clock runs fast, and its rollouts go on by themselves."""
        ended = threading.Event()

        def run() -> None:
            while not ended.wait(0.01):
                self.backend.clock.advance(1)
                self.backend.rollouts.tick()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(10)

    @contextmanager
    def running(self) -> Any:
        started = threading.Event()
        thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        thread.start()
        assert started.wait(60)
        try:
            yield self
        finally:
            self._server.should_exit = True
            thread.join(60)
            self.backend.close()

    def _serve(self, started: threading.Event) -> None:
        import asyncio

        async def serve() -> None:
            serving = asyncio.create_task(self._server.serve())
            while not self._server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.005)
            port = self._server.servers[0].sockets[0].getsockname()[1]
            self.url = f"http://127.0.0.1:{port}"
            started.set()
            await serving

        asyncio.run(serve())
