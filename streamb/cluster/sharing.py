"""Which gateways run, for the division of the limits on callers: shares are taken only from those that have ended."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import ray

from streamb.clock import Clock
from streamb.cluster.names import GATEWAY
from streamb.control.observations import SILENCE_S, NodeReport
from streamb.control.shares import Division
from streamb.traffic import RateLimits
from streamb.traffic.shares import Shares

_LOOK_S: Final = 1.0
_AWAITED_S: Final = 120.0
"""How long a new Controller waits for the first reports of the gateways that ran before it, in seconds."""
_log = logging.getLogger(__name__)


class Sharing:
    """Divides the limits on callers among the gateways that run. `divide` and `gone` return at once.

    Args:
        limits: the limits; None if there are none.
        clock: the source of time.
        fresh: whether no gateway ran when the Controller was made.
    """

    def __init__(self, limits: RateLimits | None, clock: Clock, *, fresh: bool) -> None:
        restarted = ray.is_initialized() and ray.get_runtime_context().was_current_actor_reconstructed
        self._division = None if limits is None else Division(limits, fresh=fresh and not restarted)
        self._clock = clock
        self._began = clock.monotonic()

    def divide(self, report: NodeReport) -> Shares | None:
        """Return the shares for a process that reports; None if it uses none."""
        if self._division is None or report.uses is None or not report.actor:
            return None
        return self._division.divide(report.actor, report.uses, self._clock.monotonic(), report.uptime_s)

    def gone(self, report: NodeReport) -> None:
        """Take back the shares of a process that says goodbye: it has given them up."""
        if self._division is not None:
            self._division.gone(report.actor)

    async def keep(self) -> None:
        """Look for gateways that ended without a goodbye, until cancelled."""
        while self._division is not None:
            try:
                await asyncio.to_thread(self.look)
            except Exception:
                _log.exception("cannot tell which gateways run; nobody gets the shares of another one meanwhile")
            await asyncio.sleep(_LOOK_S)

    def look(self) -> None:
        """Take back the shares of gateways that are silent because their process has ended. May block."""
        division, now = self._division, self._clock.monotonic()
        if division is None:
            return
        if not division.recovering and now - self._began > _AWAITED_S:
            division.expect(())
        doubtful = division.doubtful(now, SILENCE_S)
        if not doubtful and not division.recovering:
            return
        running = running_actors()
        for name in doubtful - running:
            division.gone(name)
        if division.recovering:
            division.expect(gateways_among(running))


def running_actors() -> frozenset[str]:
    """Return the names of all actors of the cluster that run, or are being started. May block."""
    return frozenset(str(one["name"]) for one in ray.util.list_named_actors(all_namespaces=True))


def gateways_among(actors: frozenset[str]) -> frozenset[str]:
    """Return the gateways among the names of actors, as Serve names its replicas."""
    return frozenset(name for name in actors if f"#{GATEWAY}#" in name)
