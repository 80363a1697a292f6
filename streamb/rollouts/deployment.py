"""What a deployment is: one model version on its way into (or out of) traffic. Data; the rules are in `decide`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from streamb.lifecycle import Lifecycle


class Strategy(StrEnum):
    """How a new version takes over traffic."""

    IMMEDIATE = "immediate"


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
DEPLOYMENT_LIFECYCLE: Lifecycle[DeploymentState] = Lifecycle(
    "deployment",
    {
        _S.PENDING: frozenset({_S.PROGRESSING, _S.AWAITING_APPROVAL, _S.ABORTED, _S.FAILED}),
        _S.AWAITING_APPROVAL: frozenset({_S.PROGRESSING, _S.ABORTED, _S.FAILED}),
        _S.PROGRESSING: frozenset(
            {_S.AWAITING_APPROVAL, _S.PAUSED, _S.COMPLETED, _S.ROLLED_BACK, _S.ABORTED, _S.FAILED}
        ),
        _S.PAUSED: frozenset({_S.PROGRESSING, _S.ROLLED_BACK, _S.ABORTED, _S.FAILED}),
        _S.COMPLETED: frozenset({_S.ROLLED_BACK}),
    },
)

ACTIVE_STATES = frozenset({_S.PENDING, _S.AWAITING_APPROVAL, _S.PROGRESSING, _S.PAUSED})
"""States in which a deployment still has work to do; a model has at most one such deployment."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One rollout of one version, as persisted.

    Attributes:
        app: the Serve application of the target version; chosen once, never reused.
        previous_version: what answered before, None for a model's first deployment.
        weight: percent of the model's traffic that goes to the target version.
        step: which step of the strategy is being worked on, from 0.
        reason: why it is where it is, in words.
        step_started_at: when the current step began (seconds since the epoch).
        options: the strategy's own options, as given.
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
    weight: float = 0.0
    step: int = 0
    reason: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        """True while there is still work to do."""
        return self.state in ACTIVE_STATES

    def to_body(self) -> dict[str, Any]:
        """The JSON form that the store keeps."""
        return {**asdict(self), "state": str(self.state), "strategy": str(self.strategy), "options": dict(self.options)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Deployment:
        """Read back what `to_body` wrote."""
        return cls(**{**body, "state": DeploymentState(body["state"]), "strategy": Strategy(body["strategy"])})


@dataclass(frozen=True, slots=True)
class DeploymentEvent:
    """One line of a deployment's history.

    Attributes:
        at: seconds since the epoch.
        kind: what happened: "created", "progressing", "completed", "failed", …
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


@dataclass(frozen=True, slots=True)
class ServingRoute:
    """Which app answers a model's traffic now, as persisted: what gateways and Serve are brought in line with.

    Attributes:
        salt: the salt of the model's traffic split.
    """

    model_id: str
    version: str
    app: str
    salt: str

    def to_body(self) -> dict[str, Any]:
        """The JSON form that the store keeps."""
        return asdict(self)
