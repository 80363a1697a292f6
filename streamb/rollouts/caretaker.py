"""Makes the running apps match the wanted ones: starts missing apps, replaces failed ones, stops unwanted ones.

A failed app is replaced under a new name, after growing pauses; an unwanted one stops after its last request. The
undeployment of a model ends once the last of its apps is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from typing import Final

from streamb.clock import Clock
from streamb.rollouts.creation import new_app
from streamb.rollouts.deployment import Deployment
from streamb.rollouts.ledger import PLATFORM_ACTOR, Note
from streamb.rollouts.moves import pause_before
from streamb.rollouts.route import ServingRoute
from streamb.rollouts.runtime import AppPhase, AppStatus, Fault, Runtime
from streamb.rollouts.standing import Standing

_log = logging.getLogger(__name__)

GRACE_S: Final = 3.0
"""The shortest time an unwanted app keeps running, in seconds: longer than gateways take to report their requests."""
PATIENCE_S: Final = 60.0
"""The longest time an unwanted app may keep running to finish requests, in seconds; no request takes this long."""
WELL_S: Final = 600.0
"""After running for this many seconds since its last restart, an app counts as well; its next restart is immediate."""


class Caretaker:
    """Keeps the apps of all routes running, with or without a deployment under way."""

    def __init__(self, standing: Standing, runtime: Runtime, clock: Clock) -> None:
        self._standing = standing
        self._runtime = runtime
        self._clock = clock
        self._janitor = Janitor(runtime, clock)

    def tend(self, running: Mapping[str, AppStatus]) -> None:
        """Check every route and every app once, and act where needed; `running` is the state of every app.

        Raises:
            StorageFailed, …: the first error; all other work was done, and the next time tries again.
        """
        baking = {one.model_id for one in self._standing.baking.values()}
        troubles: list[Exception] = []
        for route in list(self._standing.routes.values()):
            after = maintained(route, running, self._clock.now(), new_app, baking=route.model_id in baking)
            try:
                if after != route:
                    self._standing.change(self._following(route, after), None, after)
                    _tell(route, after, running)
            except Exception as error:  # what is stored stays right, and is started if it was lost
                troubles.append(error)
                after = route
            if app := missing(after, running):
                self._runtime.start(self._standing.spec(after.model_id, after.version, app))
        self._janitor.sweep(running, self._wanted(running), self._standing.table.epoch)
        for leaving in list(self._standing.leaving.values()):
            if running.keys().isdisjoint(leaving.apps):
                done = f"every app of version {leaving.version} has stopped"
                self._standing.undeployed(leaving, Note("undeployed", done, PLATFORM_ACTOR))
        if troubles:
            raise troubles[0]

    def _following(self, before: ServingRoute, after: ServingRoute) -> Deployment | None:
        """Return the route's deployment with the replaced app's new name; None if nothing changes."""
        deployment = self._standing.latest_of(before.model_id)
        if deployment is None or before.app == after.app:
            return None
        if deployment.app == before.app:
            return replace(deployment, app=after.app)
        return replace(deployment, stable_app=after.app) if deployment.active else None

    def _wanted(self, running: Mapping[str, AppStatus]) -> frozenset[str]:
        """Return the apps that serve, that are kept warm, that are being deployed, or that a rollback returns to."""
        wanted: set[str] = set()
        for route in self._standing.routes.values():
            wanted |= route.apps - abandoned(route, running)
        for deployment in self._standing.active.values():
            wanted |= {deployment.app, deployment.back_app}
        return frozenset(wanted)


class Janitor:
    """Stops apps that are unwanted, once they are idle or have been unwanted for `PATIENCE_S`."""

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock
        self._unwanted_since: dict[str, float] = {}

    def sweep(self, running: Mapping[str, AppStatus], wanted: Set[str], epoch: int) -> None:
        """Check every app once, and stop those that are due.

        Args:
            running: the state of every app.
            wanted: the apps that serve, that are being deployed, or that are still kept warm.
            epoch: the epoch of the routing table that no longer names the others. A gateway with an older table may
                still send them requests.
        """
        now = self._clock.monotonic()
        unwanted = {app for app, status in running.items() if app not in wanted and status.phase != AppPhase.STOPPING}
        self._unwanted_since = {app: self._unwanted_since.get(app, now) for app in unwanted}
        known = self._runtime.acknowledged(epoch)
        for app, since in self._unwanted_since.items():
            age = now - since
            idle = known and age >= GRACE_S and self._runtime.in_flight(app) == 0
            dead = running[app].phase is AppPhase.FAILED and running[app].replicas == 0
            if idle or dead or age >= PATIENCE_S:
                self._runtime.stop(app)


def maintained(
    route: ServingRoute,
    running: Mapping[str, AppStatus],
    now: float,
    new_app: Callable[[str, str], str],
    *,
    baking: bool = False,
) -> ServingRoute:
    """Return the route as it should be now; the same object if nothing has to change.

    Args:
        route: the route as it is.
        running: the state of every app.
        now: seconds since the epoch.
        new_app: returns an unused app name for a model and a version.
        baking: whether the version is still judged: the one before it is kept warm meanwhile, however long it takes.
    """
    standby = tuple(one for one in route.standby if (baking or one.until > now) and _may_run(running.get(one.app)))
    if standby != route.standby:
        return replace(route, standby=standby)
    if route.replacement:
        return _replacing(route, running)
    status = running.get(route.app)
    if status is not None and status.phase is AppPhase.FAILED and now >= route.retry_at:
        app, retry_at = new_app(route.model_id, route.version), now + pause_before(route.restarts)
        return replace(route, replacement=app, restarts=route.restarts + 1, retry_at=retry_at)
    well = status is not None and status.phase is AppPhase.RUNNING and now >= route.retry_at + WELL_S
    return replace(route, restarts=0, retry_at=0.0) if well and route.restarts else route


def _tell(before: ServingRoute, after: ServingRoute, running: Mapping[str, AppStatus]) -> None:
    """Log why an app that should run is started again."""
    status = running.get(before.app)
    if status is not None and after.restarts > before.restarts:
        whose = " (the infrastructure's fault)" if status.fault is Fault.INFRASTRUCTURE else ""
        why = f"{status.reason or 'no reason given'}{whose}"
        _log.warning("model %s: version %s is started again: %s", after.model_id, after.version, why)


def missing(route: ServingRoute, running: Mapping[str, AppStatus]) -> str:
    """Return the app that should run but does not exist (it is new, or the cluster was lost); "" if there is none."""
    app = route.replacement or route.app
    return "" if app in running else app


def abandoned(route: ServingRoute, running: Mapping[str, AppStatus]) -> frozenset[str]:
    """Return the route's apps that failed, have no replica, and are being replaced: they only hold resources."""
    status = running.get(route.app)
    failed = status is not None and status.phase is AppPhase.FAILED and status.replicas == 0
    return frozenset({route.app}) if route.replacement and failed else frozenset()


def _replacing(route: ServingRoute, running: Mapping[str, AppStatus]) -> ServingRoute:
    """Let the replacement take over once it runs; if it fails too, the next one follows after the pause."""
    status = running.get(route.replacement)
    if status is None:
        return route
    if status.phase is AppPhase.RUNNING:
        return replace(route, app=route.replacement, replacement="")
    if status.phase is AppPhase.FAILED:
        # It becomes the app and is replaced itself after the pause, unless the app before it still has replicas.
        return replace(route, app=_better(route, running), replacement="")
    return route


def _better(route: ServingRoute, running: Mapping[str, AppStatus]) -> str:
    """Return the one of two failed apps that still has a replica."""
    old = running.get(route.app)
    return route.app if old is not None and old.replicas > 0 else route.replacement


def _may_run(status: AppStatus | None) -> bool:
    return status is not None and status.phase in {AppPhase.RUNNING, AppPhase.STARTING}
