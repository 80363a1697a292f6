"""Deployments: bring a version into traffic, steer it, and see what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Self

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import Field, model_validator

from streamb.api.auth import Caller
from streamb.api.console import ConsoleDep
from streamb.api.idempotency import Change, ChangeDep
from streamb.api.shapes import (
    Answer,
    Cursor,
    FiniteOrNull,
    Id,
    Limit,
    LongText,
    Name,
    OfModel,
    PageAnswer,
    Reference,
    page_of,
)
from streamb.control.verbs import Control
from streamb.errors import Forbidden, Unauthorized
from streamb.options import ShortText, Strict
from streamb.rollouts.controller import Rollouts
from streamb.rollouts.deployment import Deployment
from streamb.rollouts.options import RolloutOptions
from streamb.rollouts.strategies import Strategy, check_used

P = ParamSpec("P")

router = APIRouter(prefix="/api/deployments", tags=["deployments"])


class DeploymentBody(Strict):
    """A version to bring into traffic."""

    model_id: Name
    target_version: Reference
    strategy: Strategy = Field(default=Strategy.IMMEDIATE, strict=False)
    options: RolloutOptions = Field(default_factory=RolloutOptions)
    force: bool = Field(default=False, description="Do it although the environment refuses it; needs an admin key.")

    @model_validator(mode="after")
    def _options_are_used(self) -> Self:
        check_used(self.strategy, self.options)
        return self


class SteerBody(Strict):
    """Who steers a deployment, and why; both go into its history."""

    by: ShortText = Field(default="", description="Who decides this; by default the name of the API key.")
    reason: LongText = Field(default="", description="Why, in words.")


class RollbackBody(SteerBody):
    """Back to which version."""

    to_version: Reference | None = Field(
        default=None, description="Any version that was registered before; by default the one that answered before."
    )


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


@router.get("")
async def list_deployments(
    console: ConsoleDep, limit: Limit = 100, cursor: Cursor = None, model_id: OfModel = None
) -> PageAnswer[DeploymentAnswer]:
    """Deployments, the newest first."""
    return page_of(DeploymentAnswer, await console.ask(Rollouts.list, limit, cursor, model_id))


@router.post("", status_code=201, response_model=DeploymentAnswer)
async def create_deployment(body: DeploymentBody, console: ConsoleDep, change: ChangeDep, caller: Caller) -> Any:
    """Begin to bring a version into traffic. Follow it at the address in `Location`."""
    if body.force and (caller is None or not caller.admin):
        raise Forbidden("`force` needs the API key of an administrator")
    if body.options.runs_code and caller is None:
        raise Unauthorized("criteria of your own run code on the cluster, so they need an API key even in development")

    async def act() -> Deployment:
        return await console.ask(
            Control.create_deployment,
            body.model_id,
            body.target_version,
            str(body.strategy),
            body.options.given,
            change.actor,
            force=body.force,
        )

    return await change.make(DeploymentAnswer, body, act, status=201, location="/api/deployments/{id}")


@router.get("/history")
async def deployment_history(
    console: ConsoleDep, limit: Limit = 100, cursor: Cursor = None, model_id: OfModel = None
) -> PageAnswer[EventAnswer]:
    """What happened to deployments, the newest first."""
    return page_of(EventAnswer, await console.ask(Rollouts.history, limit, cursor, model_id))


@router.get("/{deployment_id}")
async def get_deployment(deployment_id: Id, console: ConsoleDep) -> DeploymentAnswer:
    """One deployment."""
    return DeploymentAnswer.model_validate(await console.ask(Rollouts.get, deployment_id))


@router.post("/{deployment_id}/approve", response_model=DeploymentAnswer)
async def approve_deployment(deployment_id: Id, change: ChangeDep, body: SteerBody | None = None) -> Any:
    """Let a deployment that awaits approval go on. Its author may not."""
    return await _steer(Rollouts.approve, deployment_id, body, change)


@router.post("/{deployment_id}/pause", response_model=DeploymentAnswer)
async def pause_deployment(deployment_id: Id, change: ChangeDep, body: SteerBody | None = None) -> Any:
    """Stay at the present weight until resumed."""
    return await _steer(Rollouts.pause, deployment_id, body, change)


@router.post("/{deployment_id}/resume", response_model=DeploymentAnswer)
async def resume_deployment(deployment_id: Id, change: ChangeDep, body: SteerBody | None = None) -> Any:
    """Go on after a pause."""
    return await _steer(Rollouts.resume, deployment_id, body, change)


@router.post("/{deployment_id}/promote", response_model=DeploymentAnswer)
async def promote_deployment(deployment_id: Id, change: ChangeDep, body: SteerBody | None = None) -> Any:
    """Skip the remaining steps: all traffic to the target version."""
    return await _steer(Rollouts.promote, deployment_id, body, change)


@router.post("/{deployment_id}/abort", response_model=DeploymentAnswer)
async def abort_deployment(deployment_id: Id, change: ChangeDep, body: SteerBody | None = None) -> Any:
    """Stop, and give all traffic back to the version before."""
    return await _steer(Rollouts.abort, deployment_id, body, change)


@router.post("/{deployment_id}/rollback", response_model=DeploymentAnswer)
async def rollback_deployment(deployment_id: Id, change: ChangeDep, body: RollbackBody | None = None) -> Any:
    """Give all traffic back to the version before, or to an earlier one; also after completion."""
    to_version = body.to_version if body is not None else None
    return await _steer(Rollouts.rollback, deployment_id, body, change, to_version)


async def _steer(
    verb: Callable[Concatenate[Any, str, str, str, P], Deployment],
    deployment_id: str,
    body: SteerBody | None,
    change: Change,
    *more: P.args,
    **named: P.kwargs,
) -> JSONResponse:
    wanted = body or SteerBody()

    def act() -> Awaitable[Deployment]:
        by = wanted.by.strip() or change.actor
        return change.console.ask(verb, deployment_id, by, wanted.reason, *more, **named)

    return await change.make(DeploymentAnswer, wanted, act)
