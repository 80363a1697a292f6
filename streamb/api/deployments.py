"""Routes of deployments: bring a version into traffic, steer it, and see what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Concatenate, ParamSpec

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from streamb.api.answers import DeploymentAnswer, EventAnswer, PageAnswer, page_of
from streamb.api.auth import Caller
from streamb.api.bodies import Cursor, DeploymentBody, Id, Limit, Name, RollbackBody, SteerBody
from streamb.api.console import ConsoleDep
from streamb.api.idempotency import Change, ChangeDep
from streamb.control.verbs import Control
from streamb.errors import Forbidden, Unauthorized
from streamb.rollouts import Deployment, Rollouts

P = ParamSpec("P")

router = APIRouter(prefix="/api/deployments", tags=["deployments"])

OfModel = Annotated[Name | None, Query(description="Only those of this model.")]


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

    async def act() -> tuple[int, BaseModel]:
        made = await console.ask(
            Control.create_deployment,
            body.model_id,
            body.target_version,
            str(body.strategy),
            body.options.given,
            change.actor,
            force=body.force,
        )
        return 201, DeploymentAnswer.model_validate(made)

    return await change.once(body.canonical(), act, location="/api/deployments/{id}")


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

    async def act() -> tuple[int, BaseModel]:
        by = wanted.by.strip() or change.actor
        steered = await change.console.ask(verb, deployment_id, by, wanted.reason, *more, **named)
        return 200, DeploymentAnswer.model_validate(steered)

    return await change.once(wanted.canonical(), act)
