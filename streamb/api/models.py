"""Routes of the registry: models, their versions, aliases, stages and tags."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field, ValidationError

from streamb.api.answers import ModelAnswer, ModelStatusAnswer, PageAnswer, VersionAnswer, page_of
from streamb.api.auth import Caller
from streamb.api.bodies import (
    AliasBody,
    Cursor,
    Limit,
    ModelBody,
    ModelId,
    StageBody,
    TagsBody,
    VersionBody,
    VersionReference,
)
from streamb.api.console import Console, ConsoleDep
from streamb.api.errors import as_streamb_error
from streamb.api.idempotency import ChangeDep
from streamb.api.uploads import UPLOAD_SCHEMA, Upload, receive_upload
from streamb.control.verbs import Control
from streamb.errors import ArtifactUntrusted, NotFound, Unauthorized
from streamb.registry import Artifact, Lineage, ModelVersion, Registry

router = APIRouter(prefix="/api/models", tags=["models"])

Alias = Annotated[str, Path(pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,99}$", description="`champion`, `challenger`, …")]

OfOwner = Annotated[str | None, Query(max_length=200, description="Only those of exactly this owner.")]
Condition = Annotated[str, Field(max_length=500)]
WithTags = Annotated[
    tuple[Condition, ...],
    Query(max_length=20, description="Only versions with this tag, `key` or `key=value`; may be repeated."),
]
WithMetrics = Annotated[
    tuple[Condition, ...],
    Query(
        max_length=20,
        description="Only versions for whose metric this holds, such as `accuracy>=0.9`, with `>=`, `<=`, `>`, `<` "
        "or `=`; may be repeated.",
    ),
]


@router.get("")
async def list_models(
    console: ConsoleDep, limit: Limit = 100, cursor: Cursor = None, owner: OfOwner = None
) -> PageAnswer[ModelAnswer]:
    """Every registered model."""
    return page_of(ModelAnswer, await console.ask(Registry.list_models, limit, cursor, owner=owner))


@router.post("", status_code=201, response_model=ModelAnswer)
async def create_model(body: ModelBody, console: ConsoleDep, change: ChangeDep) -> Any:
    """Register a model, or bring what is known of it up to date. Versions follow by upload."""

    async def act() -> tuple[int, BaseModel]:
        made = await console.ask(Registry.create_model, **body.model_dump())
        return 201, ModelAnswer.model_validate(made)

    return await change.once(body.canonical(), act, location="/api/models/{model_id}")


@router.get("/{model_id}")
async def get_model(model_id: ModelId, console: ConsoleDep) -> ModelAnswer:
    """One model."""
    return ModelAnswer.model_validate(await console.ask(Registry.get_model, model_id))


@router.get("/{model_id}/status")
async def model_status(model_id: ModelId, console: ConsoleDep) -> ModelStatusAnswer:
    """What runs for a model, what it is asked, and its newest deployment."""
    return ModelStatusAnswer.model_validate(await console.ask(Control.model_status, model_id))


@router.get("/{model_id}/versions")
async def list_versions(
    model_id: ModelId,
    console: ConsoleDep,
    limit: Limit = 100,
    cursor: Cursor = None,
    owner: OfOwner = None,
    tag: WithTags = (),
    metric: WithMetrics = (),
) -> PageAnswer[VersionAnswer]:
    """A model's versions, the newest first. Where filters are given, all of them must hold."""
    asked = console.ask(Registry.list_versions, model_id, limit, cursor, owner=owner, tags=tag, metrics=metric)
    return page_of(VersionAnswer, await asked)


@router.post(
    "/{model_id}/versions",
    status_code=201,
    response_model=VersionAnswer,
    responses={200: {"model": VersionAnswer, "description": "The same content was registered before."}},
    openapi_extra=UPLOAD_SCHEMA,
)
async def register_version(
    model_id: ModelId, request: Request, console: ConsoleDep, change: ChangeDep, caller: Caller
) -> Any:
    """Upload a version. A version never changes: the same content again is fine, other content is a conflict.

    An artifact that carries code needs an API key, even where nothing else does.
    """
    limit = console.settings.max_artifact_bytes
    async with console.upload_slot(), receive_upload(request, console.scratch, max_bytes=limit) as upload:
        body = _version_body(upload)

        async def act() -> tuple[int, BaseModel]:
            # An upload to a model that does not exist should not be unpacked and stored first.
            await console.ask(Registry.get_model, model_id)
            registered = await _registered(console, model_id, body.version)
            artifact = await _ingest(console, upload, registered, trusted_caller=caller is not None)
            facts = {**body.model_dump(), "lineage": Lineage(**body.lineage.model_dump())}
            version, created = await console.ask(Registry.register_version, model_id, artifact=artifact, **facts)
            return 201 if created else 200, VersionAnswer.model_validate(version)

        location = "/api/models/{model_id}/versions/{version}"
        return await change.once(f"{upload.sha256}\n{body.canonical()}", act, location=location)


@router.get("/{model_id}/versions/{version}")
async def get_version(model_id: ModelId, version: VersionReference, console: ConsoleDep) -> VersionAnswer:
    """One version, by number, alias or `latest`."""
    return VersionAnswer.model_validate(await console.ask(Registry.resolve, model_id, version))


@router.post("/{model_id}/versions/{version}/stage", response_model=VersionAnswer)
async def set_stage(
    model_id: ModelId, version: VersionReference, body: StageBody, console: ConsoleDep, change: ChangeDep
) -> Any:
    """Move a version to another stage."""

    async def act() -> tuple[int, BaseModel]:
        found = await console.ask(Registry.resolve, model_id, version)
        moved = await console.ask(Registry.set_stage, model_id, found.version, body.stage)
        return 200, VersionAnswer.model_validate(moved)

    return await change.once(body.canonical(), act)


@router.put("/{model_id}/aliases/{alias}", response_model=ModelAnswer)
async def set_alias(model_id: ModelId, alias: Alias, body: AliasBody, console: ConsoleDep, change: ChangeDep) -> Any:
    """Let an alias name a version."""

    async def act() -> tuple[int, BaseModel]:
        return 200, ModelAnswer.model_validate(await console.ask(Registry.set_alias, model_id, alias, body.version))

    return await change.once(body.canonical(), act)


@router.delete("/{model_id}/aliases/{alias}", response_model=ModelAnswer)
async def delete_alias(model_id: ModelId, alias: Alias, console: ConsoleDep, change: ChangeDep) -> Any:
    """Forget an alias."""

    async def act() -> tuple[int, BaseModel]:
        return 200, ModelAnswer.model_validate(await console.ask(Registry.delete_alias, model_id, alias))

    return await change.once("", act)


@router.put("/{model_id}/tags", response_model=ModelAnswer)
async def set_tags(model_id: ModelId, body: TagsBody, console: ConsoleDep, change: ChangeDep) -> Any:
    """Replace all tags of a model."""

    async def act() -> tuple[int, BaseModel]:
        return 200, ModelAnswer.model_validate(await console.ask(Registry.set_tags, model_id, body.tags))

    return await change.once(body.canonical(), act)


def _version_body(upload: Upload) -> VersionBody:
    try:
        return VersionBody.model_validate(upload.metadata)
    except ValidationError as error:
        problems = [{**problem, "loc": ("metadata", *problem["loc"])} for problem in error.errors()]
        raise as_streamb_error(problems) from None


async def _registered(console: Console, model_id: str, version: str) -> ModelVersion | None:
    try:
        return await console.ask(Registry.resolve, model_id, version)
    except NotFound:
        return None


async def _ingest(
    console: Console, upload: Upload, registered: ModelVersion | None, *, trusted_caller: bool
) -> Artifact:
    """Check and store the archive, off the event loop: hashing gigabytes must not hold up other requests."""
    try:
        return await asyncio.to_thread(
            console.artifacts.ingest, upload.path, may_carry_code=trusted_caller, registered=registered
        )
    except ArtifactUntrusted as error:
        if trusted_caller:
            raise
        raise Unauthorized(f"{error.message}; code is only taken from callers with an API key") from error
