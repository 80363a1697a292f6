"""The data of a deployment: one model version that is brought into traffic, or out of it. The rules are in `decide`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from streamb.lifecycle import Lifecycle
from streamb.metrics.criteria import Finding
from streamb.rollouts.evidence import Limits
from streamb.rollouts.options import START, HealthCriteria
from streamb.rollouts.runtime import DEFAULT_RUN, RunOptions
from streamb.rollouts.strategies import AT_ONCE, Step, Strategy
from streamb.store.plain import from_plain


class DeploymentState(StrEnum):
    """The public state of a deployment."""

    PENDING = "pending"
    AWAITING_APPROVAL = "awaiting_approval"
    PROGRESSING = "progressing"
    PAUSED = "paused"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    FAILED = "failed"


_S = DeploymentState
_ENDS: Final = frozenset({_S.ROLLED_BACK, _S.ABORTED, _S.FAILED})
DEPLOYMENT_LIFECYCLE: Lifecycle[DeploymentState] = Lifecycle(
    "deployment",
    {
        _S.PENDING: frozenset({_S.PROGRESSING, _S.AWAITING_APPROVAL, _S.PAUSED}) | _ENDS,
        _S.AWAITING_APPROVAL: frozenset({_S.PROGRESSING}) | _ENDS,
        _S.PROGRESSING: frozenset({_S.AWAITING_APPROVAL, _S.PAUSED, _S.COMPLETED}) | _ENDS,
        _S.PAUSED: frozenset({_S.PROGRESSING}) | _ENDS,
        # A completed deployment can still be rolled back, which takes a moment.
        _S.COMPLETED: frozenset({_S.PROGRESSING}),
    },
)

_LATE_S: Final = 30.0
"""How much longer than it may take a phase lasts before its deployment counts as stuck, in seconds."""
OUTPUTS: Final = "outputs"
"""The name of the gate that closes if the version's answers differ from those of the stable version."""
ACTIVE_STATES = frozenset({_S.PENDING, _S.AWAITING_APPROVAL, _S.PROGRESSING, _S.PAUSED})
"""States of a deployment under way; a model has at most one such deployment."""


class Phase(StrEnum):
    """What is being done within a step, or during a rollback."""

    GATE = "gate"
    """A step begins: it may need an approval first."""
    CAPACITY = "capacity"
    """The version is started, with the replicas for the step's share."""
    SHIFT = "shift"
    """The share is published, but not every gateway has it yet."""
    OBSERVE = "observe"
    """All gateways use the share; the version is watched."""
    RESTORE = "restore"
    """Rollback after completion: the version to return to is started."""
    REVERT = "revert"
    """The version's share is set to 0, but not every gateway has the new table yet."""
    BAKE = "bake"
    """Completed: the version has all traffic and is still judged, while the one before it is kept warm."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Approval:
    """One approval of a gate.

    Attributes:
        by, at, reason: who approved, when (seconds since the epoch), and why.
        gate: the name of the gate: "start", "50 %", "evidence at 10 %", "outputs".
    """

    by: str
    at: float
    gate: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One rollout of one version, as stored.

    Attributes:
        app: the Serve application of the target version; chosen once, never reused.
        previous_version: the version that served before; None for a model's first deployment.
        share: ten-thousandths of the model's traffic that go to the target version.
        step: index of the current step in `steps`.
        reason: an explanation of the present state, for people.
        step_started_at: when the current step began (seconds since the epoch).
        options: the options of the strategy, as given.
        phase_since: when the current phase began (seconds since the epoch).
        observed_since: when watching of the present share began (seconds since the epoch); a new value starts a new
            observation; 0 if the version has not been started yet.
        stable_app: the app of the stable version.
        stable_replicas: the most replicas that the stable version was observed to have.
        salt: the salt of the model's traffic split.
        waiting_for: the name of the closed gate; "" if it waits for none.
        findings: the latest finding of each criterion.
        hold_s: bake time: for how many seconds after completion the version before it is kept warm and it is judged.
        shadow: ten-thousandths of the requests that are copied to the target version in its preview.
        copies_per_second: the most copies per second and gateway; 0 for no limit.
        ending: the state after a rollback, once every gateway has the new table.
        back_to, back_app: the version that a rollback after completion returns to, and its app.
        restarts: how often an app was started elsewhere, after a fault of the infrastructure.
        retry_at: the earliest time of the next such start (seconds since the epoch).
        run: how the target version runs and is called.
        back_run: the same of the version that a rollback after completion returns to: at first, of the one before.
        promoted: whether a person has skipped the remaining steps, and with them what is unknown.
    """

    id: str
    model_id: str
    target_version: str
    app: str
    strategy: Strategy
    state: DeploymentState
    created_by: str
    created_at: float
    updated_at: float
    step_started_at: float
    previous_version: str | None = None
    share: int = 0
    step: int = 0
    reason: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Step, ...] = AT_ONCE
    phase: Phase = Phase.GATE
    phase_since: float = 0.0
    observed_since: float = 0.0
    stable_app: str = ""
    stable_replicas: int = 0
    salt: str = ""
    approvals: tuple[Approval, ...] = ()
    waiting_for: str = ""
    criteria: HealthCriteria = field(default_factory=HealthCriteria)
    findings: tuple[Finding, ...] = ()
    rollback_on_failure: bool = True
    fallback_to_stable: bool = True
    approval_timeout_s: float = 86_400.0
    hold_s: float = 0.0
    shadow: int = 0
    users: tuple[str, ...] = ()
    ending: DeploymentState | None = None
    back_to: str = ""
    back_app: str = ""
    copies_per_second: int = 0
    restarts: int = 0
    retry_at: float = 0.0
    promoted: bool = False
    run: RunOptions = DEFAULT_RUN
    back_run: RunOptions = DEFAULT_RUN

    @property
    def active(self) -> bool:
        """True while the deployment is under way."""
        return self.state in ACTIVE_STATES

    @property
    def weight(self) -> float:
        """Percent of the model's traffic that goes to the target version."""
        return self.share / 100

    @property
    def current(self) -> Step:
        """The current step."""
        return self.steps[self.step]

    @property
    def at_last_step(self) -> bool:
        """True if no step follows."""
        return self.step == len(self.steps) - 1

    @property
    def returning(self) -> bool:
        """True during a rollback: to the stable version, or after completion to an earlier one."""
        return self.phase in {Phase.RESTORE, Phase.REVERT}

    @property
    def shown(self) -> bool:
        """True while gateways should know the target version: it has been started and is not being rolled back."""
        return self.active and self.observed_since > 0 and not self.returning

    @property
    def outputs_accepted(self) -> bool:
        """True if a person decided that the version may answer otherwise than the stable one, or that it is unknown."""
        return self.promoted or self.approved(OUTPUTS)

    @property
    def gate(self) -> str:
        """The name of the current step's gate."""
        return self.gate_of(self.step)

    @property
    def baking(self) -> bool:
        """True while the deployment is completed, and its version is still judged."""
        return self.state is DeploymentState.COMPLETED and self.phase is Phase.BAKE

    @property
    def watched_until(self) -> float | None:
        """When a completed deployment is judged no longer (seconds since the epoch); None if it is not judged."""
        return self.phase_since + self.hold_s if self.baking else None

    @property
    def needs(self) -> str:
        """What somebody must decide, as a clause; "" if it goes on by itself or has ended."""
        if self.state is DeploymentState.AWAITING_APPROVAL:
            return f"approve ({self.waiting_for}) or abort"
        return "resume, promote or abort" if self.state is DeploymentState.PAUSED else ""

    @property
    def approval_expires_at(self) -> float | None:
        """When the deployment is aborted if nobody approves (seconds since the epoch); None if it waits for nobody."""
        return self.phase_since + self.approval_timeout_s if self.state is DeploymentState.AWAITING_APPROVAL else None

    @property
    def evidence_gate(self) -> str:
        """The name of the gate that closes if the current step's evidence stays inconclusive."""
        return f"evidence at {self.current.weight:g} %"

    def run_of(self, app: str) -> RunOptions | None:
        """Return how an app of this deployment runs: the target's, or that of the version it returns to; else None."""
        return self.run if app == self.app else self.back_run if app == self.back_app else None

    def gate_of(self, step: int) -> str:
        """Return the name of a step's gate."""
        return START if step == 0 else f"{self.steps[step].weight:g} %"

    def approved(self, gate: str) -> bool:
        """Return True if this gate has been approved."""
        return any(approval.gate == gate for approval in self.approvals)

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Deployment:
        """Read a stored deployment, also in older forms: with "" for no `ending`, with a step's share as `weight`, or
        without steps.
        """
        kept = body if "steps" in body else _from_before_steps(body)
        steps = [{"share" if name == "weight" else name: step[name] for name in step} for step in kept["steps"]]
        criteria = HealthCriteria.read(kept["criteria"])
        return from_plain(cls, {**kept, "criteria": criteria, "steps": steps, "ending": kept["ending"] or None})


def _from_before_steps(body: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the body of an older deployment, always immediate: step 0 started the version, step 1 switched."""
    kept = {name: value for name, value in body.items() if name not in {"weight", "step"}}
    under_way = DeploymentState(body["state"]) in ACTIVE_STATES
    phase = (Phase.SHIFT if body.get("step") else Phase.CAPACITY) if under_way else Phase.DONE
    if body["state"] == DeploymentState.PENDING:
        phase = Phase.GATE
    new = {"steps": [asdict(step) for step in AT_ONCE], "phase": phase, "phase_since": body["step_started_at"]}
    new |= {"share": round(float(body.get("weight", 0.0)) * 100), "step": 0, "ending": "", "criteria": {}}
    new |= {"observed_since": body["step_started_at"] if phase is Phase.SHIFT else 0.0}
    return {**kept, **new, "approvals": [], "findings": [], "users": []}


def stuck(deployment: Deployment, now: float, limits: Limits) -> str:
    """Return what a deployment waits for longer than it should, as a clause; "" if it does not.

    One that is paused or awaits approval waits for people, and is not stuck.

    Args:
        deployment: the deployment.
        now: seconds since the epoch.
        limits: how long a phase may take. Their time counts only while the Controller works and can write, so a
            deployment may also be stuck because it does not.
    """
    for_s = now - deployment.phase_since
    if deployment.state not in {DeploymentState.PENDING, DeploymentState.PROGRESSING}:
        return ""
    if deployment.phase is Phase.REVERT:
        return f"a gateway has not taken the present table for {for_s:.0f} s" if for_s > limits.acknowledge_s else ""
    step = deployment.current
    longest, what = {
        Phase.GATE: (0.0, "nothing has begun"),
        Phase.CAPACITY: (limits.start_s, f"version {deployment.target_version} has not started"),
        Phase.RESTORE: (limits.start_s, f"version {deployment.back_to} has not started"),
        Phase.SHIFT: (limits.acknowledge_s, "the gateways have not taken the present table"),
        Phase.OBSERVE: (max(step.min_time_s, step.max_time_s), f"it is watched at {deployment.weight:g} %"),
    }.get(deployment.phase, (float("inf"), ""))
    return f"{what} for {for_s:.0f} s" if for_s > longest + _LATE_S else ""


@dataclass(frozen=True, slots=True)
class DeploymentEvent:
    """One event of a model's history.

    Attributes:
        deployment_id: the deployment that it is about; "" if the whole model was undeployed.
        at: seconds since the epoch.
        kind: what happened: "created", "progressing", "step", "approved", "rolling_back", "completed", …; "undeploying"
            when a model is taken out of traffic, and "undeployed" when its last app has stopped.
        actor: who caused it; "controller" if the platform did it by itself.
        sequence: the event's ascending number in the history that it was read from.
    """

    deployment_id: str
    model_id: str
    at: float
    kind: str
    detail: str
    actor: str
    sequence: int
