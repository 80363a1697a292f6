"""The Controller: a detached actor, the only writer of the store. No traffic depends on it being alive."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import ray

from streamb.clock import SystemClock
from streamb.cluster.console import signing_key_path
from streamb.cluster.edge.edge import EdgeFleet
from streamb.cluster.jobs.jobs import JobRunner
from streamb.cluster.names import CONTROLLER, NAMESPACE
from streamb.cluster.publisher import TablePublisher
from streamb.cluster.serve_runtime import ServeRuntime
from streamb.config import Settings
from streamb.control.health import Unserved, unserved
from streamb.control.observations import NodeReport, Observations
from streamb.control.platform import build, operator_key
from streamb.control.verbs import Control
from streamb.crypto import SigningKey
from streamb.hashing import same_secret
from streamb.monitoring.alerts.deployments import News
from streamb.security.keys import digest
from streamb.security.platform_key import PlatformKey
from streamb.traffic import RoutingTable

TICK_S: Final = 1.0
BUSY_TICK_S: Final = 0.1
"""The loop's interval, in seconds, while a deployment is in progress, so that no step waits for a whole second."""
REFRESH_S: Final = 3.0
"""How often Serve's state is read while nothing is being deployed, in seconds; each time costs a few milliseconds."""
_VERB_THREADS: Final = 8
_log = logging.getLogger(__name__)


class ControllerActor:
    """Runs the control plane's verbs on request, and the loop of the rollouts.

    Everything that may block (the database, Serve) runs in threads; the actor's event loop only returns what is in
    memory, so that gateways get their routing table even while the database is locked.
    """

    def __init__(self, settings: Settings, with_edge: bool) -> None:  # noqa: FBT001 - Ray passes it on
        clock = SystemClock()
        self._observations = Observations(clock)
        trusted = SigningKey.load_or_create(signing_key_path(settings)).public
        self._wake = threading.Event()
        self._publisher = TablePublisher(
            lambda: self._platform.rollouts.table, self._observations, pushed=self._wake.set
        )
        self._runtime = ServeRuntime(settings, trusted, self._observations, self._publisher.connect)
        self._platform = build(
            settings,
            self._runtime,
            clock,
            outcomes=self._observations.windows,
            drift=self._observations.drift.of,
            on_table=self._publisher.announce,
            on_order=self._wake.set,
        )
        jobs = JobRunner(settings.state_dir, self._platform.database.records, clock)
        self._jobs = jobs
        self._edges = EdgeFleet(settings, clock, enabled=with_edge)
        self._refresh_due = 0.0
        self._stopping = threading.Event()
        self._control = Control(self._platform, self._runtime, self._observations, jobs)
        self._threads = ThreadPoolExecutor(_VERB_THREADS, thread_name_prefix="verb")
        self._loop = threading.Thread(target=lambda: asyncio.run(self._run()), name="rollouts", daemon=True)
        self._loop.start()

    async def invoke(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run one verb of the control plane."""
        run = self._control.verbs.run
        return await asyncio.get_running_loop().run_in_executor(self._threads, run, name, args, kwargs)

    async def heartbeat(self, report: NodeReport) -> RoutingTable | None:
        """Record a process's report; return the routing table if the process has an older one, else None."""
        self._observations.receive(report)
        table = self._platform.rollouts.table
        return table if report.role == "gateway" and report.epoch < table.epoch else None

    async def endpoints(self, report: NodeReport) -> tuple[list[NodeReport], bool]:
        """Record an edge's heartbeat; return all listening processes, and whether the list is known to be complete."""
        self._observations.receive(report)
        return [r for r in self._observations.live() if r.endpoint is not None], self._observations.settled

    async def monitor_report(self, scores: list[dict[str, Any]]) -> News:
        """Use the Monitor's drift scores, sent every few seconds, for deployments with a limit on drift.

        Returns what is new about deployments, which the Monitor tells people, and which versions can be called.
        """
        self._observations.drift.take(scores)
        return await asyncio.to_thread(self._control.news)

    async def goodbye(self, report: NodeReport) -> None:
        """Record the last report of a process that ends on purpose."""
        self._observations.goodbye(report)

    async def scaling_hints(self, app: str) -> dict[str, Any]:
        """Return the autoscaling hints for an app (`cluster.autoscaling`): wishes of its deployment, and its load."""
        rollouts = self._platform.rollouts
        wishes = self._runtime.wishes(app, deploying=rollouts.deploying(app))
        known = self._observations.settled  # a gateway that has not reported yet may have some
        in_flight = self._observations.in_flight(app) if known else None
        return {**wishes, "analysing": rollouts.analysing(app), "in_flight": in_flight}

    async def belongs_to(self, key_digest: str) -> bool:
        """Return whether this platform's operator has the key with this digest (`security.keys.digest`)."""
        key = await asyncio.to_thread(operator_key, self._platform.settings.state_dir)
        return same_secret(key_digest, digest(key))

    async def missing(self) -> tuple[list[str], list[str]]:
        """Return the parts that are not up yet and that every answer needs, and a sentence for each model without one.

        `unserved` tells models that may still come from those that failed.
        """
        return await asyncio.to_thread(self._missing)

    async def unserved(self) -> list[Unserved]:
        """Return each model that should answer and does not, and whether it may still come by itself."""
        return await asyncio.to_thread(lambda: unserved(self._control.system_health()["models"]))

    def _missing(self) -> tuple[list[str], list[str]]:
        health = self._control.system_health()
        parts = [f"the {name}" for name, part in health["components"].items() if part["status"] != "healthy"]
        if not parts and not self._observations.acknowledged(self._platform.rollouts.table.epoch):
            parts = ["the gateway to take the routing table"]
        parts += [f"the edge: {trouble}" for trouble in list(self._edges.troubles.values())]
        parts = parts or [f"the edge to see the {backend}" for backend in self._edges.unseen()]
        return parts, [one.sentence for one in unserved(health["models"])]

    async def stop(self) -> None:
        """Stop the loop and close the store; the caller then kills the actor."""
        self._stopping.set()
        self._wake.set()
        await asyncio.to_thread(self._loop.join, 10)
        self._runtime.close()
        await asyncio.to_thread(self._edges.stop)
        self._platform.close()

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        publishing = asyncio.ensure_future(self._publisher.run())
        # What a Controller that died while it deleted a version has left. In a thread: an object store may be slow.
        sweeping = asyncio.ensure_future(asyncio.to_thread(self._platform.registry.sweep))
        await self._keep_ticking()
        publishing.cancel()
        sweeping.cancel()

    async def _keep_ticking(self) -> None:
        while not self._stopping.is_set():
            busy = False
            try:
                busy = await asyncio.to_thread(self._tick)
            except Exception:
                _log.exception("a tick of the rollouts failed; the next one follows")
            await asyncio.to_thread(self._wake.wait, BUSY_TICK_S if busy else TICK_S)
            self._wake.clear()

    def _tick(self) -> bool:
        """Advance all rollouts once. Return True while a deployment is in progress."""
        now = self._platform.clock.monotonic()
        if self._platform.rollouts.starting or now >= self._refresh_due:
            self._runtime.refresh()
            self._refresh_due = now + REFRESH_S
        changed = self._platform.rollouts.tick()
        self._jobs.reconcile()
        self._edges.ensure()
        return changed or self._platform.rollouts.busy


def start_controller(settings: Settings, *, with_edge: bool = True) -> Any:
    """Return the Controller's handle; start it if there is none on this cluster.

    Args:
        settings: the platform's settings.
        with_edge: whether to keep an edge on every node; otherwise something else must bring requests to the gateways.
    """
    PlatformKey.create(settings.state_dir)  # here, because gateways read it as soon as they start
    actor = ray.remote(ControllerActor)
    return actor.options(
        name=CONTROLLER,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        num_cpus=0,
        max_concurrency=200,
    ).remote(settings, with_edge)
