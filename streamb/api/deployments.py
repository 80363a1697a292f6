"""Routes for deployments: create, read, approve, pause, resume, promote, abort, roll back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Concatenate, Self

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import Field, model_validator

from streamb.api.auth import Caller, ReachDep, demand_admin
from streamb.api.console import Console, ConsoleDep
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
    comment_of,
    page_of,
)
from streamb.control.verbs import Control
from streamb.errors import NotFound
from streamb.monitoring.channels import nobody_is_told
from streamb.options import ShortText, Strict
from streamb.registry import Registry, TrialState
from streamb.rollouts.controller import Rollouts
from streamb.rollouts.deployment import Deployment
from streamb.rollouts.options import RolloutOptions
from streamb.rollouts.strategies import Strategy, check_used
from streamb.security.principals import Principal

router = APIRouter(prefix="/api/deployments", tags=["deployments"])


class DeploymentBody(Strict):
    """A version to bring into traffic, and how."""

    model_id: Name
    target_version: Reference
    strategy: Strategy = Field(default=Strategy.IMMEDIATE, strict=False)
    options: RolloutOptions = Field(default_factory=RolloutOptions)
    force: bool = Field(
        default=False, description="Deploy even if the environment forbids it, or it does not fit; needs an admin key."
    )

    @model_validator(mode="after")
    def _options_are_used(self) -> Self:
        check_used(self.strategy, self.options)
        return self


class SteerBody(Strict):
    """Why what is deployed is changed; the history records it beside the name of the caller."""

    by: ShortText = Field(
        default="", description="A comment on who decided this. It grants nothing: the history names the caller."
    )
    reason: LongText = Field(default="", description="Why, as free text.")

    @property
    def said(self) -> str:
        """The reason, with the comment on who decided."""
        return comment_of(self.reason, self.by)


class PromoteBody(SteerBody):
    """Why a deployment is promoted, and whether that is forced."""

    force: bool = Field(
        default=False, description="Do it though no step has judged the version so far; needs an admin key."
    )


class RollbackBody(SteerBody):
    """The version to roll back to, and why."""

    force: bool = Field(default=False, description="Also to a version that has never served; needs an admin key.")
    to_version: Reference | None = Field(
        default=None, description="Any version that was registered earlier; by default the one that served before."
    )


class StepAnswer(Answer):
    """One step of a deployment's plan."""

    weight: float = Field(description="Percent of the model's traffic that goes to the target version.")
    min_time_s: float
    max_time_s: float = Field(description="If there is too little evidence by then, the deployment awaits approval.")
    min_samples: int = Field(description="How many requests must have been judged before the step ends.")
    gate: bool = Field(description="The step begins only after an approval.")


class FindingAnswer(Answer):
    """The verdict of one criterion on the target version."""

    criterion: str
    verdict: str = Field(description="pass, fail or inconclusive; an inconclusive finding never promotes.")
    detail: str = Field(description="The finding as a sentence.")
    value: FiniteOrNull = Field(default=None, description="The measured value.")
    limit: FiniteOrNull = Field(default=None, description="The highest or lowest value that passes.")
    samples: int = Field(default=0, description="How many requests the finding is based on.")
    asks: bool = Field(default=False, description="If it fails, somebody decides; the version is not rolled back.")


class ApprovalAnswer(Answer):
    """One approval: who gave it, when, why, and for which gate."""

    by: str
    at: float
    gate: str
    reason: str = ""


class DeploymentAnswer(Answer):
    """One deployment: its plan, its state, and the latest findings."""

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
    phase: str = Field(default="", description="The phase within the step.")
    steps: list[StepAnswer] = Field(default_factory=list, description="All steps of the plan.")
    findings: list[FindingAnswer] = Field(default_factory=list, description="The latest finding of each criterion.")
    waiting_for: str = Field(default="", description="What a gate waits for; empty if it waits for nothing.")
    approvals: list[ApprovalAnswer] = Field(default_factory=list)
    approval_expires_at: float | None = Field(default=None, description="Without an approval by then it is aborted.")
    watched_until: float | None = Field(
        default=None, description="Until then a completed deployment is still judged, and rolled back if it fails."
    )
    needs: str = Field(default="", description="What somebody must decide; empty if it goes on by itself.")
    restarts: int = Field(default=0, description="How often the infrastructure took an app away that started again.")
    notice: str = Field(default="", description="In the answer to the order: what to know about it.")


class EventAnswer(Answer):
    """One event in the history of deployments."""

    deployment_id: str
    model_id: str
    at: float
    kind: str
    detail: str
    actor: str
    sequence: int


@router.get("")
async def list_deployments(
    console: ConsoleDep, reach: ReachDep, limit: Limit = 100, cursor: Cursor = None, model_id: OfModel = None
) -> PageAnswer[DeploymentAnswer]:
    """List deployments, the newest first."""
    page = await console.ask(Rollouts.list, limit, cursor, model_id)
    return page_of(DeploymentAnswer, page, lambda one: one.model_id in reach)


@router.post("", status_code=201, response_model=DeploymentAnswer)
async def create_deployment(
    body: DeploymentBody, console: ConsoleDep, change: ChangeDep, caller: Caller, reach: ReachDep
) -> Any:
    """Start a deployment. Its state can be read at the address in `Location`.

    It is refused (409 `incompatible_signature`) if the version takes or answers something else than the one that
    serves, which `accept_changes` does not name; `changes` lists each difference.
    """
    reach.demand(body.model_id)
    if body.force:
        demand_admin(caller, "`force`")
    if body.options.runs_code:
        demand_admin(caller, "a criterion of your own, which is code that runs in the Controller,", for_code=True)

    async def act() -> DeploymentAnswer:
        await _try_untried(console, body.model_id, body.target_version)
        made = await console.ask(
            Control.create_deployment,
            body.model_id,
            body.target_version,
            str(body.strategy),
            body.options.given,
            change.actor,
            force=body.force,
        )
        return DeploymentAnswer.model_validate(made).model_copy(update={"notice": nobody_is_told(console.settings)})

    return await change.make(DeploymentAnswer, body, act, status=201, location="/api/deployments/{id}")


async def _try_untried(console: Console, model_id: str, target_version: str) -> None:
    """Try a version that was registered before versions were tried, so that its failure meets no traffic."""
    try:
        version = await console.ask(Registry.resolve, model_id, target_version)
    except NotFound:  # the order itself will say so
        return
    if version.trial.state is TrialState.UNTRIED:
        artifact = await asyncio.to_thread(console.artifacts.try_stored, version)
        await console.ask(Registry.set_trial, model_id, version.version, artifact)


@router.get("/history")
async def deployment_history(
    console: ConsoleDep, reach: ReachDep, limit: Limit = 100, cursor: Cursor = None, model_id: OfModel = None
) -> PageAnswer[EventAnswer]:
    """List the events of deployments, the newest first."""
    page = await console.ask(Rollouts.history, limit, cursor, model_id)
    return page_of(EventAnswer, page, lambda one: one.model_id in reach)


@router.get("/{deployment_id}")
async def get_deployment(deployment_id: Id, console: ConsoleDep, reach: ReachDep) -> DeploymentAnswer:
    """Return one deployment."""
    found = await console.ask(Rollouts.get, deployment_id)
    reach.demand(found.model_id)
    return DeploymentAnswer.model_validate(found)


async def _of_this_model(deployment_id: Id, change: ChangeDep, reach: ReachDep) -> Change:
    """Return the change of a deployment, if the caller's key is good for its model."""
    if reach.limited:
        reach.demand((await change.console.ask(Rollouts.get, deployment_id)).model_id)
    return change


SteerDep = Annotated[Change, Depends(_of_this_model)]


@router.post("/{deployment_id}/approve", response_model=DeploymentAnswer)
async def approve_deployment(deployment_id: Id, change: SteerDep, body: SteerBody | None = None) -> Any:
    """Approve a deployment that awaits approval. Its author may not approve it."""
    return await _steer(Rollouts.approve, deployment_id, body, change)


@router.post("/{deployment_id}/pause", response_model=DeploymentAnswer)
async def pause_deployment(deployment_id: Id, change: SteerDep, body: SteerBody | None = None) -> Any:
    """Keep the current weight until the deployment is resumed."""
    return await _steer(Rollouts.pause, deployment_id, body, change)


@router.post("/{deployment_id}/resume", response_model=DeploymentAnswer)
async def resume_deployment(deployment_id: Id, change: SteerDep, body: SteerBody | None = None) -> Any:
    """Continue a paused deployment."""
    return await _steer(Rollouts.resume, deployment_id, body, change)


@router.post("/{deployment_id}/promote", response_model=DeploymentAnswer)
async def promote_deployment(
    deployment_id: Id, change: SteerDep, caller: Caller, body: PromoteBody | None = None
) -> Any:
    """Skip the remaining steps: send all traffic to the target version.

    Outside development at least one step must have judged it (`ML_UNJUDGED_SHARE`).
    """
    return await _steer(Rollouts.promote, deployment_id, body, change, **_forced(body, caller))


@router.post("/{deployment_id}/abort", response_model=DeploymentAnswer)
async def abort_deployment(deployment_id: Id, change: SteerDep, body: SteerBody | None = None) -> Any:
    """Stop the deployment and send all traffic back to the previous version."""
    return await _steer(Rollouts.abort, deployment_id, body, change)


@router.post("/{deployment_id}/rollback", response_model=DeploymentAnswer)
async def rollback_deployment(
    deployment_id: Id, change: SteerDep, caller: Caller, body: RollbackBody | None = None
) -> Any:
    """Send all traffic back to the previous version, or to `to_version`; also possible after completion."""
    to_version = body.to_version if body is not None else None
    return await _steer(Rollouts.rollback, deployment_id, body, change, to_version, **_forced(body, caller))


def _forced(body: PromoteBody | RollbackBody | None, caller: Principal | None) -> dict[str, bool]:
    """Return the argument that forces an order, if the caller asks for that and may."""
    if body is None or not body.force:
        return {}
    demand_admin(caller, "`force`")
    return {"force": True}


async def _steer(
    verb: Callable[Concatenate[Any, str, str, str, ...], Deployment],
    deployment_id: str,
    body: SteerBody | None,
    change: Change,
    *more: Any,
    **named: Any,
) -> JSONResponse:
    wanted = body or SteerBody()

    def act() -> Awaitable[Deployment]:
        return change.console.ask(verb, deployment_id, change.actor, wanted.said, *more, **named)

    return await change.make(DeploymentAnswer, wanted, act)
