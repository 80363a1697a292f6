"""The changes of state that a deployment can make, one function each; `decide` or a verb chooses among them.

In all of them, `now` is in seconds since the epoch, and `reason` explains the new state to people.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from streamb.hashing import BASIS_POINTS, sha256_hex
from streamb.rollouts.deployment import DEPLOYMENT_LIFECYCLE, Deployment, DeploymentState, Phase
from streamb.rollouts.evidence import RouteTo

_S = DeploymentState
ROLLING_BACK: Final = "rolling back"
GIVING_UP: Final = "giving up"
STILL_WAITING: Final = "; a gateway has not taken the table yet"
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 300.0


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


def complete(
    deployment: Deployment, now: float, reason: str, *, bake: bool = True
) -> tuple[Deployment, tuple[RouteTo, ...]]:
    """Return the completed deployment, and the action that routes the model to the target version.

    Args:
        deployment: the present one.
        now, reason: as in all moves.
        bake: whether the version is judged on, if there is one before it to return to.
    """
    done = replace(end(deployment, _S.COMPLETED, now, reason), share=BASIS_POINTS)
    if bake and has_bake(deployment):
        done = replace(done, phase=Phase.BAKE)
    return done, (RouteTo(deployment.target_version, deployment.app, deployment.hold_s),)


def has_bake(deployment: Deployment) -> bool:
    """Return whether the version is judged on after completion: there must be one before it, which is kept warm."""
    return deployment.hold_s > 0 and deployment.previous_version not in (None, deployment.target_version)


def baked(deployment: Deployment, now: float, reason: str) -> Deployment:
    """Return a completed deployment that is no longer judged."""
    return replace(deployment, phase=Phase.DONE, phase_since=now, updated_at=now, reason=reason)


def pause_before(restarts: int) -> float:
    """Return how many seconds pass between two starts of an app that failed; `restarts` is how often it was restarted.

    >>> [pause_before(restarts) for restarts in (0, 1, 2, 10)]
    [5.0, 10.0, 20.0, 300.0]
    """
    return min(FIRST_PAUSE_S * 2.0 ** min(restarts, 10), LONGEST_PAUSE_S)


def app_elsewhere(deployment: Deployment, version: str, now: float) -> str:
    """Return a new app name for a version; the same arguments give the same name, so that a decision stays pure."""
    digest = sha256_hex(f"{deployment.id} {deployment.restarts} {now}".encode())
    return f"{deployment.model_id}--{version}--{digest[:8]}"


def start_again(deployment: Deployment, now: float, reason: str) -> Deployment:
    """Return the deployment whose app the infrastructure took away: without traffic, and about to start it again.

    A deployment that waits at the gate of a step goes back to the step before. One that is paused stays paused.
    """
    state = _S.PAUSED if deployment.state is _S.PAUSED else _S.PROGRESSING
    return to_state(
        deployment,
        state,
        now,
        step=max(0, deployment.step - 1) if deployment.phase is Phase.GATE else deployment.step,
        phase=Phase.CAPACITY,
        phase_since=now,
        share=0,
        observed_since=0.0,
        waiting_for="",
        reason=reason,
    )


def give_back(deployment: Deployment, ending: DeploymentState, now: float, reason: str) -> Deployment:
    """Take away the target's share: the deployment ends at once if it had none, otherwise when every gateway knows."""
    if deployment.share == 0:
        return end(deployment, ending, now, reason)
    said = f"{GIVING_UP if ending is _S.ABORTED else ROLLING_BACK}: {reason}"
    return to_phase(deployment, Phase.REVERT, now, said, share=0, ending=ending, waiting_for="")


def gone_back(deployment: Deployment, now: float) -> Deployment:
    """Return the deployment ended after its rollback, with the reason."""
    why = deployment.reason.removesuffix(STILL_WAITING).removeprefix(f"{ROLLING_BACK}: ").removeprefix(f"{GIVING_UP}: ")
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
