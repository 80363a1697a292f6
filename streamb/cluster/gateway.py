"""The Gateway deployment: Serve starts and replaces its replicas; each has its own listener for the data plane."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any, Final

import psutil
import ray
from ray import serve

from streamb.clock import SystemClock
from streamb.cluster.background import log_to_file
from streamb.cluster.collection import GatewayDesk, Pusher
from streamb.cluster.links import LinkPredictor
from streamb.cluster.listener import Listener, NearOnly, own_address
from streamb.cluster.names import GATEWAY
from streamb.cluster.reporting import Heartbeat
from streamb.cluster.session import QUIET
from streamb.config import Settings
from streamb.control.observations import NodeReport
from streamb.errors import Unavailable
from streamb.metrics import Snapshot
from streamb.security.platform_key import PlatformKey
from streamb.serving import GatewayApp, GatewayLimits
from streamb.serving.callers import CallerLimits
from streamb.serving.http.cors import with_cors
from streamb.serving.http.origins import origins_of
from streamb.traffic import RoutingTable

EDGE_NOTICES_S: Final = 1.5
"""How long, in seconds, the edges may take to notice a goodbye and send no more requests."""

EXPECTED_S: Final = 30.0
"""How long, in seconds, links are kept to an app that no routing table names yet."""


@serve.ingress()
class Gateway:
    """One gateway process. The same ASGI app answers on its own listener and, where Serve has a proxy, behind that."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits it
        log_to_file()
        self._clock = SystemClock()
        self._key = PlatformKey.load(settings.state_dir)
        self._key_required = settings.api_key_required
        self._predictor = LinkPredictor(self._key.link_secret)
        context = ray.get_runtime_context()
        self._actor = context.get_actor_name() or ""
        self._callers = CallerLimits(self._clock, self._key.edge_secret, divided=bool(self._actor))
        rules = origins_of(settings, data_plane=True)
        self._app = GatewayApp(self._predictor, limits_of(settings), self._clock, self._callers, rules)
        self._newest = self._app.table
        self._expected: dict[str, float] = {}
        self._source = f"gateway-{context.get_actor_id()}"
        self._node = context.get_node_id()
        self._asgi = with_cors(self._app, settings.allowed_origins, rules)
        self._listener = Listener(self._asgi, own_address(settings))
        self._told: tuple[Snapshot, ...] = ()
        self._heartbeat = Heartbeat(
            self._report,
            self._take,
            self._predictor.hear_failed,
            self._callers,
            lambda told: self._app.heard(told.used),
        )
        self._heartbeat.start()
        self._pusher = Pusher(GatewayDesk(self._source, lambda: self._told), settings.monitoring_interval_s)
        if settings.monitoring_enabled:
            self._pusher.start()

    def __serve_build_asgi_app__(self) -> Any:
        return self._asgi if self._key_required else NearOnly(self._asgi)

    async def __del__(self) -> None:
        """Refuse new requests and answer the running ones; Serve awaits this when it stops the replica."""
        self._callers.leave()  # before the goodbye: from then on others may have its shares
        await self._heartbeat.stop()
        await asyncio.sleep(EDGE_NOTICES_S)
        await self._listener.close()
        await self._app.close()
        self._predictor.close()
        await self._heartbeat.stop()  # again: requests answered since the goodbye count too
        await self._pusher.stop()

    async def apply(self, table: RoutingTable) -> NodeReport:
        """Adopt a routing table from the Controller; return a report, like a heartbeat's, with the epoch in force."""
        await self._take(table)
        return self._heartbeat.report()

    async def connect(self, app: str) -> NodeReport:
        """Open links to an app that a coming routing table will name, so that the table need not wait for them."""
        self._expected[app] = self._clock.monotonic() + EXPECTED_S
        await self._predictor.connected(self._predictor.connect([app]))
        return self._heartbeat.report()

    async def check_health(self) -> None:
        """Serve asks this every few seconds; raising three times makes it replace the replica."""
        if not self._listener.alive:
            raise Unavailable("the gateway's listener has ended")
        self._heartbeat.ensure()

    async def _take(self, table: RoutingTable) -> None:
        """Adopt a table as the Controller sends it: with the key of request tokens sealed."""
        policy = replace(table.policy, token_key=self._key.open(table.policy.token_key))
        await self._adopt(replace(table, policy=policy))

    async def _adopt(self, table: RoutingTable) -> None:
        """Put a table in force at once, except for models with a version not connected yet: these a moment later.

        A push and a pull may overlap, and a newer table may arrive while an older one waits: the newest table wins. A
        table is done when it is in force, not when it was seen: one whose push was given up in the wait is taken again.
        """
        if table.epoch < self._newest.epoch or table.epoch <= self._app.table.epoch:
            return
        self._newest = table
        apps = {target.app for route in table.models.values() for target in route.targets.values()}
        unconnected = self._predictor.connect(apps)
        if unconnected:
            self._app.apply(table.held_back(self._app.table, unconnected))
            await self._predictor.connected(unconnected)
            if self._newest.epoch != table.epoch or self._app.table.epoch >= table.epoch:
                return
        self._app.apply(table)
        now = self._clock.monotonic()
        self._expected = {app: until for app, until in self._expected.items() if until > now}
        gone = self._predictor.apps - apps - self._expected.keys()
        self._predictor.forget(app for app in gone if self._app.in_flight(app) == 0)

    def _report(self) -> NodeReport:
        in_flight = {app: self._app.in_flight(app) for app in self._predictor.apps}
        self._told = tuple(self._app.snapshot())
        return NodeReport(
            role="gateway",
            source=self._source,
            node=self._node,
            pid=psutil.Process().pid,
            endpoint=self._listener.endpoint,
            epoch=self._app.table.epoch,
            in_flight={app: count for app, count in in_flight.items() if count},
            links=self._predictor.links(),
            snapshots=self._told,
            actor=self._actor,
            limited=dict(self._callers.counted),
            used=self._app.used(),
        )


def limits_of(settings: Settings) -> GatewayLimits:
    """Return the limits of one gateway under these settings."""
    return GatewayLimits(
        max_concurrent_requests=settings.max_concurrent_requests,
        max_queued_requests=settings.max_queued_requests,
        request_timeout_s=settings.request_timeout_s,
        body_timeout_s=min(10.0, settings.request_timeout_s),
        max_body_bytes=settings.max_body_bytes,
        max_request_rows=settings.max_request_rows,
        max_batch_rows=settings.max_batch_rows,
    )


def gateway_application(settings: Settings, *, name: str = GATEWAY, nodes: int = 1) -> Any:
    """Return the gateway as a Serve application.

    Args:
        settings: the platform's settings.
        name: the name of its deployment.
        nodes: number of nodes over which the gateways are spread: no node gets more than its share, so that the loss
            of one never takes all of them.
    """
    share = math.ceil(settings.gateway_replicas / nodes)
    spread: dict[str, Any] = {"max_replicas_per_node": share} if nodes > 1 else {}
    deployment = serve.deployment(
        name=name,
        num_replicas=settings.gateway_replicas,
        max_ongoing_requests=max(1000, settings.max_queued_requests + settings.max_concurrent_requests),
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=2,
        logging_config=QUIET,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=10,
        **spread,
    )
    return deployment(Gateway).bind(settings.without_secrets())
