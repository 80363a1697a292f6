"""Routes of deployments: bring a version into traffic, and see what became of it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from streamb.api.answers import DeploymentAnswer, EventAnswer, PageAnswer, page_of
from streamb.api.auth import Caller
from streamb.api.bodies import Cursor, DeploymentBody, Id, Limit, Name
from streamb.api.console import ConsoleDep
from streamb.api.idempotency import ChangeDep
from streamb.errors import Forbidden

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

    async def act() -> tuple[int, BaseModel]:
        made = await console.ask(
            console.control.create_deployment(
                model_id=body.model_id,
                target_version=body.target_version,
                strategy=str(body.strategy),
                options=body.options.model_dump(exclude_none=True),
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
