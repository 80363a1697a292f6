"""What a deployment does next: pure functions from state, evidence and time to a new state and actions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from streamb.rollouts.deployment import DEPLOYMENT_LIFECYCLE, Deployment, DeploymentState
from streamb.rollouts.runtime import AppPhase, AppStatus

STEP_START = 0
"""Immediate strategy, first step: bring the version up."""
STEP_SWITCH = 1
"""Immediate strategy, second step: all traffic to it, until every gateway has acknowledged."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known when a decision is taken.

    Attributes:
        app: the target version's app; None when it does not exist.
        acknowledged: every live gateway routes by the table that the last decision published.
    """

    app: AppStatus | None
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class StartApp:
    """Ask for the target version's app."""


@dataclass(frozen=True, slots=True)
class RouteAll:
    """Give the target version all of the model's traffic."""


Action = StartApp | RouteAll


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a step may take, in seconds."""

    start_s: float = 120.0
    acknowledge_s: float = 15.0


def decide(
    deployment: Deployment, evidence: Evidence, now: float, limits: Limits
) -> tuple[Deployment, tuple[Action, ...]]:
    """The next state of an active deployment and what must be done for it; the same state when nothing changes."""
    if deployment.state is DeploymentState.PENDING:
        return _move(deployment, DeploymentState.PROGRESSING, now, reason="starting the version"), (StartApp(),)
    if deployment.state is not DeploymentState.PROGRESSING:
        return deployment, ()
    if deployment.step == STEP_START:
        return _starting(deployment, evidence, now, limits)
    return _switching(deployment, evidence, now, limits)


def _starting(
    deployment: Deployment, evidence: Evidence, now: float, limits: Limits
) -> tuple[Deployment, tuple[Action, ...]]:
    app = evidence.app
    if app is not None and app.phase is AppPhase.RUNNING:
        switching = replace(
            deployment,
            step=STEP_SWITCH,
            weight=100.0,
            reason="all traffic to the version; waiting for the gateways",
            step_started_at=now,
            updated_at=now,
        )
        return switching, (RouteAll(),)
    if app is not None and app.phase is AppPhase.FAILED:
        return _fail(deployment, now, f"version {deployment.target_version} did not start: {app.reason}")
    if now - deployment.step_started_at > limits.start_s:
        seen = "it was never seen" if app is None else f"it is {app.phase} ({app.reason or 'no reason given'})"
        return _fail(
            deployment, now, f"version {deployment.target_version} did not start in {limits.start_s:g} s: {seen}"
        )
    if app is None:
        return deployment, (StartApp(),)
    return deployment, ()


def _switching(
    deployment: Deployment, evidence: Evidence, now: float, limits: Limits
) -> tuple[Deployment, tuple[Action, ...]]:
    if evidence.acknowledged:
        return _move(deployment, DeploymentState.COMPLETED, now, reason="every gateway routes to the version"), ()
    if now - deployment.step_started_at > limits.acknowledge_s:
        # Traffic has moved where it could; a gateway that stays silent this long is replaced or pulls the table later.
        return _move(deployment, DeploymentState.COMPLETED, now, reason="routed; a gateway has not answered yet"), ()
    return deployment, ()


def _move(deployment: Deployment, state: DeploymentState, now: float, *, reason: str) -> Deployment:
    DEPLOYMENT_LIFECYCLE.check(deployment.state, state)
    return replace(deployment, state=state, reason=reason, updated_at=now, step_started_at=now)


def _fail(deployment: Deployment, now: float, reason: str) -> tuple[Deployment, tuple[Action, ...]]:
    return _move(deployment, DeploymentState.FAILED, now, reason=reason), ()
