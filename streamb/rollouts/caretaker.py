"""Brings what runs in line with what should: starts, replaces, and has the janitor stop what nobody wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from streamb.clock import Clock
from streamb.rollouts.creation import new_app
from streamb.rollouts.deployment import Deployment
from streamb.rollouts.janitor import Janitor
from streamb.rollouts.route import ServingRoute
from streamb.rollouts.runtime import AppStatus, Runtime
from streamb.rollouts.standing import Standing
from streamb.rollouts.upkeep import abandoned, maintained, missing


class Caretaker:
    """Looks after what answers, whether or not a deployment is under way."""

    def __init__(self, standing: Standing, runtime: Runtime, clock: Clock) -> None:
        self._standing = standing
        self._runtime = runtime
        self._clock = clock
        self._janitor = Janitor(runtime, clock)

    def tend(self) -> None:
        """Look at every route and every app once."""
        running = self._runtime.apps()
        for route in list(self._standing.routes.values()):
            after = maintained(route, running, self._clock.now(), new_app)
            if after != route:
                self._standing.change(self._following(route, after), None, after)
            if app := missing(after, running):
                self._runtime.start(self._standing.spec(after.model_id, after.version, app))
        self._janitor.sweep(running, self._wanted(running))

    def _following(self, before: ServingRoute, after: ServingRoute) -> Deployment | None:
        """The deployment beside a route whose app was replaced, knowing the new one."""
        deployment = self._standing.deployment_of(before.model_id)
        if deployment is None or before.app == after.app:
            return None
        if deployment.app == before.app:
            return replace(deployment, app=after.app)
        return replace(deployment, stable_app=after.app)

    def _wanted(self, running: Mapping[str, AppStatus]) -> frozenset[str]:
        """What answers, what is kept warm, and what is being deployed or gone back to."""
        wanted: set[str] = set()
        for route in self._standing.routes.values():
            wanted |= route.apps - abandoned(route, running)
        for deployment in self._standing.active.values():
            wanted |= {deployment.app, deployment.back_app}
        return frozenset(wanted)
