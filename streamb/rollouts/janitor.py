"""Stops what nobody wants any more, once its last request has been answered."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final

from streamb.clock import Clock
from streamb.rollouts.runtime import AppPhase, AppStatus, Runtime

GRACE_S: Final = 3.0
"""How long an unwanted app keeps running at least: longer than a gateway takes to pull a new table."""

PATIENCE_S: Final = 60.0
"""How long an unwanted app may hold on to requests; a request never lives this long."""


class Janitor:
    """Remembers since when an app has been unwanted, and stops it when it is idle (or has been for too long)."""

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock
        self._unwanted_since: dict[str, float] = {}

    def sweep(self, running: Mapping[str, AppStatus], wanted: Set[str]) -> None:
        """Look at every app once.

        Args:
            wanted: what answers, what is being deployed, and what is kept warm until its time has come.
        """
        now = self._clock.monotonic()
        unwanted = {app for app, status in running.items() if app not in wanted and status.phase != AppPhase.STOPPING}
        self._unwanted_since = {app: self._unwanted_since.get(app, now) for app in unwanted}
        for app, since in self._unwanted_since.items():
            age = now - since
            idle = age >= GRACE_S and self._runtime.in_flight(app) == 0
            dead = running[app].phase is AppPhase.FAILED and running[app].replicas == 0
            if idle or dead or age >= PATIENCE_S:
                self._runtime.stop(app)
