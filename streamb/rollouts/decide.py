"""Decides what a deployment does next: a pure function from state, evidence and time to a new state and actions.

Each step goes through gate, capacity, shift and observation (`phases`). When a version fails or is rolled back, the
earlier version is started if necessary, all traffic goes to it, and every gateway gets the new table. In every phase,
a version that is judged to fail is taken out of traffic first.
"""

from __future__ import annotations

from streamb.metrics.criteria import Verdict
from streamb.rollouts import phases
from streamb.rollouts.deployment import Deployment, DeploymentState, Phase
from streamb.rollouts.evidence import Action, Evidence, Limits, RouteTo, Scale, StartApp
from streamb.rollouts.moves import complete, give_back, gone_back, pause, to_phase
from streamb.rollouts.runtime import AppPhase

__all__ = ["Action", "Evidence", "Limits", "RouteTo", "Scale", "StartApp", "decide"]

Decision = tuple[Deployment, tuple[Action, ...]]


def decide(deployment: Deployment, evidence: Evidence, now: float, limits: Limits) -> Decision:
    """Return the next state of a deployment and the actions it needs; the same object if nothing changes.

    Args:
        deployment: the present state; one that has ended never changes.
        evidence: what is known of its apps, its gateways and its traffic.
        now: seconds since the epoch.
        limits: how long a phase may take.
    """
    if not deployment.active:
        return deployment, ()
    if deployment.returning:
        act = _restoring if deployment.phase is Phase.RESTORE else _reverting
        return act(deployment, evidence, now, limits)
    failed = _failed(deployment, evidence, now)
    if failed is not None:
        return failed, ()
    if deployment.state is DeploymentState.PAUSED:
        return deployment, _wanted(deployment, evidence)
    after, actions = phases.ADVANCE[deployment.phase](deployment, evidence, now, limits)
    return after, (*_wanted(deployment, evidence), *actions)


def _wanted(deployment: Deployment, evidence: Evidence) -> tuple[Action, ...]:
    """Start the target's app again if gateways know it but it does not exist (the whole cluster may have been lost)."""
    if deployment.shown and evidence.app is None:
        return (StartApp(deployment.app, deployment.target_version),)
    return ()


def _failed(deployment: Deployment, evidence: Evidence, now: float) -> Deployment | None:
    """Return the deployment rolling back, or paused, if its version has failed; None if it has not."""
    if not deployment.shown:
        return None
    app, version = evidence.app, deployment.target_version
    broken = app is not None and app.phase is AppPhase.FAILED
    judged = [f"{one.criterion}: {one.detail}" for one in evidence.findings if one.verdict is Verdict.FAIL]
    if app is not None and broken:
        judged = [f"its app failed: {app.reason or 'no reason given'}"]
    if not judged:
        return None
    reason = f"version {version} failed at {deployment.weight:g} %: {'; '.join(judged)}"
    if deployment.rollback_on_failure or (broken and not deployment.share):
        ending = DeploymentState.FAILED if broken and not deployment.share else DeploymentState.ROLLED_BACK
        return give_back(deployment, ending, now, reason)
    # Without rollback a person must decide, in every step that is judged. In a step that is not judged, a person (who
    # promoted it) has decided already; but a version that does not run is paused there as well.
    watched = deployment.current.analyse and deployment.phase in {Phase.SHIFT, Phase.OBSERVE}
    if deployment.state is DeploymentState.PROGRESSING and (watched or broken):
        return pause(deployment, now, f"{reason}; resume, promote, abort or roll back")
    return None


def _restoring(deployment: Deployment, evidence: Evidence, now: float, limits: Limits) -> Decision:
    """Roll back after completion: the earlier version first gets as many replicas as the present one, then traffic."""
    app, needed = evidence.back, max(1, evidence.app.replicas if evidence.app else 1)
    if app is not None and app.phase is AppPhase.RUNNING and app.replicas >= needed:
        back = to_phase(deployment, Phase.REVERT, now, deployment.reason, share=0, stable_app=deployment.back_app)
        return back, (RouteTo(deployment.back_to, deployment.back_app),)
    failed = app is not None and app.phase is AppPhase.FAILED
    if failed or now - deployment.phase_since > limits.start_s:
        why = f"{app.phase}, {app.reason or 'no reason given'}" if app else "never seen"
        reason = f"rolling back to {deployment.back_to} did not work, it did not start ({why}); this version stays"
        return complete(deployment, now, reason)[0], ()
    if app is None:
        return deployment, (StartApp(deployment.back_app, deployment.back_to),)
    short = app.phase is AppPhase.RUNNING
    return deployment, (Scale(deployment.back_app, needed),) if short else ()


def _reverting(deployment: Deployment, evidence: Evidence, now: float, limits: Limits) -> Decision:
    """Finish a rollback: wait until every gateway has the table, and restore the stable version's replicas."""
    stable, whole = evidence.stable, deployment.stable_replicas
    short = stable is not None and stable.phase is AppPhase.RUNNING and stable.replicas < whole
    grow: tuple[Action, ...] = (Scale(deployment.stable_app, whole),) if short and deployment.stable_app else ()
    patient = now - deployment.phase_since <= limits.start_s
    if not evidence.acknowledged or (grow and patient):
        return deployment, grow
    return gone_back(deployment, now), ()
