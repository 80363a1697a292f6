"""The heartbeat of a serving process: once a second it tells the Controller how it is, and hears the newest table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import ray
from ray.exceptions import RayError

from streamb.clock import SystemClock
from streamb.cluster.names import CONTROLLER, NAMESPACE
from streamb.control.observations import NodeReport
from streamb.traffic import RoutingTable

INTERVAL_S: Final = 1.0
_SOON_S: Final = 0.05
_CALL_TIMEOUT_S: Final = 5.0
STALLED_S: Final = 75.0
"""Longer than one beat can take: looking the Controller up takes a minute where the cluster's head does not answer."""
_log = logging.getLogger(__name__)


class Heartbeat:
    """Reports to the Controller every second, for as long as the process lives; survives the Controller's death.

    Args:
        report: says how this process is.
        adopt: takes in a newer routing table; None for processes that route nothing.
    """

    def __init__(
        self, report: Callable[[], NodeReport], adopt: Callable[[RoutingTable], Awaitable[None]] | None = None
    ) -> None:
        self._make_report = report
        self._clock = SystemClock()
        self._since = self._clock.monotonic()
        self._adopt = adopt
        self._controller: Any = None
        self._task: asyncio.Task[None] | None = None
        self._beat_at = self._since
        self._stopped = False

    def start(self) -> None:
        """Begin, on the running loop."""
        self._beat_at = self._clock.monotonic()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def ensure(self) -> None:
        """Begin again where the loop has ended or hangs; asked by whoever checks the health of the process.

        A process that is not heard counts as gone: it gets no requests, and what it counted is not known.
        """
        if self._task is None or self._stopped:
            return
        silent_s = self._clock.monotonic() - self._beat_at
        if self._task.done() or silent_s > STALLED_S:
            _log.error("the heartbeat stopped by itself %.0f s ago; it begins again", silent_s)
            self._task.cancel()
            self._controller = None
            self.start()

    def report(self) -> NodeReport:
        """How this process is, now."""
        return replace(self._make_report(), uptime_s=self._clock.monotonic() - self._since)

    async def stop(self) -> None:
        """Say goodbye and end. Saying it again, when the last answers are out, tells what was counted in between."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
        controller = self._controller
        if controller is not None:
            try:
                await asyncio.wait_for(controller.goodbye.remote(self.report()), _CALL_TIMEOUT_S)
            except (RayError, TimeoutError):
                _log.info("the controller did not hear our goodbye; it will notice the silence")

    async def _run(self) -> None:
        while True:
            self._beat_at = self._clock.monotonic()
            adopted = await self._beat()
            # A table that was pulled is acknowledged now rather than at the end of the second.
            await asyncio.sleep(_SOON_S if adopted else INTERVAL_S)

    async def _beat(self) -> bool:
        """One report. True when it was answered by a newer table."""
        try:
            if self._controller is None:
                self._controller = await asyncio.to_thread(ray.get_actor, CONTROLLER, NAMESPACE)
            table = await asyncio.wait_for(self._controller.heartbeat.remote(self.report()), _CALL_TIMEOUT_S)
            if table is not None and self._adopt is not None:
                await self._adopt(table)
                return True
        except (RayError, TimeoutError, ValueError) as error:
            # ValueError: no such actor (yet). Serving goes on with the table that we have.
            self._controller = None
            _log.warning("the controller does not answer (%s); going on with what we know", type(error).__name__)
        except Exception:
            _log.exception("a heartbeat failed; the next one is due in %s s", INTERVAL_S)
        return False
