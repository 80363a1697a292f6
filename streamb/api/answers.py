"""What goes out: one model per answer. Times are seconds since the Unix epoch unless the name says otherwise."""

from __future__ import annotations

import math
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from streamb.store.records import Page

T = TypeVar("T", bound=BaseModel)


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


FiniteOrNull = Annotated[float | None, AfterValidator(_finite)]
"""JSON has no infinity."""


class Answer(BaseModel):
    """The base of all answers."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True, serialize_by_alias=True)


class PageAnswer(BaseModel, Generic[T]):
    """Some items of a list, and the cursor that asks for those after them."""

    items: list[T]
    next_cursor: str | None = Field(default=None, description="Null: this is the last page.")


def page_of(answer: type[T], page: Page[Any]) -> PageAnswer[T]:
    """A page of the inside as a page of answers."""
    return PageAnswer[answer](  # type: ignore[valid-type]  # a type made at run time
        items=[answer.model_validate(item) for item in page.items], next_cursor=page.next_cursor
    )


class ModelAnswer(Answer):
    """A registered model."""

    model_id: str
    name: str
    description: str
    owner: str
    created_at: float
    updated_at: float
    tags: dict[str, str]
    aliases: dict[str, str]
    latest_version: str | None


class LineageAnswer(Answer):
    """Where a version comes from."""

    job_id: str | None = None
    data_digest: str | None = None
    parent_version: str | None = None


class VersionAnswer(Answer):
    """One immutable version of a model."""

    model_id: str
    version: str
    digest: str = Field(description="SHA-256 that names the content: equal content, equal digest.")
    blob: str = Field(description="SHA-256 of the stored archive.")
    size_bytes: int
    framework: str
    task: str
    feature_schema: dict[str, Any] | None = Field(alias="schema", description="Names and types of the features.")
    carries_code: bool
    stage: str
    owner: str
    created_at: float
    metadata: dict[str, Any]
    metrics: dict[str, float]
    hyperparameters: dict[str, Any]
    lineage: LineageAnswer
    tags: dict[str, str]


class StepAnswer(Answer):
    """One step of a deployment's plan."""

    weight: float = Field(description="Percent of the model's traffic that goes to the target version.")
    min_time_s: float
    max_time_s: float = Field(description="When the evidence is too thin by then, the deployment awaits approval.")
    min_samples: int = Field(description="Requests that must have been judged.")
    gate: bool = Field(description="It begins only once somebody has approved.")


class FindingAnswer(Answer):
    """What one criterion says of the target version."""

    criterion: str
    verdict: str = Field(description="pass, fail or inconclusive; the last never promotes.")
    detail: str = Field(description="The same in words.")
    value: FiniteOrNull = Field(default=None, description="What was measured.")
    limit: FiniteOrNull = Field(default=None, description="What it may be at most, or must be at least.")
    samples: int = Field(default=0, description="How many requests this rests on.")


class ApprovalAnswer(Answer):
    """Who let a deployment go on, and past which gate."""

    by: str
    at: float
    gate: str
    reason: str = ""


class DeploymentAnswer(Answer):
    """A version on its way into traffic, or arrived."""

    id: str
    model_id: str
    target_version: str
    previous_version: str | None
    strategy: str
    state: str
    weight: float = Field(description="Percent of the model's traffic that goes to the target version.")
    step: int
    reason: str
    created_by: str
    created_at: float
    updated_at: float
    options: dict[str, Any]
    phase: str = Field(default="", description="What is done within the step.")
    steps: list[StepAnswer] = Field(default_factory=list, description="The whole plan.")
    findings: list[FindingAnswer] = Field(default_factory=list, description="The latest judgement, one per criterion.")
    waiting_for: str = Field(default="", description="What a gate waits for; empty when it waits for nothing.")
    approvals: list[ApprovalAnswer] = Field(default_factory=list)


class EventAnswer(Answer):
    """One line of the history of deployments."""

    deployment_id: str
    model_id: str
    at: float
    kind: str
    detail: str
    actor: str
    sequence: int


class RunningVersion(Answer):
    """One version's set of replicas."""

    version: str
    app: str
    state: str
    replicas: int
    weight: float = Field(default=0.0, description="Percent of the model's traffic that goes to it.")
    reason: str = ""


class RunningModel(Answer):
    """What runs for one model."""

    model_id: str
    serving_version: str | None
    versions: list[RunningVersion]
    requests: dict[str, Any] = Field(default_factory=dict)


class ModelStatusAnswer(RunningModel):
    """What runs for one model, and its newest deployment."""

    deployment: DeploymentAnswer | None = None


class StatusAnswer(Answer):
    """The platform in one look."""

    version: str = Field(description="Of streamb itself.")
    environment: str
    url: str = Field(description="The address that this request came to.")
    started_at: float
    uptime_s: float
    epoch: int = Field(description="Of the routing table; grows with every change.")
    gateways: list[dict[str, Any]]
    models: list[RunningModel]


class Part(Answer):
    """One part of the platform."""

    model_config = ConfigDict(extra="allow")

    status: str
    detail: str = ""


class HealthAnswer(Answer):
    """Is the platform well, and if not, why."""

    status: str = Field(description="healthy, degraded or unhealthy: the worst of the parts.")
    reasons: list[str]
    components: dict[str, Part]
    models: dict[str, Part]


class JobAnswer(Answer):
    """A command that runs, or ran, on the cluster."""

    id: str
    name: str
    entrypoint: str
    state: str = Field(description="pending, running, succeeded, failed or stopped.")
    exit_code: int | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    reason: str = ""


class LogAnswer(Answer):
    """A piece of a job's output."""

    text: str
    next_offset: int = Field(description="Where to go on reading.")
