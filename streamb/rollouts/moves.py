"""The moves that a deployment can make, one function each. Which move is due is decided in `decide`, or by a verb."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from streamb.hashing import BASIS_POINTS
from streamb.rollouts.deployment import DEPLOYMENT_LIFECYCLE, Deployment, DeploymentState, Phase
from streamb.rollouts.evidence import RouteTo

_S = DeploymentState
ROLLING_BACK: Final = "rolling back"
GIVING_UP: Final = "giving up"


def to_state(deployment: Deployment, state: DeploymentState, now: float, **changes: Any) -> Deployment:
    """The deployment in another state (or still in this one), with further changes.

    Raises:
        InvalidTransition: the state does not follow.
    """
    if state is not deployment.state:
        DEPLOYMENT_LIFECYCLE.check(deployment.state, state)
    return replace(deployment, state=state, updated_at=now, **changes)


def to_phase(deployment: Deployment, phase: Phase, now: float, reason: str, **changes: Any) -> Deployment:
    """The deployment at work in a phase."""
    return to_state(
        deployment, _S.PROGRESSING, now, **{"phase": phase, "phase_since": now, "reason": reason, **changes}
    )


def to_step(deployment: Deployment, step: int, now: float, reason: str) -> Deployment:
    """The deployment at the gate of another step."""
    return to_phase(deployment, Phase.GATE, now, reason, step=step, step_started_at=now, waiting_for="")


def wait_for(deployment: Deployment, gate: str, now: float, reason: str) -> Deployment:
    """The deployment before a closed gate."""
    return to_state(deployment, _S.AWAITING_APPROVAL, now, waiting_for=gate, phase_since=now, reason=reason)


def pause(deployment: Deployment, now: float, reason: str) -> Deployment:
    """The deployment at rest, in the phase where it is."""
    return to_state(deployment, _S.PAUSED, now, reason=reason, waiting_for="")


def end(deployment: Deployment, state: DeploymentState, now: float, reason: str) -> Deployment:
    """The deployment with nothing left to do."""
    return to_state(deployment, state, now, phase=Phase.DONE, phase_since=now, reason=reason, waiting_for="")


def complete(deployment: Deployment, now: float, reason: str) -> tuple[Deployment, tuple[RouteTo, ...]]:
    """The target version has taken over."""
    done = replace(end(deployment, _S.COMPLETED, now, reason), share=BASIS_POINTS)
    return done, (RouteTo(deployment.target_version, deployment.app, deployment.hold_s),)


def give_back(deployment: Deployment, ending: DeploymentState, now: float, reason: str) -> Deployment:
    """The target version without its share: over at once when it had none, else once every gateway knows."""
    if deployment.share == 0:
        return end(deployment, ending, now, reason)
    said = f"{GIVING_UP if ending is _S.ABORTED else ROLLING_BACK}: {reason}"
    return to_phase(deployment, Phase.REVERT, now, said, share=0, ending=ending, waiting_for="")


def gone_back(deployment: Deployment, now: float) -> Deployment:
    """The deployment after its way back, with the reason for it."""
    why = deployment.reason.removeprefix(f"{ROLLING_BACK}: ").removeprefix(f"{GIVING_UP}: ")
    why = why.replace(f"{ROLLING_BACK} to", "rolled back to", 1)
    return end(deployment, deployment.ending or _S.ROLLED_BACK, now, why)


def restore(deployment: Deployment, version: str, app: str, now: float, reason: str) -> Deployment:
    """A completed deployment on its way back to an earlier version."""
    return to_phase(
        deployment,
        Phase.RESTORE,
        now,
        reason,
        step_started_at=now,
        ending=_S.ROLLED_BACK,
        back_to=version,
        back_app=app,
    )
