"""Deployments: how a model version comes to answer traffic, decided by pure functions over persisted state."""

from streamb.rollouts.controller import Rollouts
from streamb.rollouts.deployment import (
    DEPLOYMENT_LIFECYCLE,
    Deployment,
    DeploymentEvent,
    DeploymentState,
    ServingRoute,
    Strategy,
)
from streamb.rollouts.runtime import AppPhase, AppSpec, AppStatus, Runtime

__all__ = [
    "DEPLOYMENT_LIFECYCLE",
    "AppPhase",
    "AppSpec",
    "AppStatus",
    "Deployment",
    "DeploymentEvent",
    "DeploymentState",
    "Rollouts",
    "Runtime",
    "ServingRoute",
    "Strategy",
]
