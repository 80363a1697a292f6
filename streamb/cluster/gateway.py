"""The Gateway deployment: Serve starts and replaces its replicas; each opens its own listener for the data plane."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import psutil
import ray
from ray import serve

from streamb.clock import SystemClock
from streamb.cluster.links import LinkPredictor
from streamb.cluster.listener import Listener, own_address
from streamb.cluster.names import GATEWAY
from streamb.cluster.reporting import Heartbeat
from streamb.cluster.session import QUIET
from streamb.config import Settings
from streamb.errors import Unavailable
from streamb.serving import GatewayApp, GatewayLimits
from streamb.traffic import RoutingTable
from streamb.wiring.observations import NodeReport

EDGE_NOTICES_S: Final = 1.5
"""How long the edges may take to learn of a goodbye and send no more."""


@serve.ingress()
class Gateway:
    """One gateway process. The same ASGI app answers on its own listener and, where Serve has a proxy, behind that."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits it
        self._predictor = LinkPredictor()
        self._app = GatewayApp(self._predictor, limits_of(settings), SystemClock())
        self._adopting = asyncio.Lock()
        context = ray.get_runtime_context()
        self._source = f"gateway-{context.get_actor_id()}"
        self._node = context.get_node_id()
        self._listener = Listener(self._app, own_address(settings))
        self._heartbeat = Heartbeat(self._report, self._adopt)
        self._heartbeat.start()

    def __serve_build_asgi_app__(self) -> Any:
        return self._app

    async def __del__(self) -> None:
        """Serve awaits this when it stops the replica: no new requests, then an answer to those that are here."""
        await self._heartbeat.stop()
        await asyncio.sleep(EDGE_NOTICES_S)
        await self._listener.close()
        await self._app.close()
        self._predictor.close()
        await self._heartbeat.stop()  # again: what was answered since the goodbye counts too

    async def apply(self, table: RoutingTable) -> int:
        """The Controller's push: adopt a table, answer with the epoch in force."""
        await self._adopt(table)
        self._heartbeat.hurry()
        return self._app.table.epoch

    async def check_health(self) -> None:
        """Serve asks this every few seconds; raising three times makes it replace the replica."""
        if not self._listener.alive:
            raise Unavailable("the gateway's listener has ended")

    async def _adopt(self, table: RoutingTable) -> None:
        async with self._adopting:  # a push and a pull may overlap; the second sees what the first has prepared
            if table.epoch <= self._app.table.epoch:
                return
            targets = [target for route in table.models.values() for target in route.targets.values()]
            await self._predictor.prepare(targets)
            self._app.apply(table)
            gone = self._predictor.apps - {target.app for target in targets}
            self._predictor.forget(app for app in gone if self._app.in_flight(app) == 0)

    def _report(self) -> NodeReport:
        in_flight = {app: self._app.in_flight(app) for app in self._predictor.apps}
        return NodeReport(
            role="gateway",
            source=self._source,
            node=self._node,
            pid=psutil.Process().pid,
            endpoint=self._listener.endpoint,
            epoch=self._app.table.epoch,
            in_flight={app: count for app, count in in_flight.items() if count},
            snapshots=tuple(self._app.snapshot()),
        )


def limits_of(settings: Settings) -> GatewayLimits:
    """The bounds of one gateway under these settings."""
    return GatewayLimits(
        max_concurrent_requests=settings.max_concurrent_requests,
        max_queued_requests=settings.max_queued_requests,
        request_timeout_s=settings.request_timeout_s,
        body_timeout_s=min(10.0, settings.request_timeout_s),
        max_body_bytes=settings.max_body_bytes,
        max_request_rows=settings.max_request_rows,
        max_batch_rows=settings.max_batch_rows,
    )


def gateway_application(settings: Settings, *, name: str = GATEWAY) -> Any:
    """The gateway as a Serve application."""
    deployment = serve.deployment(
        name=name,
        num_replicas=settings.gateway_replicas,
        max_ongoing_requests=max(1000, settings.max_queued_requests + settings.max_concurrent_requests),
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=2,
        logging_config=QUIET,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=10,
    )
    return deployment(Gateway).bind(settings)
