"""The changes of state that a deployment can make, one function each; `decide` or a verb chooses among them.

In all of them, `now` is in seconds since the epoch, and `reason` explains the new state to people.
"""

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
    """Return the deployment in another state (or the same one), with further changes.

    Args:
        deployment: the present one.
        state: the new state.
        now: seconds since the epoch.
        changes: new values of other fields.

    Raises:
        InvalidTransition: the new state cannot follow the present one.
    """
    if state is not deployment.state:
        DEPLOYMENT_LIFECYCLE.check(deployment.state, state)
    return replace(deployment, state=state, updated_at=now, **changes)


def to_phase(deployment: Deployment, phase: Phase, now: float, reason: str, **changes: Any) -> Deployment:
    """Return the deployment progressing in `phase`, with `reason` and further changes of fields."""
    return to_state(
        deployment, _S.PROGRESSING, now, **{"phase": phase, "phase_since": now, "reason": reason, **changes}
    )


def to_step(deployment: Deployment, step: int, now: float, reason: str) -> Deployment:
    """Return the deployment at the gate of another step."""
    return to_phase(deployment, Phase.GATE, now, reason, step=step, step_started_at=now, waiting_for="")


def wait_for(deployment: Deployment, gate: str, now: float, reason: str) -> Deployment:
    """Return the deployment waiting for an approval of `gate`."""
    return to_state(deployment, _S.AWAITING_APPROVAL, now, waiting_for=gate, phase_since=now, reason=reason)


def pause(deployment: Deployment, now: float, reason: str) -> Deployment:
    """Return the deployment paused, in its present phase."""
    return to_state(deployment, _S.PAUSED, now, reason=reason, waiting_for="")


def end(deployment: Deployment, state: DeploymentState, now: float, reason: str) -> Deployment:
    """Return the deployment ended in `state`."""
    return to_state(deployment, state, now, phase=Phase.DONE, phase_since=now, reason=reason, waiting_for="")


def complete(deployment: Deployment, now: float, reason: str) -> tuple[Deployment, tuple[RouteTo, ...]]:
    """Return the completed deployment, and the action that routes the model to the target version."""
    done = replace(end(deployment, _S.COMPLETED, now, reason), share=BASIS_POINTS)
    return done, (RouteTo(deployment.target_version, deployment.app, deployment.hold_s),)


def give_back(deployment: Deployment, ending: DeploymentState, now: float, reason: str) -> Deployment:
    """Take away the target's share: the deployment ends at once if it had none, otherwise when every gateway knows."""
    if deployment.share == 0:
        return end(deployment, ending, now, reason)
    said = f"{GIVING_UP if ending is _S.ABORTED else ROLLING_BACK}: {reason}"
    return to_phase(deployment, Phase.REVERT, now, said, share=0, ending=ending, waiting_for="")


def gone_back(deployment: Deployment, now: float) -> Deployment:
    """Return the deployment ended after its rollback, with the reason."""
    why = deployment.reason.removeprefix(f"{ROLLING_BACK}: ").removeprefix(f"{GIVING_UP}: ")
    why = why.replace(f"{ROLLING_BACK} to", "rolled back to", 1)
    return end(deployment, deployment.ending or _S.ROLLED_BACK, now, why)


def restore(deployment: Deployment, version: str, app: str, now: float, reason: str) -> Deployment:
    """Return a completed deployment that begins to roll back to `version`, which runs as `app`."""
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
