"""The Controller: a detached actor, the only writer of the store. No traffic depends on it being alive."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import ray

from streamb.clock import SystemClock
from streamb.cluster.background import begin
from streamb.cluster.console import signing_key_path
from streamb.cluster.edge.edge import EdgeFleet
from streamb.cluster.jobs.jobs import JobRunner
from streamb.cluster.names import CONTROLLER, NAMESPACE
from streamb.cluster.publisher import TablePublisher
from streamb.cluster.room import cluster_room
from streamb.cluster.serve_runtime import ServeRuntime
from streamb.cluster.sharing import Sharing, gateways_among, running_actors
from streamb.config import Settings
from streamb.control.health import Unserved
from streamb.control.observations import NodeReport, Observations
from streamb.control.platform import Platform, build, operator_key, platform_files, rate_limits
from streamb.control.verbs import Control
from streamb.crypto import SigningKey
from streamb.errors import Unavailable
from streamb.hashing import same_secret
from streamb.monitoring.alerts.deployments import News
from streamb.security.keys import digest
from streamb.security.platform_key import PlatformKey
from streamb.traffic import RoutingTable
from streamb.traffic.shares import Shares

TICK_S: Final = 1.0
BUSY_TICK_S: Final = 0.1
"""The loop's interval, in seconds, while a deployment is in progress, so that no step waits for a whole second."""
REOPEN_S: Final = 2.0
"""Seconds between attempts to open the database and the files."""
KEYS_LOOK_S: Final = 3_600.0
"""Seconds between looks for keys that are due for rotation, or have expired long ago."""
_VERB_THREADS: Final = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the Controller has once its database and its files are open."""

    platform: Platform
    runtime: ServeRuntime
    publisher: TablePublisher
    jobs: JobRunner
    control: Control


class ControllerActor:
    """Runs the control plane's verbs on request, and the loop of the rollouts.

    Everything that may block (the database, Serve) runs in threads; the actor's event loop only returns what is in
    memory, so that gateways get their routing table even while the database is locked.

    It opens its database and its files in the background and tries again, because an actor whose constructor raised is
    never started again. Until then verbs are refused with the reason, gateways keep their table, and edges are kept up.
    """

    def __init__(self, settings: Settings, with_edge: bool, fresh: bool = True) -> None:  # noqa: FBT001, FBT002 - Ray
        self._settings = settings
        self._clock = SystemClock()
        self._observations = Observations(self._clock)
        self._wake = threading.Event()
        self._sharing = Sharing(rate_limits(settings), self._clock, fresh=fresh)
        self._edges = EdgeFleet(settings, self._clock, enabled=with_edge)
        self._parts: _Parts | None = None
        self._look_at_keys = 0.0
        self._trouble = "the controller is starting"
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(_VERB_THREADS, thread_name_prefix="verb")
        self._loop = threading.Thread(target=lambda: asyncio.run(self._run()), name="rollouts", daemon=True)
        self._loop.start()

    @property
    def _opened(self) -> _Parts:
        if self._parts is None:
            raise Unavailable(f"{self._trouble}; try again", retry_after_s=REOPEN_S)
        return self._parts

    async def invoke(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run one verb of the control plane.

        Raises:
            Unavailable: the database or the files are not open yet.
        """
        run = self._opened.control.verbs.run
        return await asyncio.get_running_loop().run_in_executor(self._threads, run, name, args, kwargs)

    async def heartbeat(self, report: NodeReport) -> tuple[RoutingTable | None, Mapping[str, str], Shares | None, bool]:
        """Record a process's report.

        Returns the routing table if the process is a gateway with an older one, else None; the reasons why apps cannot
        answer, by app; the gateway's shares of the limits on callers, None if there are none; and whether the
        Controller knows what is in force, as it does once its database is open.
        """
        self._observations.receive(report)
        shares = self._sharing.divide(report)
        if self._parts is None:
            return None, {}, shares, False
        self._parts.platform.keys.used(report.used)
        if report.role != "gateway":
            return None, {}, shares, True
        table = self._parts.platform.rollouts.table
        return table if report.epoch < table.epoch else None, self._parts.runtime.failed(), shares, True

    async def endpoints(self, report: NodeReport) -> tuple[list[NodeReport], bool]:
        """Record an edge's heartbeat; return all listening processes, and whether the list is known to be complete."""
        self._observations.receive(report)
        return [r for r in self._observations.live() if r.endpoint is not None], self._observations.settled

    async def monitor_report(self, scores: list[dict[str, Any]]) -> News:
        """Use the Monitor's drift scores, sent every few seconds, for deployments with a limit on drift.

        Returns what is new about deployments, which the Monitor tells people, and which versions can be called.
        """
        self._observations.drift.take(scores)
        return await asyncio.to_thread(self._opened.control.news)

    async def goodbye(self, report: NodeReport) -> None:
        """Record the last report of a process that ends on purpose."""
        self._observations.goodbye(report)
        self._sharing.gone(report)
        if self._parts is not None:
            self._parts.platform.keys.used(report.used)

    async def scaling_hints(self, app: str) -> dict[str, Any]:
        """Return the autoscaling hints for an app (`cluster.autoscaling`): wishes of its deployment, and its load."""
        rollouts = self._opened.platform.rollouts
        wishes = self._opened.runtime.wishes(app, deploying=rollouts.deploying(app))
        known = self._observations.settled  # a gateway that has not reported yet may have some
        in_flight = self._observations.in_flight(app) if known else None
        return {**wishes, "analysing": rollouts.analysing(app), "in_flight": in_flight}

    async def belongs_to(self, key_digest: str) -> bool:
        """Return whether this platform's operator has the key with this digest (`security.keys.digest`)."""
        key = await asyncio.to_thread(operator_key, self._settings.state_dir)
        return same_secret(key_digest, digest(key))

    async def missing(self) -> tuple[list[str], list[str]]:
        """Return the parts that are not up yet and that every answer needs, and a sentence for each model without one.

        `unserved` tells models that may still come from those that failed.
        """
        return await asyncio.to_thread(self._missing)

    async def unserved(self) -> list[Unserved]:
        """Return each model that should answer and does not, and whether it may still come by itself.

        Raises:
            Unavailable: the database or the files are not open yet.
        """
        return await asyncio.to_thread(lambda: self._opened.control.unserved())

    def _missing(self) -> tuple[list[str], list[str]]:
        if self._parts is None:
            return [f"the controller: {self._trouble}"], []
        health = self._parts.control.system_health()
        parts = [f"the {name}" for name, part in health["components"].items() if part["status"] != "healthy"]
        if not parts and not self._observations.acknowledged(self._parts.platform.rollouts.table.epoch):
            parts = ["the gateway to take the routing table"]
        parts += [f"the edge: {trouble}" for trouble in list(self._edges.troubles.values())]
        parts = parts or [f"the edge to see the {backend}" for backend in self._edges.unseen()]
        return parts, [one.sentence for one in self._parts.control.unserved()]

    async def stop(self) -> None:
        """Stop the loop and close the store; the caller then kills the actor."""
        self._stopping.set()
        self._wake.set()
        await asyncio.to_thread(self._loop.join, 10)
        if self._parts is not None:
            self._parts.runtime.close()
        await asyncio.to_thread(self._edges.stop)
        if self._parts is not None:
            self._parts.platform.close()

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        edges = begin(self._keep_edges(), "edges are not kept up any more")
        sharing = begin(self._sharing.keep(), "shares of gateways that are gone are not given to others any more")
        parts = await self._open_until_done()
        if parts is not None:
            publishing = begin(parts.publisher.run(), "the routing table is not pushed any more")
            # What a Controller that died while it deleted a version has left. In a thread: an object store may be slow.
            sweeping = begin(
                asyncio.to_thread(parts.platform.registry.sweep), "deleted versions left their bytes behind"
            )
            await self._keep_ticking(parts)
            publishing.cancel()
            sweeping.cancel()
        edges.cancel()
        sharing.cancel()

    async def _open_until_done(self) -> _Parts | None:
        """Open the database and the files, however long that takes; None if the platform stops before."""
        while not self._stopping.is_set():
            try:
                self._parts = await asyncio.to_thread(self._open)
            except Exception as error:
                self._trouble = f"the controller cannot begin its work: {error}"
                _log.exception("the controller cannot open its database or its files; trying again in %s s", REOPEN_S)
                await asyncio.to_thread(self._stopping.wait, REOPEN_S)
            else:
                return self._parts
        return None

    def _open(self) -> _Parts:
        settings = self._settings
        publisher = TablePublisher(lambda: platform.rollouts.table, self._observations, pushed=self._wake.set)
        trusted = SigningKey.load_or_create(signing_key_path(settings)).public
        runtime = ServeRuntime(settings, trusted, self._observations, publisher.connect, self._clock)
        platform = build(
            settings,
            runtime,
            self._clock,
            outcomes=self._observations.windows,
            drift=self._observations.drift.of,
            on_table=publisher.announce,
            on_order=self._wake.set,
        )
        try:
            jobs = JobRunner(
                settings.state_dir,
                platform.database.records,
                self._clock,
                keys=platform.keys,
                hidden=platform_files(settings),
            )
            control = Control(platform, runtime, self._observations, jobs, cluster_room)
        except BaseException:
            platform.close()
            raise
        return _Parts(platform, runtime, publisher, jobs, control)

    async def _keep_edges(self) -> None:
        while not self._stopping.is_set():
            try:
                await asyncio.to_thread(self._edges.ensure)
            except Exception:
                _log.exception("the edges could not be looked after; trying again")
            await asyncio.sleep(TICK_S)

    async def _keep_ticking(self, parts: _Parts) -> None:
        while not self._stopping.is_set():
            busy = await asyncio.to_thread(self._tick, parts)
            await asyncio.to_thread(self._wake.wait, BUSY_TICK_S if busy else TICK_S)
            self._wake.clear()

    def _tick(self, parts: _Parts) -> bool:
        """Advance all rollouts and jobs once; an error of one does not keep the other. Return True if work is left."""
        rollouts, changed = parts.platform.rollouts, False
        try:
            parts.runtime.look(awaited=rollouts.starting)
            changed = rollouts.tick()
        except Exception:
            _log.exception("a tick of the rollouts failed; the next one follows")
        try:
            parts.jobs.reconcile()
        except Exception:
            _log.exception("the jobs could not be looked after; the next tick follows")
        try:
            self._tend_keys(parts.platform)
        except Exception:
            _log.exception("what is known of API keys could not be stored; the next tick follows")
        return changed or rollouts.busy

    def _tend_keys(self, platform: Platform) -> None:
        """Publish changes of keys that could not be published, store when keys were used, and warn about old ones."""
        platform.policy.settle()
        platform.keys.write_uses()
        now = self._clock.monotonic()
        if now >= self._look_at_keys:
            self._look_at_keys = now + KEYS_LOOK_S
            platform.keys.sweep()
            platform.keys.warn_due(platform.database.journal, self._settings.key_rotation_days)


def start_controller(settings: Settings, *, with_edge: bool = True) -> Any:
    """Return the Controller's handle; start it if there is none on this cluster.

    Args:
        settings: the platform's settings.
        with_edge: whether to keep an edge on every node; otherwise something else must bring requests to the gateways.
    """
    PlatformKey.create(settings.state_dir)  # here, because gateways read it as soon as they start
    fresh = not gateways_among(running_actors())
    actor = ray.remote(ControllerActor)
    return actor.options(
        name=CONTROLLER,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        num_cpus=0,
        max_concurrency=200,
    ).remote(settings, with_edge, fresh)
