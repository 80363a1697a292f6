"""Decides what a deployment does next: a pure function from state, evidence and time to a new state and actions.

Each step goes through gate, capacity, shift and observation (`phases`). When a version fails or is rolled back, the
earlier version is started if necessary, all traffic goes to it, and every gateway gets the new table. In every phase,
a version that is judged to fail is taken out of traffic first; also after completion, while it bakes. An app that the
infrastructure took away is no failure of the version: it loses its traffic and is started again.
"""

from __future__ import annotations

from dataclasses import replace

from streamb.metrics.criteria import Verdict
from streamb.rollouts import phases
from streamb.rollouts.deployment import Deployment, DeploymentState, Phase
from streamb.rollouts.evidence import Action, Evidence, Limits, RouteTo, Scale, StartApp
from streamb.rollouts.moves import (
    ROLLING_BACK,
    STILL_WAITING,
    app_elsewhere,
    baked,
    complete,
    give_back,
    gone_back,
    pause,
    pause_before,
    restore,
    start_again,
    to_phase,
)
from streamb.rollouts.runtime import AppPhase, Fault

__all__ = ["Action", "Evidence", "Limits", "RouteTo", "Scale", "StartApp", "decide"]

Decision = tuple[Deployment, tuple[Action, ...]]


def decide(deployment: Deployment, evidence: Evidence, now: float, limits: Limits) -> Decision:
    """Return the next state of a deployment and the actions it needs; the same object if nothing changes.

    Args:
        deployment: the present state; one that has ended, and is no longer judged, never changes.
        evidence: what is known of its apps, its gateways and its traffic.
        now: seconds since the epoch.
        limits: how long a phase may take.
    """
    if deployment.baking:
        return _baking(deployment, evidence, now), ()
    if not deployment.active:
        return deployment, ()
    if deployment.returning:
        act = _restoring if deployment.phase is Phase.RESTORE else _reverting
        return act(deployment, evidence, now, limits)
    changed = _lost(deployment, evidence, now) or _failed(deployment, evidence, now)
    if changed is not None:
        return changed, ()
    changed = phases.ask_about_outputs(deployment, evidence, now)
    if changed is not None or deployment.state is DeploymentState.PAUSED:
        return changed or deployment, _wanted(deployment, evidence)
    after, actions = phases.ADVANCE[deployment.phase](deployment, evidence, now, limits)
    return after, (*_wanted(deployment, evidence), *actions)


def _wanted(deployment: Deployment, evidence: Evidence) -> tuple[Action, ...]:
    """Start the target's app again if gateways know it but it does not exist (the whole cluster may have been lost)."""
    if deployment.shown and evidence.app is None:
        return (StartApp(deployment.app, deployment.target_version),)
    return ()


def _lost(deployment: Deployment, evidence: Evidence, now: float) -> Deployment | None:
    """Return the deployment without traffic if the infrastructure took its app away; None if it did not."""
    app = evidence.app
    if app is None or app.fault is not Fault.INFRASTRUCTURE or not deployment.shown:
        return None
    if app.phase is not AppPhase.FAILED and not (app.phase is AppPhase.STARTING and app.replicas == 0):
        return None
    reason = f"its app was lost at {deployment.weight:g} %, which is not the version's fault: "
    return start_again(deployment, now, f"{reason}{app.reason or 'no reason given'}")


def _faults(evidence: Evidence) -> tuple[str, bool]:
    """Return what the version did wrong, as clauses, and whether its app does not run; "" if it did nothing wrong."""
    app = evidence.app
    if app is not None and app.phase is AppPhase.FAILED:
        return f"its app failed: {app.reason or 'no reason given'}", True
    wrong = [one for one in evidence.findings if one.verdict is Verdict.FAIL and not one.asks]
    return "; ".join(f"{one.criterion}: {one.detail}" for one in wrong), False


def _failed(deployment: Deployment, evidence: Evidence, now: float) -> Deployment | None:
    """Return the deployment rolling back, or paused, if its version has failed; None if it has not."""
    wrong, broken = _faults(evidence)
    if not deployment.shown or not wrong:
        return None
    reason = f"version {deployment.target_version} failed at {deployment.weight:g} %: {wrong}"
    if deployment.stable_app and evidence.stable_down:
        reason += f"; version {deployment.previous_version}, to which the traffic goes back, answers nothing either"
    if deployment.rollback_on_failure or (broken and not deployment.share):
        ending = DeploymentState.FAILED if broken and not deployment.share else DeploymentState.ROLLED_BACK
        return give_back(deployment, ending, now, reason)
    # Without rollback a person must decide, in every step that is judged. In a step that is not judged, a person (who
    # promoted it) has decided already; but a version that does not run is paused there as well.
    judged = deployment.current.analyse or deployment.current.preview
    watched = judged and deployment.phase in {Phase.SHIFT, Phase.OBSERVE}
    if deployment.state is DeploymentState.PROGRESSING and (watched or broken):
        return pause(deployment, now, f"{reason}; resume, promote, abort or roll back")
    return None


def _baking(deployment: Deployment, evidence: Evidence, now: float) -> Deployment:
    """Judge a completed version on: if it fails, go back to the version before, which is kept warm."""
    if evidence.superseded:
        return baked(deployment, now, f"all traffic went to the version; it is judged no longer: {evidence.superseded}")
    version, before = deployment.target_version, deployment.previous_version
    wrong, broken = _faults(evidence)
    lost = broken and evidence.app is not None and evidence.app.fault is Fault.INFRASTRUCTURE
    if wrong and not lost and before is not None:
        reason = f"version {version} failed at 100 %: {wrong}"
        if deployment.rollback_on_failure:
            app = evidence.warm or app_elsewhere(deployment, before, now)
            return restore(deployment, before, app, now, f"{ROLLING_BACK} to {before}: {reason}")
        if not deployment.reason.startswith(f"version {version} failed"):
            return replace(deployment, updated_at=now, reason=f"{reason}; roll back, or deploy another version")
    if evidence.waited(deployment.phase_since, now) < deployment.hold_s:
        return deployment
    if wrong:
        return baked(deployment, now, deployment.reason)
    good = f"in {deployment.hold_s:g} s with all traffic nothing spoke against it"
    return baked(deployment, now, f"all traffic goes to the version: {good}")


def _restoring(deployment: Deployment, evidence: Evidence, now: float, limits: Limits) -> Decision:
    """Roll back after completion: the earlier version first gets as many replicas as the present one, then traffic.

    If the present version fails, half of them are enough for a beginning: the others follow under traffic.
    """
    app, needed = evidence.back, max(1, evidence.app.replicas if evidence.app else 1)
    wrong = any(one.verdict is Verdict.FAIL and not one.asks for one in deployment.findings)
    enough = -(-needed // 2) if wrong else needed
    if app is not None and app.phase is AppPhase.RUNNING and app.replicas >= enough:
        back = to_phase(deployment, Phase.REVERT, now, deployment.reason, share=0, stable_app=deployment.back_app)
        return back, (RouteTo(deployment.back_to, deployment.back_app),)
    late = evidence.waited(deployment.phase_since, now) > limits.start_s
    failed = app is not None and app.phase is AppPhase.FAILED
    if app is not None and failed and app.fault is Fault.INFRASTRUCTURE and not late:
        return _restoring_elsewhere(deployment, now)
    if failed or late:
        why = f"{app.phase}, {phases.cause(app)}" if app else "never seen"
        reason = f"rolling back to {deployment.back_to} did not work, it did not start ({why}); this version stays"
        return complete(deployment, now, reason, bake=False)[0], ()
    if app is None:
        return deployment, (StartApp(deployment.back_app, deployment.back_to),)
    short = app.phase is AppPhase.RUNNING
    return deployment, (Scale(deployment.back_app, needed),) if short else ()


def _restoring_elsewhere(deployment: Deployment, now: float) -> Decision:
    """Start the version to return to under another name, after growing pauses."""
    if now < deployment.retry_at:
        return deployment, ()
    name = app_elsewhere(deployment, deployment.back_to, now)
    retry_at = now + pause_before(deployment.restarts)
    again = replace(deployment, back_app=name, restarts=deployment.restarts + 1, retry_at=retry_at, updated_at=now)
    return again, (StartApp(name, deployment.back_to),)


def _reverting(deployment: Deployment, evidence: Evidence, now: float, limits: Limits) -> Decision:
    """Finish a rollback: wait until every gateway has the table, and restore the stable version's replicas."""
    stable, whole = evidence.stable, deployment.stable_replicas
    short = stable is not None and stable.phase is AppPhase.RUNNING and stable.replicas < whole
    grow: tuple[Action, ...] = (Scale(deployment.stable_app, whole),) if short and deployment.stable_app else ()
    patient = evidence.waited(deployment.phase_since, now) <= limits.start_s
    if not evidence.acknowledged:
        late = now - deployment.phase_since > limits.acknowledge_s
        if late and not deployment.reason.endswith(STILL_WAITING):
            return replace(deployment, reason=f"{deployment.reason}{STILL_WAITING}", updated_at=now), grow
        return deployment, grow
    if grow and patient:
        return deployment, grow
    return gone_back(deployment, now), ()
