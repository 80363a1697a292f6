"""What answers keeps running: a failed app is replaced under a new name, with growing pauses. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from streamb.rollouts.route import ServingRoute
from streamb.rollouts.runtime import AppPhase, AppStatus

FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 300.0
WELL_S: Final = 600.0
"""An app that has run for so long since its last restart is well; the next restart follows at once."""


def maintained(
    route: ServingRoute, running: Mapping[str, AppStatus], now: float, new_app: Callable[[str, str], str]
) -> ServingRoute:
    """What the route should be now; the same one when all is well.

    Args:
        new_app: a name that was never used, for a model and a version.
    """
    standby = tuple(one for one in route.standby if one.until > now and _may_run(running.get(one.app)))
    if standby != route.standby:
        return replace(route, standby=standby)
    if route.replacement:
        return _replacing(route, running)
    status = running.get(route.app)
    if status is not None and status.phase is AppPhase.FAILED and now >= route.retry_at:
        pause = min(FIRST_PAUSE_S * 2**route.restarts, LONGEST_PAUSE_S)
        app = new_app(route.model_id, route.version)
        return replace(route, replacement=app, restarts=route.restarts + 1, retry_at=now + pause)
    well = status is not None and status.phase is AppPhase.RUNNING and now >= route.retry_at + WELL_S
    return replace(route, restarts=0, retry_at=0.0) if well and route.restarts else route


def missing(route: ServingRoute, running: Mapping[str, AppStatus]) -> str:
    """The app that should run and does not exist (a new one, or the whole cluster was gone); "" when there is none."""
    app = route.replacement or route.app
    return "" if app in running else app


def abandoned(route: ServingRoute, running: Mapping[str, AppStatus]) -> frozenset[str]:
    """Apps of the route that have failed, answer nobody, and are being replaced: they only hold resources."""
    status = running.get(route.app)
    failed = status is not None and status.phase is AppPhase.FAILED and status.replicas == 0
    return frozenset({route.app}) if route.replacement and failed else frozenset()


def _replacing(route: ServingRoute, running: Mapping[str, AppStatus]) -> ServingRoute:
    """The replacement takes over once it runs; when it fails too, the next one follows after the pause."""
    status = running.get(route.replacement)
    if status is None:
        return route
    if status.phase is AppPhase.RUNNING:
        return replace(route, app=route.replacement, replacement="")
    if status.phase is AppPhase.FAILED:
        # It becomes the app and is replaced in turn, once its time has come; unless the one before still answers.
        return replace(route, app=_better(route, running), replacement="")
    return route


def _better(route: ServingRoute, running: Mapping[str, AppStatus]) -> str:
    """Of two failed apps the one that still has a replica that answers."""
    old = running.get(route.app)
    return route.app if old is not None and old.replicas > 0 else route.replacement


def _may_run(status: AppStatus | None) -> bool:
    return status is not None and status.phase in {AppPhase.RUNNING, AppPhase.STARTING}
