"""The phases of a step: gate, capacity, shift, observation. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from streamb.hashing import BASIS_POINTS
from streamb.metrics.criteria import Verdict, overall
from streamb.rollouts.deployment import Deployment, DeploymentState, Phase
from streamb.rollouts.evidence import Action, Evidence, Limits, Scale, StartApp
from streamb.rollouts.moves import complete, give_back, pause, to_phase, to_step, wait_for
from streamb.rollouts.runtime import AppPhase
from streamb.rollouts.strategies import Strategy

_S = DeploymentState
Decision = tuple[Deployment, tuple[Action, ...]]
_NOTHING: Final[tuple[Action, ...]] = ()


def replicas_for(share: int, replicas: int) -> int:
    """Return how many replicas a share (in ten-thousandths) of the traffic needs if all of it needs `replicas`.

    >>> replicas_for(1, 4), replicas_for(2500, 4), replicas_for(2501, 4), replicas_for(10_000, 4)
    (1, 1, 2, 4)
    """
    return max(1, -(-share * replicas // BASIS_POINTS))


def _at_gate(deployment: Deployment, _evidence: Evidence, now: float, _limits: Limits) -> Decision:
    if not deployment.current.gate or deployment.approved(deployment.gate):
        reason = "starting the version" if not deployment.shown else f"capacity for {deployment.current.weight:g} %"
        started = to_phase(deployment, Phase.CAPACITY, now, reason, waiting_for="")
        return started, (StartApp(deployment.app, deployment.target_version),)
    if deployment.state is _S.AWAITING_APPROVAL:
        return _waiting(deployment, now), _NOTHING
    what = "anything starts" if deployment.step == 0 else f"{deployment.current.weight:g} % of the traffic"
    return wait_for(deployment, deployment.gate, now, f"somebody must approve before {what}"), _NOTHING


def _waiting(deployment: Deployment, now: float) -> Deployment:
    """Return a deployment that waits at a closed gate; it is aborted if nobody approves in time."""
    if now - deployment.phase_since <= deployment.approval_timeout_s:
        return deployment
    reason = f"nobody approved ({deployment.waiting_for}) within {deployment.approval_timeout_s:g} s"
    return give_back(deployment, _S.ABORTED, now, reason)


def _capacity(deployment: Deployment, evidence: Evidence, now: float, limits: Limits) -> Decision:
    app, version = evidence.app, deployment.target_version
    stable = max(deployment.stable_replicas, evidence.stable.replicas if evidence.stable else 0)
    needed = replicas_for(deployment.current.share, stable)
    if app is not None and app.phase is AppPhase.RUNNING and app.replicas >= needed:
        return _shift(replace(deployment, stable_replicas=stable), now), _NOTHING
    if app is not None and app.phase is AppPhase.FAILED:
        return _cannot(deployment, now, f"version {version} did not start: {app.reason or 'no reason given'}")
    if now - deployment.phase_since > limits.start_s:
        seen = "it was never seen" if app is None else f"it is {app.phase} ({app.reason or f'{app.replicas} replicas'})"
        wanted = f"{needed} replicas of version {version} did" if needed > 1 else f"version {version} did"
        return _cannot(deployment, now, f"{wanted} not start in {limits.start_s:g} s: {seen}")
    if app is None:
        return deployment, (StartApp(deployment.app, version),)
    short = app.phase is AppPhase.RUNNING and app.replicas < needed
    return deployment, (Scale(deployment.app, needed),) if short else _NOTHING


def _cannot(deployment: Deployment, now: float, reason: str) -> Decision:
    """Pause, roll back or fail a deployment that lacks the capacity for its step."""
    if deployment.share and not deployment.rollback_on_failure:
        return pause(deployment, now, reason), _NOTHING
    return give_back(deployment, _S.ROLLED_BACK if deployment.share else _S.FAILED, now, reason), _NOTHING


def _shift(deployment: Deployment, now: float) -> Deployment:
    step = deployment.current
    what = f"{step.weight:g} % of the traffic to the version" if step.share else "the version runs, without traffic"
    if step.share == BASIS_POINTS:
        what = "all traffic to the version"
    reason = f"{what}; waiting for the gateways"
    return to_phase(deployment, Phase.SHIFT, now, reason, share=step.share, observed_since=now)


def _shifting(deployment: Deployment, evidence: Evidence, now: float, limits: Limits) -> Decision:
    # Do not wait longer for silent gateways: one that is silent for so long is replaced, or pulls the table later.
    late = now - deployment.phase_since > limits.acknowledge_s
    if not evidence.acknowledged and not late:
        return deployment, _NOTHING
    known = "a gateway has not answered yet" if late and not evidence.acknowledged else "every gateway knows"
    least = f" for {deployment.current.min_time_s:g} s at least" if deployment.current.min_time_s else ""
    reason = f"watching it at {deployment.weight:g} %{least}; {known}"
    watched = to_phase(deployment, Phase.OBSERVE, now, reason, observed_since=now)
    if deployment.current.analyse or deployment.current.min_time_s > 0:
        return watched, _NOTHING
    return _next(watched, now, known)


def _observing(deployment: Deployment, evidence: Evidence, now: float, _limits: Limits) -> Decision:
    step, shrink = deployment.current, _shrink(deployment, evidence)
    if deployment.state is _S.AWAITING_APPROVAL:
        if deployment.approved(deployment.waiting_for):
            return _next(deployment, now, "approved without enough evidence")
        return _waiting(deployment, now), shrink
    if evidence.observed_s < step.min_time_s:
        return deployment, shrink
    if not step.analyse and not evidence.refused:
        return _next(deployment, now, "nothing speaks against it")
    # A version that gateways refuse to call gets no more traffic, even if its earlier answers were good.
    verdict = Verdict.INCONCLUSIVE if evidence.refused else overall(evidence.findings)
    if verdict is Verdict.PASS:
        return _next(deployment, now, f"passed at {deployment.weight:g} %")
    if verdict is Verdict.INCONCLUSIVE and evidence.observed_s > step.max_time_s:
        reason = f"not enough evidence: {_unclear(evidence)}; approve to go on"
        return wait_for(deployment, deployment.evidence_gate, now, reason), shrink
    return deployment, shrink


def _unclear(evidence: Evidence) -> str:
    """Return why the evidence is inconclusive."""
    if evidence.refused:
        return "gateways do not call it now, because it kept failing (circuit breaker)"
    why = "; ".join(one.detail for one in evidence.findings if one.verdict is Verdict.INCONCLUSIVE)
    return why or "nothing was counted"


def _next(deployment: Deployment, now: float, reason: str) -> Decision:
    if deployment.at_last_step:
        return complete(deployment, now, f"all traffic goes to the version: {reason}")
    return to_step(deployment, deployment.step + 1, now, reason), _NOTHING


def _shrink(deployment: Deployment, evidence: Evidence) -> tuple[Action, ...]:
    """Scale down the old version as a rolling deployment proceeds; other strategies keep its replicas to return to."""
    if deployment.strategy is not Strategy.ROLLING or evidence.stable is None or not deployment.stable_app:
        return _NOTHING
    left = replicas_for(BASIS_POINTS - deployment.share, deployment.stable_replicas)
    return (Scale(deployment.stable_app, left),) if evidence.stable.replicas > left else _NOTHING


def _done(deployment: Deployment, _evidence: Evidence, _now: float, _limits: Limits) -> Decision:
    return deployment, _NOTHING


ADVANCE: Final[Mapping[Phase, Callable[[Deployment, Evidence, float, Limits], Decision]]] = {
    Phase.GATE: _at_gate,
    Phase.CAPACITY: _capacity,
    Phase.SHIFT: _shifting,
    Phase.OBSERVE: _observing,
    Phase.DONE: _done,
}
"""The function for each phase of a step."""
