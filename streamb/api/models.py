"""Routes for models: names, owners, tags and aliases, and the versions that run."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from streamb.api.auth import ReachDep
from streamb.api.console import ConsoleDep
from streamb.api.deployments import DeploymentAnswer, SteerBody
from streamb.api.idempotency import ChangeDep
from streamb.api.shapes import Answer, Cursor, Limit, LongText, ModelId, Name, PageAnswer, Reference, TagName, page_of
from streamb.control.verbs import Control
from streamb.options import ShortText, Strict, spoken
from streamb.registry import MOST_TAGS, Registry
from streamb.registry.model import ALIAS, NOT_AN_ALIAS
from streamb.rollouts.controller import Rollouts

router = APIRouter(prefix="/api/models", tags=["models"])

Alias = Annotated[str, Path(pattern=spoken(rf"^{ALIAS}$", NOT_AN_ALIAS), description="`champion`, `challenger`, …")]
OfOwner = Annotated[str | None, Query(max_length=200, description="Only those of this owner; matched exactly.")]
Tags = Annotated[dict[TagName, ShortText], Field(max_length=MOST_TAGS)]


class ModelBody(Strict):
    """A model to create or update: values that are not empty replace the existing ones."""

    model_id: Name
    name: ShortText = ""
    description: LongText = ""
    owner: ShortText = ""
    tags: Tags = Field(default_factory=dict)


class TagsBody(Strict):
    """The new set of tags of a model; tags that are not in it are removed."""

    tags: Tags


class AliasBody(Strict):
    """The version that an alias refers to."""

    version: Reference


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


class RunningVersion(Answer):
    """The app of one version, with its replicas."""

    version: str
    app: str
    state: str
    replicas: int
    weight: float = Field(default=0.0, description="Percent of the model's traffic that this version gets.")
    reason: str = ""


class RunningModel(Answer):
    """The running versions of one model."""

    model_id: str
    serving_version: str | None
    versions: list[RunningVersion]
    requests: dict[str, Any] = Field(default_factory=dict)


class UndeploymentAnswer(Answer):
    """A model that was taken out of traffic; its status shows this until its last app has stopped."""

    model_id: str
    version: str = Field(description="The version that served.")
    apps: list[str] = Field(description="The apps that stop as soon as their last request is answered.")
    at: float
    by: str
    reason: str


class ModelStatusAnswer(RunningModel):
    """The running versions of one model, its newest deployment, and whether it is being undeployed."""

    deployment: DeploymentAnswer | None = None
    undeployment: UndeploymentAnswer | None = Field(default=None, description="Until the last app has stopped.")


@router.get("")
async def list_models(
    console: ConsoleDep, reach: ReachDep, limit: Limit = 100, cursor: Cursor = None, owner: OfOwner = None
) -> PageAnswer[ModelAnswer]:
    """List the registered models. A key for some models sees only those."""
    page = await console.ask(Registry.list_models, limit, cursor, owner=owner)
    return page_of(ModelAnswer, page, lambda one: one.model_id in reach)


@router.post("", status_code=201, response_model=ModelAnswer)
async def create_model(body: ModelBody, console: ConsoleDep, change: ChangeDep, reach: ReachDep) -> Any:
    """Register a model, or update its description. Versions are uploaded separately."""
    reach.demand(body.model_id)
    return await change.make(
        ModelAnswer,
        body,
        lambda: console.ask(Registry.create_model, **body.model_dump()),
        status=201,
        location="/api/models/{model_id}",
    )


@router.get("/{model_id}")
async def get_model(model_id: ModelId, console: ConsoleDep) -> ModelAnswer:
    """Return one model."""
    return ModelAnswer.model_validate(await console.ask(Registry.get_model, model_id))


@router.get("/{model_id}/status")
async def model_status(model_id: ModelId, console: ConsoleDep) -> ModelStatusAnswer:
    """Return a model's running versions, its request counts, its newest deployment, and its undeployment."""
    return ModelStatusAnswer.model_validate(await console.ask(Control.model_status, model_id))


@router.post("/{model_id}/undeploy", response_model=UndeploymentAnswer)
async def undeploy_model(
    model_id: ModelId, console: ConsoleDep, change: ChangeDep, body: SteerBody | None = None
) -> Any:
    """Take a model out of traffic and stop its versions. The answer comes at once; requests in flight are answered."""
    wanted = body or SteerBody()
    return await change.make(
        UndeploymentAnswer, wanted, lambda: console.ask(Rollouts.undeploy, model_id, change.actor, wanted.said)
    )


@router.put("/{model_id}/aliases/{alias}", response_model=ModelAnswer)
async def set_alias(model_id: ModelId, alias: Alias, body: AliasBody, console: ConsoleDep, change: ChangeDep) -> Any:
    """Make an alias refer to a version."""
    return await change.make(ModelAnswer, body, lambda: console.ask(Registry.set_alias, model_id, alias, body.version))


@router.delete("/{model_id}/aliases/{alias}", response_model=ModelAnswer)
async def delete_alias(model_id: ModelId, alias: Alias, console: ConsoleDep, change: ChangeDep) -> Any:
    """Delete an alias."""
    return await change.make(ModelAnswer, None, lambda: console.ask(Registry.delete_alias, model_id, alias))


@router.put("/{model_id}/tags", response_model=ModelAnswer)
async def set_tags(model_id: ModelId, body: TagsBody, console: ConsoleDep, change: ChangeDep) -> Any:
    """Replace all tags of a model."""
    return await change.make(ModelAnswer, body, lambda: console.ask(Registry.set_tags, model_id, body.tags))
