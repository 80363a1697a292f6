"""Counts time as rollouts should: only while the Controller works and can write.

A process that stood still (SIGSTOP, no processor) or a store that was away has watched nothing, and what it waited for
had no chance to be seen. So a tick counts for at most `MOST_S` seconds, and not at all after one that failed. What is
counted is kept in memory: after a restart everything is waited for anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from streamb.clock import Clock
from streamb.rollouts.deployment import Deployment, Phase
from streamb.rollouts.runtime import AppPhase, AppStatus

MOST_S: Final = 2.0
"""The most seconds that one tick counts for; a tick follows within one second."""
STARTS: Final = 2.0
"""How often the time for one start an app may take that should run already: many start at once with the cluster."""


@dataclass(slots=True)
class _Phase:
    """How long a deployment's phase has lasted, and which one it is."""

    which: tuple[Phase, float]
    seconds: float = 0.0


class Patience:
    """The counted time, of the whole loop and of each deployment's phase.

    Args:
        clock: the source of time.
        start_s: for how many seconds an app may start.
    """

    def __init__(self, clock: Clock, start_s: float) -> None:
        self._clock = clock
        self._start_s = start_s
        self._last = clock.monotonic()
        self._tick_s = 0.0
        self._now = 0.0
        self._phases: dict[str, _Phase] = {}
        self._interrupted: set[str] = set()
        self._starting: dict[str, float] = {}

    def tick(self) -> None:
        """Begin a tick."""
        now = self._clock.monotonic()
        self._tick_s = min(max(0.0, now - self._last), MOST_S)
        self._now += self._tick_s
        self._last = now

    def interrupt(self, deployment_id: str) -> None:
        """Record that this tick failed for a deployment: the time until its next one does not count for it."""
        self._interrupted.add(deployment_id)

    def passed(self, deployment: Deployment) -> tuple[float, float]:
        """Return how many seconds count since the deployment's last tick, and since its phase began. Once a tick."""
        counted = 0.0 if deployment.id in self._interrupted else self._tick_s
        self._interrupted.discard(deployment.id)
        which = (deployment.phase, deployment.phase_since)
        found = self._phases.get(deployment.id)
        if found is None or found.which != which:
            found = self._phases[deployment.id] = _Phase(which)
        else:
            found.seconds += counted
        return counted, found.seconds

    def keep(self, deployments: Collection[str]) -> None:
        """Forget all other deployments, which have ended."""
        self._phases = {name: phase for name, phase in self._phases.items() if name in deployments}
        self._interrupted &= set(deployments)

    def checked(self, apps: Mapping[str, AppStatus]) -> dict[str, AppStatus]:
        """Return the apps' states, in which those that have been starting for too long have failed. Once a tick."""
        starting = {app for app, one in apps.items() if one.phase is AppPhase.STARTING and one.replicas == 0}
        self._starting = {app: self._starting.get(app, self._now) for app in starting}
        longest = STARTS * self._start_s
        late = {app for app, since in self._starting.items() if self._now - since > longest}
        said = f"it has not started in {longest:g} s"
        return {app: _late(one, said) if app in late else one for app, one in apps.items()}


def _late(status: AppStatus, said: str) -> AppStatus:
    return replace(status, phase=AppPhase.FAILED, reason=f"{said}: {status.reason}" if status.reason else said)
