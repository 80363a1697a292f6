"""The orders that people may give to a deployment: pure functions that return the changed deployment.

All are idempotent: a deployment that is already in the ordered state is returned as the same object. Each function
takes the present `deployment`, who gives the order and why (`by`, `reason`, for its history), and the time `now` in
seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from streamb.errors import Conflict, InvalidTransition, SelfApproval
from streamb.rollouts.deployment import DEPLOYMENT_LIFECYCLE, OUTPUTS, Approval, Deployment, DeploymentState, Phase
from streamb.rollouts.moves import ROLLING_BACK, give_back, restore, to_state, to_step
from streamb.rollouts.moves import pause as paused
from streamb.rollouts.runtime import RunOptions
from streamb.security.principals import ANONYMOUS, JOB_NAMES

_S = DeploymentState
SELF_APPROVED: Final = "self-approved"
"""What the history says of an approval by the deployment's author."""


def approve(deployment: Deployment, by: str, reason: str, now: float, *, four_eyes: bool = True) -> Deployment:
    """Approve the gate at which the deployment waits.

    Args:
        deployment, by, reason, now: as in all orders.
        four_eyes: whether the author of the deployment is refused; otherwise the approval says "self-approved".

    Raises:
        SelfApproval: `by` is the author of the deployment, or may be: nobody knows who a caller without a key is, and a
            job does what whoever submitted it wants.
        InvalidTransition: the deployment does not wait for an approval.
    """
    unknown = ANONYMOUS in (by, deployment.created_by) or by.startswith(JOB_NAMES)
    if four_eyes and (unknown or by == deployment.created_by):
        who = "nobody can tell who is behind a job, or behind a caller without a key" if unknown else f"{by} created it"
        raise SelfApproval(f"somebody other than its author must approve deployment {deployment.id}: {who}")
    if deployment.state is not _S.AWAITING_APPROVAL:
        if deployment.approvals and deployment.state in {_S.PROGRESSING, _S.COMPLETED, _S.PAUSED}:
            return deployment
        raise _refused(deployment, "approved", "it does not wait for an approval")
    if deployment.approved(deployment.waiting_for):
        return deployment
    if by == deployment.created_by:
        reason = f"{SELF_APPROVED}: {reason}" if reason else SELF_APPROVED
    approval = Approval(by, now, deployment.waiting_for, reason)
    return replace(deployment, approvals=(*deployment.approvals, approval), updated_at=now)


def pause(deployment: Deployment, by: str, reason: str, now: float) -> Deployment:
    """Keep the present share. A version that fails is still taken out of traffic."""
    if deployment.state is _S.PAUSED:
        return deployment
    _refuse_on_the_way_back(deployment, "paused")
    return paused(deployment, now, _said("paused", by, reason))


def resume(deployment: Deployment, by: str, reason: str, now: float) -> Deployment:
    """Continue after a pause; the observation of the step starts again."""
    if deployment.state in {_S.PROGRESSING, _S.PENDING}:
        return deployment
    if deployment.state is not _S.PAUSED:
        raise _refused(deployment, "resumed", "it is not paused")
    said = _said("resumed", by, reason)
    observed = now if deployment.observed_since else 0.0
    return to_state(deployment, _S.PROGRESSING, now, reason=said, phase_since=now, observed_since=observed)


def promote(deployment: Deployment, by: str, reason: str, now: float, *, four_eyes: bool = False) -> Deployment:
    """Skip to the last step, and what is unknown. If a skipped gate was not approved, that step gets a gate.

    Args:
        deployment, by, reason, now: as in all orders.
        four_eyes: whether other answers than stable's still need an approval; otherwise promoting accepts them.

    Raises:
        InvalidTransition: it waits for somebody to approve its other answers.
    """
    if deployment.state is _S.COMPLETED:
        return deployment
    _refuse_on_the_way_back(deployment, "promoted")
    if four_eyes and deployment.waiting_for == OUTPUTS:
        raise _refused(deployment, "promoted", "somebody must approve its other answers")
    said = _said("promoted", by, reason)
    if deployment.at_last_step:
        skipped = replace(deployment, promoted=not four_eyes)
        if deployment.waiting_for == OUTPUTS:
            return to_state(skipped, _S.PROGRESSING, now, reason=said, waiting_for="", phase_since=now)
        return resume(skipped, by, reason, now) if deployment.state is _S.PAUSED else deployment
    closed = any(
        step.gate and not deployment.approved(deployment.gate_of(index))
        for index, step in enumerate(deployment.steps)
        if index > deployment.step or (index == deployment.step and deployment.phase is Phase.GATE)
    )
    last = replace(deployment.steps[-1], gate=closed)
    promoted = to_step(deployment, len(deployment.steps) - 1, now, said)
    return replace(promoted, steps=(*deployment.steps[:-1], last), promoted=not four_eyes)


def abort(deployment: Deployment, by: str, reason: str, now: float) -> Deployment:
    """Abort: send all traffic to the previous version."""
    if deployment.state is _S.ABORTED or (deployment.active and deployment.phase is Phase.REVERT):
        return deployment
    _refuse_on_the_way_back(deployment, "aborted")
    return give_back(deployment, _S.ABORTED, now, _said("asked", by, reason))


def roll_back(deployment: Deployment, by: str, reason: str, now: float, *, to_version: str | None = None) -> Deployment:
    """Send all traffic to the previous version, while the deployment is under way.

    Raises:
        Conflict: `to_version` is not the version that it returns to.
    """
    goal = deployment.back_to or deployment.previous_version
    if to_version not in (None, goal):
        raise Conflict(
            f"deployment {deployment.id} returns to {goal or 'no version'}, not to {to_version}: "
            "only a completed deployment can be rolled back to any other version"
        )
    if deployment.state is _S.ROLLED_BACK or (deployment.active and deployment.returning):
        return deployment
    _refuse_on_the_way_back(deployment, "rolled back")
    return give_back(deployment, _S.ROLLED_BACK, now, _said("asked", by, reason))


def roll_back_to(
    deployment: Deployment, version: str, app: str, run: RunOptions, by: str, reason: str, now: float
) -> Deployment:
    """Send all traffic to an earlier version, after completion; `app` runs it, as `run` says."""
    said = _said(f"{ROLLING_BACK} to {version}, asked", by, reason)
    return replace(restore(deployment, version, app, now, said), back_run=run)


def _refuse_on_the_way_back(deployment: Deployment, verb: str) -> None:
    if not deployment.active:
        raise _refused(deployment, verb, "it has ended")
    if deployment.returning:
        raise Conflict(f"deployment {deployment.id} cannot be {verb}: it is being rolled back ({deployment.reason})")


def _refused(deployment: Deployment, verb: str, why: str) -> InvalidTransition:
    following = DEPLOYMENT_LIFECYCLE.allowed.get(deployment.state, frozenset())
    return InvalidTransition(
        f"deployment {deployment.id} cannot be {verb}: it is {deployment.state}, and {why}",
        current=str(deployment.state),
        allowed=sorted(map(str, following)),
    )


def _said(what: str, by: str, reason: str) -> str:
    return f"{what} by {by or 'somebody'}" + (f": {reason}" if reason else "")
