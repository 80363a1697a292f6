"""Deployments: how a model version comes to answer traffic, decided by pure functions over persisted state."""

from streamb.rollouts.controller import Rollouts
from streamb.rollouts.deployment import (
    DEPLOYMENT_LIFECYCLE,
    Approval,
    Deployment,
    DeploymentEvent,
    DeploymentState,
    Phase,
)
from streamb.rollouts.observation import Outcomes
from streamb.rollouts.route import ServingRoute, Standby
from streamb.rollouts.runtime import AppPhase, AppSpec, AppStatus, Runtime
from streamb.rollouts.strategies import Step, Strategy, plan

__all__ = [
    "DEPLOYMENT_LIFECYCLE",
    "AppPhase",
    "AppSpec",
    "AppStatus",
    "Approval",
    "Deployment",
    "DeploymentEvent",
    "DeploymentState",
    "Outcomes",
    "Phase",
    "Rollouts",
    "Runtime",
    "ServingRoute",
    "Standby",
    "Step",
    "Strategy",
    "plan",
]
