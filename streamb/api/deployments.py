"""Routes of deployments: bring a version into traffic, steer it, and see what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from streamb.api.answers import DeploymentAnswer, EventAnswer, PageAnswer, page_of
from streamb.api.auth import Caller
from streamb.api.bodies import Cursor, DeploymentBody, Id, Limit, Name, RollbackBody, SteerBody
from streamb.api.console import ConsoleDep
from streamb.api.idempotency import Change, ChangeDep
from streamb.errors import Forbidden, Unauthorized
from streamb.rollouts import Deployment

router = APIRouter(prefix="/api/deployments", tags=["deployments"])

OfModel = Annotated[Name | None, Query(description="Only those of this model.")]


@router.get("")
async def list_deployments(
    console: ConsoleDep, limit: Limit = 100, cursor: Cursor = None, model_id: OfModel = None
) -> PageAnswer[DeploymentAnswer]:
    """Deployments, the newest first."""
    page = console.control.list_deployments(limit=limit, cursor=cursor, model_id=model_id)
    return page_of(DeploymentAnswer, await console.ask(page))


@router.post("", status_code=201, response_model=DeploymentAnswer)
async def create_deployment(body: DeploymentBody, console: ConsoleDep, change: ChangeDep, caller: Caller) -> Any:
    """Begin to bring a version into traffic. Follow it at the address in `Location`."""
    if body.force and (caller is None or not caller.admin):
        raise Forbidden("`force` needs the API key of an administrator")
    if body.options.runs_code and caller is None:
        raise Unauthorized("criteria of your own run code on the cluster, so they need an API key even in development")

    async def act() -> tuple[int, BaseModel]:
        made = await console.ask(
            console.control.create_deployment(
                model_id=body.model_id,
                target_version=body.target_version,
                strategy=str(body.strategy),
                options=body.options.given,
                actor=change.actor,
                force=body.force,
            )
        )
        return 201, DeploymentAnswer.model_validate(made)

    return await change.once(body.canonical(), act, location="/api/deployments/{id}")


@router.get("/history")
async def deployment_history(
    console: ConsoleDep, limit: Limit = 100, cursor: Cursor = None, model_id: OfModel = None
) -> PageAnswer[EventAnswer]:
    """What happened to deployments, the newest first."""
    page = console.control.deployment_history(limit=limit, cursor=cursor, model_id=model_id)
    return page_of(EventAnswer, await console.ask(page))


@router.get("/{deployment_id}")
async def get_deployment(deployment_id: Id, console: ConsoleDep) -> DeploymentAnswer:
    """One deployment."""
    found = await console.ask(console.control.get_deployment(deployment_id=deployment_id))
    return DeploymentAnswer.model_validate(found)


@router.post("/{deployment_id}/approve", response_model=DeploymentAnswer)
async def approve_deployment(
    deployment_id: Id, console: ConsoleDep, change: ChangeDep, body: SteerBody | None = None
) -> Any:
    """Let a deployment that awaits approval go on. Its author may not."""
    return await _steer(console.control.approve_deployment, deployment_id, body or SteerBody(), change)


@router.post("/{deployment_id}/pause", response_model=DeploymentAnswer)
async def pause_deployment(
    deployment_id: Id, console: ConsoleDep, change: ChangeDep, body: SteerBody | None = None
) -> Any:
    """Stay at the present weight until resumed."""
    return await _steer(console.control.pause_deployment, deployment_id, body or SteerBody(), change)


@router.post("/{deployment_id}/resume", response_model=DeploymentAnswer)
async def resume_deployment(
    deployment_id: Id, console: ConsoleDep, change: ChangeDep, body: SteerBody | None = None
) -> Any:
    """Go on after a pause."""
    return await _steer(console.control.resume_deployment, deployment_id, body or SteerBody(), change)


@router.post("/{deployment_id}/promote", response_model=DeploymentAnswer)
async def promote_deployment(
    deployment_id: Id, console: ConsoleDep, change: ChangeDep, body: SteerBody | None = None
) -> Any:
    """Skip the remaining steps: all traffic to the target version."""
    return await _steer(console.control.promote_deployment, deployment_id, body or SteerBody(), change)


@router.post("/{deployment_id}/abort", response_model=DeploymentAnswer)
async def abort_deployment(
    deployment_id: Id, console: ConsoleDep, change: ChangeDep, body: SteerBody | None = None
) -> Any:
    """Stop, and give all traffic back to the version before."""
    return await _steer(console.control.abort_deployment, deployment_id, body or SteerBody(), change)


@router.post("/{deployment_id}/rollback", response_model=DeploymentAnswer)
async def rollback_deployment(
    deployment_id: Id, console: ConsoleDep, change: ChangeDep, body: RollbackBody | None = None
) -> Any:
    """Give all traffic back to the version before, or to an earlier one; also after completion."""
    wanted = body or RollbackBody()
    verb = console.control.rollback_deployment
    return await _steer(verb, deployment_id, wanted, change, to_version=wanted.to_version)


async def _steer(
    verb: Callable[..., Awaitable[Deployment]], deployment_id: str, body: SteerBody, change: Change, **more: str | None
) -> JSONResponse:
    async def act() -> tuple[int, BaseModel]:
        by = body.by.strip() or change.actor
        steered = verb(deployment_id=deployment_id, by=by, reason=body.reason, **more)
        return 200, DeploymentAnswer.model_validate(await change.console.ask(steered))

    return await change.once(body.canonical(), act)
