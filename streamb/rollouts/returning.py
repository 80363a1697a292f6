"""The way back: the earlier version is brought up where it has to be, all traffic goes to it, every gateway knows."""

from __future__ import annotations

from streamb.rollouts.deployment import Deployment, Phase
from streamb.rollouts.evidence import Action, Evidence, Limits, RouteTo, Scale, StartApp
from streamb.rollouts.moves import complete, gone_back, to_phase
from streamb.rollouts.runtime import AppPhase

Decision = tuple[Deployment, tuple[Action, ...]]


def advance(deployment: Deployment, evidence: Evidence, now: float, limits: Limits) -> Decision:
    """The next state of a deployment on its way back."""
    act = _restoring if deployment.phase is Phase.RESTORE else _reverting
    return act(deployment, evidence, now, limits)


def _restoring(deployment: Deployment, evidence: Evidence, now: float, limits: Limits) -> Decision:
    """After completion: the earlier version first gets what the present one has, then the traffic."""
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
    """The stable version has all traffic in the newest table, and gets back the replicas that it gave up."""
    stable, whole = evidence.stable, deployment.stable_replicas
    short = stable is not None and stable.phase is AppPhase.RUNNING and stable.replicas < whole
    grow: tuple[Action, ...] = (Scale(deployment.stable_app, whole),) if short and deployment.stable_app else ()
    patient = now - deployment.phase_since <= limits.start_s
    if not evidence.acknowledged or (grow and patient):
        return deployment, grow
    return gone_back(deployment, now), ()
