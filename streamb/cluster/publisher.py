"""Publishes the routing table: pushes it to every gateway as soon as it changes; their answers acknowledge it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from ray import serve
from ray.exceptions import RayError

from streamb.cluster.names import GATEWAY, GATEWAY_APP
from streamb.control.observations import NodeReport, Observations
from streamb.traffic import RoutingTable

_PUSH_S: Final = 5.0
_AGAIN_S: Final = 1.0
"""Seconds until a push that did not reach all gateways is repeated; gateways also pull every second."""
MOST_PUSHES: Final = 4
"""How many tables are pushed at once at most: no change waits for a gateway that is slow with the one before."""

_log = logging.getLogger(__name__)


class TablePublisher:
    """Pushes independently of the loop that changes the table, so that nothing slow there delays a rollback.

    Args:
        table: returns the newest routing table.
        observations: receives the gateways' answers, which are reports like those of their heartbeats.
        pushed: called after a push, to continue what waits for the acknowledgement.
    """

    def __init__(
        self, table: Callable[[], RoutingTable], observations: Observations, pushed: Callable[[], None]
    ) -> None:
        self._table = table
        self._observations = observations
        self._pushed = pushed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._gateways: Any = None

    def announce(self) -> None:
        """Push the newer table. May be called from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended because the platform stops
                self._loop.call_soon_threadsafe(self._changed.set)

    def connect(self, app: str) -> Future[bool]:
        """Make every gateway connect to a new app. From any thread.

        The result is whether all have, and comes within a time limit; True if there is no gateway.
        """
        if self._loop is None or self._loop.is_closed():
            done: Future[bool] = Future()
            done.set_result(True)
            return done
        return asyncio.run_coroutine_threadsafe(self._connect(app), self._loop)

    async def run(self) -> None:
        """Push each newer table, until cancelled.

        A push takes as long as the slowest gateway, which may wait for a version's replicas. The next table does not
        wait for it: it may end a key.
        """
        self._loop = loop = asyncio.get_running_loop()
        pushes: dict[asyncio.Task[bool], int] = {}
        published, begun, again_at = 0, 0, 0.0
        try:
            while True:
                self._changed.clear()
                try:
                    for done in [push for push in pushes if push.done()]:
                        epoch = pushes.pop(done)
                        again_at = loop.time() + _AGAIN_S
                        if done.result():
                            published = max(published, epoch)
                    table = self._table()
                    newer = table.epoch > begun and len(pushes) < MOST_PUSHES
                    if newer or (table.epoch > published and not pushes and loop.time() >= again_at):
                        begun = table.epoch
                        pushes[loop.create_task(self._push(table))] = begun
                except Exception:  # without this loop, changes would wait for the gateways to ask
                    _log.exception("the routing table could not be pushed; trying again")
                changed = loop.create_task(self._changed.wait())
                await asyncio.wait({changed, *pushes}, timeout=_AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
        finally:
            for push in pushes:
                push.cancel()

    async def _push(self, table: RoutingTable) -> bool:
        """Push one table; return True if every gateway adopted it."""
        reports = await self._broadcast("apply", table)
        self._pushed()
        return bool(reports) and all(report is not None and report.epoch >= table.epoch for report in reports)

    async def _connect(self, app: str) -> bool:
        reports = await self._broadcast("connect", app)
        self._pushed()
        if not reports:
            return not self._observations.live("gateway")
        return all(report is not None and report.links.get(app, 0) > 0 for report in reports)

    async def _broadcast(self, method: str, argument: Any) -> list[NodeReport | None]:
        """Return each gateway's report after the call; None for one that failed, an empty list if all did."""
        if not self._observations.live("gateway"):
            return []
        if self._gateways is None:  # kept, because a new handle first asks Serve where the replicas are
            self._gateways = serve.get_deployment_handle(GATEWAY, GATEWAY_APP, _check_exists=False)
        try:
            answers = await asyncio.wait_for(
                self._gateways.broadcast(method, argument).results_async(return_exceptions=True), _PUSH_S
            )
        except (RayError, TimeoutError, RuntimeError) as error:
            _log.warning("gateways did not answer (%s: %s); they will pull the table", method, error)
            return []
        reports = [answer if isinstance(answer, NodeReport) else None for answer in answers]
        for report in reports:
            if report is not None:
                self._observations.receive(report)
        return reports
