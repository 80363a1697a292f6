"""What a deployment is: one model version on its way into (or out of) traffic. Data; the rules are in `decide`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from streamb.lifecycle import Lifecycle
from streamb.metrics.criteria import Finding
from streamb.rollouts.options import START, HealthCriteria
from streamb.rollouts.strategies import AT_ONCE, Step, Strategy
from streamb.store.plain import from_plain


class DeploymentState(StrEnum):
    """Where a deployment stands; the words of the public interface."""

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
        # A completed deployment can still be rolled back; the way back takes a moment.
        _S.COMPLETED: frozenset({_S.PROGRESSING}),
    },
)

ACTIVE_STATES = frozenset({_S.PENDING, _S.AWAITING_APPROVAL, _S.PROGRESSING, _S.PAUSED})
"""States in which a deployment still has work to do; a model has at most one such deployment."""


class Phase(StrEnum):
    """What is being done within a step, or on the way back."""

    GATE = "gate"
    """A step begins: somebody may have to approve first."""
    CAPACITY = "capacity"
    """The version is started, and given the replicas for the step's share."""
    SHIFT = "shift"
    """The share is published; not every gateway has it yet."""
    OBSERVE = "observe"
    """The share is in force everywhere; the version is watched."""
    RESTORE = "restore"
    """After completion: the version to go back to is brought up."""
    REVERT = "revert"
    """The version's share is taken away; not every gateway knows yet."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody let a deployment pass a gate.

    Attributes:
        gate: which one: "start", "50 %", "evidence at 10 %".
    """

    by: str
    at: float
    gate: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One rollout of one version, as persisted.

    Attributes:
        app: the Serve application of the target version; chosen once, never reused.
        previous_version: what answered before, None for a model's first deployment.
        share: ten-thousandths of the model's traffic that go to the target version.
        step: which of `steps` is being worked on, from 0.
        reason: why it is where it is, in words.
        step_started_at: when the current step began (seconds since the epoch).
        options: the strategy's own options, as given.
        phase_since: when the current phase began.
        observed_since: since when the present share has been watched, a new value begins a new observation; 0: the
            version was not brought up yet.
        stable_app: the app that answers for the stable version.
        stable_replicas: the most replicas that the stable version was seen to have.
        salt: of the model's traffic split.
        waiting_for: the gate that is closed; "" when none is.
        findings: the latest judgement, one for each criterion.
        ending: the state to end in once every gateway has given the share back.
        back_to, back_app: the version that a rollback after completion returns to, and its app.
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

    @property
    def active(self) -> bool:
        """True while there is still work to do."""
        return self.state in ACTIVE_STATES

    @property
    def weight(self) -> float:
        """Percent of the model's traffic that goes to the target version."""
        return self.share / 100

    @property
    def current(self) -> Step:
        """The step that is being worked on."""
        return self.steps[self.step]

    @property
    def at_last_step(self) -> bool:
        """True when no step follows."""
        return self.step == len(self.steps) - 1

    @property
    def returning(self) -> bool:
        """True on the way back: to the stable version, or after completion to an earlier one."""
        return self.phase in {Phase.RESTORE, Phase.REVERT}

    @property
    def shown(self) -> bool:
        """True while gateways should know the target version: it has been brought up and is not on its way out."""
        return self.active and self.observed_since > 0 and not self.returning

    @property
    def gate(self) -> str:
        """What the gate of the current step is called."""
        return self.gate_of(self.step)

    @property
    def evidence_gate(self) -> str:
        """What the gate is called that closes when the current step's evidence stays inconclusive."""
        return f"evidence at {self.current.weight:g} %"

    def gate_of(self, step: int) -> str:
        """What the gate of a step is called."""
        return START if step == 0 else f"{self.steps[step].weight:g} %"

    def approved(self, gate: str) -> bool:
        """True when somebody has let it pass this gate."""
        return any(approval.gate == gate for approval in self.approvals)

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Deployment:
        """Read what the store keeps: written now, with "" for no `ending`, with a step's share as `weight`, or before
        there were steps.
        """
        kept = body if "steps" in body else _from_before_steps(body)
        steps = [{"share" if name == "weight" else name: step[name] for name in step} for step in kept["steps"]]
        criteria = HealthCriteria.read(kept["criteria"])
        return from_plain(cls, {**kept, "criteria": criteria, "steps": steps, "ending": kept["ending"] or None})


def _from_before_steps(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a deployment from a time when all were immediate: step 0 started the version, step 1 switched."""
    kept = {name: value for name, value in body.items() if name not in {"weight", "step"}}
    under_way = DeploymentState(body["state"]) in ACTIVE_STATES
    phase = (Phase.SHIFT if body.get("step") else Phase.CAPACITY) if under_way else Phase.DONE
    if body["state"] == DeploymentState.PENDING:
        phase = Phase.GATE
    new = {"steps": [asdict(step) for step in AT_ONCE], "phase": phase, "phase_since": body["step_started_at"]}
    new |= {"share": round(float(body.get("weight", 0.0)) * 100), "step": 0, "ending": "", "criteria": {}}
    new |= {"observed_since": body["step_started_at"] if phase is Phase.SHIFT else 0.0}
    return {**kept, **new, "approvals": [], "findings": [], "users": []}


@dataclass(frozen=True, slots=True)
class DeploymentEvent:
    """One line of a deployment's history.

    Attributes:
        at: seconds since the epoch.
        kind: what happened: "created", "progressing", "step", "approved", "rolling_back", "completed", …
        actor: who caused it; "controller" for what the platform did by itself.
        sequence: place in the history of all deployments, growing.
    """

    deployment_id: str
    model_id: str
    at: float
    kind: str
    detail: str
    actor: str
    sequence: int
