"""The heartbeat of a serving process: reports to the Controller every second, and receives the newest table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Final

import ray
from ray.exceptions import RayError

from streamb.clock import SystemClock
from streamb.cluster.background import begin
from streamb.cluster.names import CONTROLLER, NAMESPACE
from streamb.control.observations import NodeReport
from streamb.serving.callers import CallerLimits
from streamb.traffic import RoutingTable

INTERVAL_S: Final = 1.0
_SOON_S: Final = 0.05
_CALL_TIMEOUT_S: Final = 5.0
STALLED_S: Final = 75.0
"""Longer than one beat can take, in seconds: looking up the Controller takes a minute if the head is silent."""
_log = logging.getLogger(__name__)


class Heartbeat:
    """Reports to the Controller every second while the process lives; survives the Controller's death.

    Args:
        report: returns this process's report.
        adopt: adopts a newer routing table; None for processes that route nothing.
        hear_failed: called with the reasons why apps cannot answer, by app.
        callers: the limits on callers, of whose use the Controller is told, and whose shares it tells; None for
            processes that share none.
    """

    def __init__(
        self,
        report: Callable[[], NodeReport],
        adopt: Callable[[RoutingTable], Coroutine[Any, Any, None]] | None = None,
        hear_failed: Callable[[Mapping[str, str]], None] = lambda _: None,
        callers: CallerLimits | None = None,
        heard: Callable[[NodeReport], None] = lambda _: None,
    ) -> None:
        self._heard = heard
        self._callers = callers
        self._make_report = report
        self._clock = SystemClock()
        self._since = self._clock.monotonic()
        self._adopt = adopt
        self._hear_failed = hear_failed
        self._controller: Any = None
        self._task: asyncio.Task[None] | None = None
        self._beat_at = self._since
        self._stopped = False

    def start(self) -> None:
        """Start reporting, on the running event loop."""
        self._beat_at = self._clock.monotonic()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def ensure(self) -> None:
        """Restart the loop if it has ended or hangs; called by the process's health check.

        A process that does not report counts as gone: it gets no requests, and its counts are not known.
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
        """Return this process's present report."""
        return replace(self._make_report(), uptime_s=self._clock.monotonic() - self._since)

    async def stop(self) -> None:
        """Send a last report and stop. A second call, after the last answers, reports what was counted in between."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
        controller = self._controller
        if controller is not None:
            try:
                await asyncio.wait_for(controller.goodbye.remote(self.report()), _CALL_TIMEOUT_S)
            except (RayError, TimeoutError):
                _log.info("the controller did not receive the last report; it will notice the silence")

    async def _run(self) -> None:
        while True:
            self._beat_at = self._clock.monotonic()
            adopted = await self._beat()
            # A pulled table, and shares that were given up, are acknowledged now, not at the end of the second.
            await asyncio.sleep(_SOON_S if adopted else INTERVAL_S)

    async def _beat(self) -> bool:
        """Send one report. Return True if the next one should follow at once: it tells the Controller what was done."""
        soon = False
        try:
            if self._controller is None:
                self._controller = await asyncio.to_thread(ray.get_actor, CONTROLLER, NAMESPACE)
            uses = None if self._callers is None else self._callers.uses()
            asked = self._controller.heartbeat.remote(report := replace(self.report(), uses=uses))
            # Of an answer that is late nothing may be used: the next report says what shares are in use.
            table, failed, shares, known = await asyncio.wait_for(asked, _CALL_TIMEOUT_S)
            if known:
                self._heard(report)
            self._hear_failed(failed)
            soon = shares is not None and self._callers is not None and self._callers.adopt(shares)
            if table is not None and self._adopt is not None:
                # It may wait for replicas for longer than a process may be silent: the next beat does not wait.
                adopting = begin(self._adopt(table), "a routing table could not be adopted")
                await asyncio.wait({adopting}, timeout=INTERVAL_S)
                soon = soon or adopting.done()
        except (RayError, TimeoutError, ValueError) as error:
            # ValueError: no such actor (yet). Serving continues with the present table.
            self._controller = None
            _log.warning("the controller does not answer (%s); keeping the present routing table", type(error).__name__)
        except Exception:
            _log.exception("a heartbeat failed; the next one is due in %s s", INTERVAL_S)
        return soon
