"""The phases of a step: gate, capacity, shift, observation. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from streamb.hashing import BASIS_POINTS
from streamb.metrics.criteria import Finding, Verdict, overall
from streamb.rollouts.deployment import OUTPUTS, Deployment, DeploymentState, Phase
from streamb.rollouts.evidence import Action, Evidence, Limits, Scale, StartApp
from streamb.rollouts.moves import (
    app_elsewhere,
    complete,
    give_back,
    has_bake,
    pause,
    pause_before,
    to_phase,
    to_state,
    to_step,
    wait_for,
)
from streamb.rollouts.runtime import AppPhase, AppStatus, Fault
from streamb.rollouts.strategies import Strategy

_S = DeploymentState
Decision = tuple[Deployment, tuple[Action, ...]]
_NOTHING: Final[tuple[Action, ...]] = ()
COPIES_S: Final = 30.0
"""The longest time that a preview which need not pass waits for copies that come slowly, as of a slow model."""


def replicas_for(share: int, replicas: int) -> int:
    """Return how many replicas a share (in ten-thousandths) of the traffic needs if all of it needs `replicas`.

    >>> replicas_for(1, 4), replicas_for(2500, 4), replicas_for(2501, 4), replicas_for(10_000, 4)
    (1, 1, 2, 4)
    """
    return max(1, -(-share * replicas // BASIS_POINTS))


def ask_about_outputs(deployment: Deployment, evidence: Evidence, now: float) -> Deployment | None:
    """Return the deployment at the gate "outputs", or past it; None if nothing speaks against the version's answers."""
    if deployment.waiting_for == OUTPUTS and deployment.state is _S.AWAITING_APPROVAL:
        if not deployment.outputs_accepted:
            return waiting(deployment, now)
        reason = "its other answers were approved"
        return to_state(deployment, _S.PROGRESSING, now, waiting_for="", phase_since=now, reason=reason)
    wrong = [one.detail for one in evidence.findings if one.asks and one.verdict is Verdict.FAIL]
    if not wrong or not deployment.shown or deployment.outputs_accepted or deployment.state is not _S.PROGRESSING:
        return None
    reason = (
        f"it answers otherwise than version {deployment.previous_version}: {'; '.join(wrong)}; approve if it should"
    )
    return wait_for(deployment, OUTPUTS, now, reason)


def waiting(deployment: Deployment, now: float) -> Deployment:
    """Return a deployment that waits at a closed gate; it is aborted if nobody approves in time."""
    if now - deployment.phase_since <= deployment.approval_timeout_s:
        return deployment
    reason = f"nobody approved ({deployment.waiting_for}) within {deployment.approval_timeout_s:g} s"
    return give_back(deployment, _S.ABORTED, now, reason)


def _at_gate(deployment: Deployment, evidence: Evidence, now: float, _limits: Limits) -> Decision:
    if not deployment.current.gate or deployment.approved(deployment.gate):
        reason = "starting the version" if not deployment.shown else f"capacity for {deployment.current.weight:g} %"
        started = to_phase(deployment, Phase.CAPACITY, now, reason, waiting_for="")
        return started, (StartApp(deployment.app, deployment.target_version),)
    if deployment.state is _S.AWAITING_APPROVAL:
        return waiting(deployment, now), _NOTHING
    what = "anything starts" if deployment.step == 0 else f"{deployment.current.weight:g} % of the traffic"
    unknown = _unknown_before(deployment, evidence)
    reason = f"somebody must approve before {what}" + (f"; not known so far: {unknown}" if unknown else "")
    return wait_for(deployment, deployment.gate, now, reason), _NOTHING


def _capacity(deployment: Deployment, evidence: Evidence, now: float, limits: Limits) -> Decision:
    app, version = evidence.app, deployment.target_version
    stable = max(deployment.stable_replicas, evidence.stable.replicas if evidence.stable else 0)
    needed = replicas_for(deployment.current.share, stable)
    if app is not None and app.phase is AppPhase.RUNNING and app.replicas >= needed:
        return _shift(replace(deployment, stable_replicas=stable), now), _NOTHING
    late = evidence.waited(deployment.phase_since, now) > limits.start_s
    if app is not None and app.phase is AppPhase.FAILED:
        if app.fault is Fault.INFRASTRUCTURE and not late:
            return _elsewhere(deployment, app, now)
        return _cannot(deployment, now, f"version {version} did not start: {cause(app, deployment.restarts)}")
    if late:
        wanted = f"{needed} replicas of version {version} did" if needed > 1 else f"version {version} did"
        return _cannot(deployment, now, f"{wanted} not start in {limits.start_s:g} s: {_seen(app)}")
    if app is None:
        return deployment, (StartApp(deployment.app, version),)
    short = app.phase is AppPhase.RUNNING and app.replicas < needed
    return deployment, (Scale(deployment.app, needed),) if short else _NOTHING


def _elsewhere(deployment: Deployment, app: AppStatus, now: float) -> Decision:
    """Start the version under another name, after growing pauses: what failed was not the version's fault."""
    if now < deployment.retry_at:
        return deployment, _NOTHING
    name = app_elsewhere(deployment, deployment.target_version, now)
    reason = f"not the version's fault: {app.reason or 'no reason given'}; starting it elsewhere"
    retry_at = now + pause_before(deployment.restarts)
    again = replace(deployment, app=name, restarts=deployment.restarts + 1, retry_at=retry_at, updated_at=now)
    return replace(again, reason=reason), (StartApp(name, deployment.target_version),)


def cause(app: AppStatus, restarts: int = 0) -> str:
    """Return why an app failed, and that the infrastructure is to blame if it is."""
    why = app.reason or "no reason given"
    if app.fault is not Fault.INFRASTRUCTURE:
        return why
    return f"not its fault but the infrastructure's ({why})" + (
        f", also after {restarts} other starts" * bool(restarts)
    )


def _seen(app: AppStatus | None) -> str:
    if app is None:
        return "it was never seen"
    why = cause(app) if app.reason else f"{app.replicas} replicas"
    return f"it is {app.phase} ({why})"


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
    step = deployment.current
    known = "a gateway has not answered yet" if late and not evidence.acknowledged else "every gateway knows"
    if deployment.at_last_step and has_bake(deployment):
        return _next(deployment, now, f"{known}; it is watched for {deployment.hold_s:g} s more")
    least = f" for {step.min_time_s:g} s at least" if step.min_time_s else ""
    reason = f"watching it at {deployment.weight:g} %{least}; {known}"
    watched = to_phase(deployment, Phase.OBSERVE, now, reason)
    if step.analyse or step.min_time_s > 0:
        return watched, _NOTHING
    return _next(watched, now, known)


def _observing(deployment: Deployment, evidence: Evidence, now: float, _limits: Limits) -> Decision:
    step, shrink = deployment.current, _shrink(deployment, evidence)
    verdict = _verdict(deployment, evidence)
    if deployment.state is _S.AWAITING_APPROVAL:
        if deployment.approved(deployment.waiting_for):
            return _next(deployment, now, "approved without enough evidence")
        if verdict is Verdict.PASS:
            return _next(deployment, now, f"the evidence came, it passed at {deployment.weight:g} %")
        return waiting(deployment, now), shrink
    if evidence.observed_s < step.min_time_s:
        return deployment, shrink
    if not step.analyse and not evidence.refused:
        if step.preview and _copies_come(deployment, evidence):
            return deployment, shrink
        return _next(deployment, now, "nothing speaks against it")
    if verdict is Verdict.PASS:
        return _next(deployment, now, f"passed at {deployment.weight:g} %")
    if step.preview and _gate_follows(deployment):
        return _next(deployment, now, "an approval decides")
    if verdict is Verdict.INCONCLUSIVE and evidence.observed_s > step.max_time_s:
        reason = f"not enough evidence: {unknown(deployment, evidence)}; send requests, or approve to go on"
        return wait_for(deployment, deployment.evidence_gate, now, reason), shrink
    return deployment, shrink


def _copies_come(deployment: Deployment, evidence: Evidence) -> bool:
    """Return whether a preview that need not pass waits for more copies: later steps, with few copies, need as many."""
    return 0 < evidence.pairs < deployment.current.min_samples and evidence.observed_s < COPIES_S


def _verdict(deployment: Deployment, evidence: Evidence) -> Verdict:
    """Return whether the version may go on from the current step.

    In a preview it has no requests of its own; there the copies of stable's requests count. If stable answers nothing,
    there are none, and nothing is lost: it must not hold up the version that replaces it.
    """
    if evidence.refused:  # it gets no more traffic, even if its earlier answers were good
        return Verdict.INCONCLUSIVE
    if not deployment.current.preview:
        return overall(_counting(deployment, evidence))
    if evidence.stable_down:
        return Verdict.PASS
    if evidence.pairs < deployment.current.min_samples:
        return Verdict.INCONCLUSIVE
    compared = [one for one in _counting(deployment, evidence) if one.asks]
    return overall(compared) if compared else Verdict.PASS


def _counting(deployment: Deployment, evidence: Evidence) -> list[Finding]:
    """Return the findings that count: what a person has accepted no longer does."""
    return [one for one in evidence.findings if not (one.asks and deployment.outputs_accepted)]


def unknown(deployment: Deployment, evidence: Evidence) -> str:
    """Return what is not known at the current step, as clauses."""
    if evidence.refused:
        return "gateways do not call it now, because it kept failing (circuit breaker)"
    preview, said = deployment.current.preview, []
    if preview and evidence.pairs < deployment.current.min_samples:
        idle = ": the model had no traffic" if not evidence.requests else ""
        said.append(f"{evidence.pairs:,} of the {deployment.current.min_samples:,} needed pairs of answers{idle}")
    found = [one for one in _counting(deployment, evidence) if not preview or (one.asks and not said)]
    said += [one.detail for one in found if one.verdict is Verdict.INCONCLUSIVE]
    return "; ".join(dict.fromkeys(said)) or "nothing was counted"


def _unknown_before(deployment: Deployment, evidence: Evidence) -> str:
    """Return what was not known at the step before, if it should have passed and an approval decides instead."""
    before = replace(deployment, step=max(0, deployment.step - 1))
    step = before.current
    missing = deployment.step > 0 and step.analyse and _verdict(before, evidence) is Verdict.INCONCLUSIVE
    return unknown(before, evidence) if missing else ""


def _gate_follows(deployment: Deployment) -> bool:
    """Return whether somebody must approve the next step: that approval then stands for what is unknown."""
    after = deployment.step + 1
    return after < len(deployment.steps) and deployment.steps[after].gate


def _next(deployment: Deployment, now: float, reason: str) -> Decision:
    if deployment.at_last_step:
        return complete(deployment, now, f"all traffic goes to the version: {reason}")
    return to_step(deployment, deployment.step + 1, now, reason), _NOTHING


def _shrink(deployment: Deployment, evidence: Evidence) -> tuple[Action, ...]:
    """Scale down the old version as a rolling deployment proceeds; other strategies keep its replicas to return to.

    Half of them stay for a return: until the rest has started again, they must answer what a bad version cannot.
    """
    if deployment.strategy is not Strategy.ROLLING or evidence.stable is None or not deployment.stable_app:
        return _NOTHING
    least = BASIS_POINTS // 2 if has_bake(deployment) else 0
    left = replicas_for(max(BASIS_POINTS - deployment.share, least), deployment.stable_replicas)
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
