"""Creates deployments, and finds the version that a completed one can be rolled back to."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from streamb.errors import Conflict, InvalidInput, NotFound
from streamb.hashing import BASIS_POINTS
from streamb.registry import Registry
from streamb.rollouts.deployment import Deployment, DeploymentState
from streamb.rollouts.options import RolloutOptions
from streamb.rollouts.route import ServingRoute
from streamb.rollouts.runtime import DEFAULT_RUN, AppPhase, AppStatus, RunOptions
from streamb.rollouts.strategies import AT_ONCE, Strategy, copying, hold_seconds, plan


def new_app(model_id: str, version: str) -> str:
    """Return a new, unused app name."""
    return f"{model_id}--{version}--{secrets.token_hex(4)}"


def new_deployment(
    model_id: str,
    version: str,
    strategy: Strategy,
    options: RolloutOptions,
    actor: str,
    now: float,
    route: ServingRoute | None,
    running: Mapping[str, AppStatus],
    most_unjudged: int = BASIS_POINTS,
) -> Deployment:
    """Return a new deployment in the state pending.

    Args:
        model_id, version: what to deploy.
        strategy, options: how it proceeds.
        actor: who created it, for the history.
        now: seconds since the epoch.
        route: the model's present route; None if no version serves yet.
        running: the state of every app.
        most_unjudged: ten-thousandths of the traffic above which a rolling deployment does not begin.

    Raises:
        InvalidInput: an option is not used by the strategy.
    """
    serving = running.get(route.app) if route else None
    replicas = serving.replicas if serving else 1
    steps = plan(strategy, options, replicas=replicas, first=route is None, most_unjudged=most_unjudged)
    if route is not None and route.version == version:
        steps = AT_ONCE  # it answers already
    run = options.run
    warm = _running_app(route, version, run, running) if route is not None else ""
    shadow, per_second = copying(options, steps)
    return Deployment(
        id=f"dep-{secrets.token_hex(6)}",
        model_id=model_id,
        target_version=version,
        app=warm or new_app(model_id, version),
        strategy=strategy,
        state=DeploymentState.PENDING,
        created_by=actor,
        created_at=now,
        updated_at=now,
        step_started_at=now,
        previous_version=route.version if route else None,
        reason="waiting for the controller",
        options=options.given,
        steps=steps,
        phase_since=now,
        stable_app=route.app if route else "",
        salt=route.salt if route else secrets.token_hex(8),
        criteria=options.health_check_criteria,
        rollback_on_failure=options.rollback_on_failure,
        fallback_to_stable=options.fallback_to_stable,
        approval_timeout_s=options.approval_timeout_s,
        hold_s=hold_seconds(strategy, options),
        shadow=shadow,
        copies_per_second=per_second,
        users=tuple(sorted(set(options.overrides.users))),
        run=run,
        back_run=route.run if route is not None else DEFAULT_RUN,
    )


def _running_app(route: ServingRoute, version: str, run: RunOptions, running: Mapping[str, AppStatus]) -> str:
    """Return the app that runs a version already, in the way that is wanted; "" if it must be started."""
    app = route.warm(version)
    kept = route.run_of(app) if app else None
    if kept is None or (kept.resources, kept.isolation) != (run.resources, run.isolation):
        return ""
    return app if app == route.app or (app in running and running[app].phase is AppPhase.RUNNING) else ""


def way_back(
    deployment: Deployment,
    wanted: str | None,
    route: ServingRoute | None,
    registry: Registry,
    now: float,
    run_of: Callable[[str], RunOptions],
) -> tuple[str, str, RunOptions]:
    """Return the version that a completed deployment returns to, its app (one that is kept warm, or a new one), and how
    it runs.

    Args:
        deployment: the completed deployment.
        wanted: the version to return to; None for the previous one.
        route: the model's present route.
        registry: holds the versions and when they were registered.
        now: seconds since the epoch.
        run_of: returns how a version ran when it was deployed last.

    Raises:
        Conflict: another version serves now, or there is no previous version, or it was deleted.
        InvalidInput: the version named is the deployment's own, or was registered after it.
    """
    if route is None or route.version != deployment.target_version:
        serving = f"version {route.version} serves now; roll back its deployment" if route else "no version serves now"
        raise Conflict(f"deployment {deployment.id} is no longer in effect: {serving}")
    version = wanted or deployment.previous_version
    if version is None or (wanted is None and version == deployment.target_version):
        raise Conflict(f"there is no version before {deployment.target_version} to return to; name one with to_version")
    if version == deployment.target_version:
        raise InvalidInput(f"version {version} is the one to roll back from; name another")
    own = registry.get_version(deployment.model_id, deployment.target_version)
    try:
        earlier = registry.get_version(deployment.model_id, version)
    except NotFound as error:
        raise Conflict(f"version {version} was deleted; name another with to_version") from error
    if wanted and earlier.created_at > own.created_at:
        raise InvalidInput(f"version {version} was registered after {own.version}: deploy it instead")
    for one in route.standby:
        if one.version == version and one.until > now:
            return version, one.app, one.run
    run = deployment.back_run if version == deployment.previous_version else run_of(version)
    return version, new_app(deployment.model_id, version), run
