"""Routes for versions of models: upload, read, list by owner, tag or metric, change the stage, delete."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, BaseModel, Field

from streamb.api.auth import Caller, demand_admin
from streamb.api.console import Console, ConsoleDep
from streamb.api.errors import checked
from streamb.api.idempotency import ChangeDep
from streamb.api.models import OfOwner, Tags
from streamb.api.shapes import (
    Answer,
    Cursor,
    Key,
    Limit,
    LongText,
    ModelId,
    Number,
    PageAnswer,
    Reference,
    VersionReference,
    page_of,
)
from streamb.api.uploads import Upload, form_schema, receive_upload
from streamb.errors import ArtifactUntrusted
from streamb.models.example import Example
from streamb.options import ShortText, Strict, spoken
from streamb.registry import Artifact, Lineage, ModelVersion, Registry, Stage, VersionEnvironment
from streamb.registry.semver import NOT_A_VERSION
from streamb.rollouts.controller import Rollouts
from streamb.security.principals import Principal

router = APIRouter(prefix="/api/models", tags=["models"])

_DEEPEST: Final = 16
_LONGEST_JSON: Final = 256 * 1024
_LARGEST_INT: Final = 2**63

_SEMVER: Final = (  # the one that semver.org suggests
    r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$"
)


def _storable_json(value: Any) -> Any:
    """Return `value` if every store and client can hold it: limited in size, finite, valid Unicode."""
    _check_json(value, _DEEPEST)
    if len(json.dumps(value, ensure_ascii=False).encode()) > _LONGEST_JSON:
        raise ValueError(f"longer than {_LONGEST_JSON} bytes of JSON")
    return value


def _check_json(value: Any, depth: int) -> None:
    if depth == 0:
        raise ValueError(f"nested deeper than {_DEEPEST} levels")
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError("text must be Unicode without NUL and without half characters (surrogates)")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite")
    elif isinstance(value, int) and abs(value) >= _LARGEST_INT:
        raise ValueError("whole numbers must fit in 64 bits")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _check_json(key, depth)
            _check_json(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            _check_json(inner, depth - 1)


Version = Annotated[
    str,
    Field(
        max_length=100, pattern=spoken(_SEMVER, NOT_A_VERSION), description="A semantic version.", examples=["1.0.0"]
    ),
]
JsonObject = Annotated[dict[str, Any], AfterValidator(_storable_json)]
Condition = Annotated[str, Field(max_length=500)]
WithTags = Annotated[
    tuple[Condition, ...],
    Query(max_length=20, description="Only versions with this tag, `key` or `key=value`; may be repeated."),
]

WithMetrics = Annotated[
    tuple[Condition, ...],
    Query(
        max_length=20,
        description="Only versions whose metric satisfies a condition like `accuracy>=0.9`, with `>=`, `<=`, `>`, `<` "
        "or `=`; may be repeated.",
    ),
]


class LineageBody(Strict):
    """The origin of a version: the job, data and version that it was made from."""

    job_id: ShortText | None = None
    data_digest: ShortText | None = None
    parent_version: Reference | None = None


class ModelFactsBody(Strict):
    """The model of the version: it is created together with the version, or updated."""

    name: ShortText = ""
    description: LongText = ""
    owner: ShortText = ""


class VersionBody(Strict):
    """The part `metadata` of an upload."""

    version: Version
    model: ModelFactsBody | None = None
    owner: ShortText = ""
    metadata: JsonObject = Field(default_factory=dict)
    metrics: Annotated[dict[Key, Number], Field(max_length=200)] = Field(default_factory=dict)
    hyperparameters: JsonObject = Field(default_factory=dict)
    lineage: LineageBody = Field(default_factory=LineageBody)
    tags: Tags = Field(default_factory=dict)
    environment: VersionEnvironment | None = None


class StageBody(Strict):
    """The stage to move a version to."""

    stage: Stage = Field(strict=False)


class LineageAnswer(Answer):
    """The origin of a version: the job, data and version that it was made from."""

    job_id: str | None = None
    data_digest: str | None = None
    parent_version: str | None = None


class TrialAnswer(Answer):
    """What the platform learned when it tried the version."""

    state: str = Field(description="`untried`, `loads` (its predictions are untried) or `passed`.")
    tried_at: float | None
    rows: int = Field(description="The number of example rows that it answered.")
    load_s: float | None
    memory_mb: float | None
    row_wise: bool | None = Field(description="Whether the answer to a row depends on that row alone.")
    deterministic: bool | None
    probabilities: bool | None
    distributions: dict[str, str] = Field(description="The distributions that it imported, with their versions.")
    python: str | None


class VersionAnswer(Answer):
    """One immutable version of a model."""

    model_id: str
    version: str
    digest: str = Field(description="SHA-256 of the content; equal content has an equal digest.")
    blob: str = Field(description="SHA-256 of the stored archive.")
    size_bytes: int
    framework: str
    task: str
    feature_schema: dict[str, Any] | None = Field(alias="schema", description="Names and types of the features.")
    carries_code: bool
    stage: str
    owner: str
    registered_by: str = Field(default="", description="Who registered it; empty if that is not known.")
    created_at: float
    metadata: dict[str, Any]
    metrics: dict[str, float]
    hyperparameters: dict[str, Any]
    lineage: LineageAnswer
    tags: dict[str, str]
    outputs: list[dict[str, Any]] = Field(description="Name, kind, type and shape of each output; empty if unknown.")
    classes: list[Any] | None = Field(description="The labels in the order of the columns of the probabilities.")
    trial: TrialAnswer
    environment: dict[str, list[str]] = Field(description="What is installed for its replicas alone, by pip or uv.")


_UPLOAD_SCHEMA: Final = form_schema(
    "artifact",
    "A packed artifact: what `streamb.models.pack` writes.",
    "application/zip",
    "VersionBody",
    example="Rows that the version must be able to answer: `instances`, as in a prediction request, and, if they are "
    "known, `predictions` and `probabilities`, which it must reproduce. `keep: false` keeps no row with the version.",
)


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
    """List a model's versions, the newest first. If several filters are given, all of them must hold."""
    asked = console.ask(Registry.list_versions, model_id, limit, cursor, owner=owner, tags=tag, metrics=metric)
    return page_of(VersionAnswer, await asked)


@router.post(
    "/{model_id}/versions",
    status_code=201,
    response_model=VersionAnswer,
    responses={200: {"model": VersionAnswer, "description": "The same content was registered before."}},
    openapi_extra={"requestBody": {"required": True, "content": _UPLOAD_SCHEMA}},
)
async def register_version(
    model_id: ModelId, request: Request, console: ConsoleDep, change: ChangeDep, caller: Caller
) -> Any:
    """Upload a version, which is tried before it is registered; a refused one leaves nothing.

    A version never changes: the same content is accepted again, other content is a conflict. With `model` in the
    metadata, the model is created together with the version if there is none.

    An artifact that carries code, or an environment, always needs the API key of an administrator, even in development.
    """
    limit = console.settings.max_artifact_bytes
    receiving = receive_upload(request, console.scratch, max_bytes=limit, takes_example=True)
    async with console.upload_slot(), receiving as upload:
        body = checked(VersionBody, upload.metadata, "metadata")

        async def act() -> tuple[int, BaseModel]:
            return await _register(console, model_id, body, upload, caller, change.actor)

        location = "/api/models/{model_id}/versions/{version}"
        return await change.once(f"{upload.sha256}\n{body.canonical()}", act, location=location)


async def _register(
    console: Console, model_id: str, body: VersionBody, upload: Upload, caller: Principal | None, actor: str
) -> tuple[int, BaseModel]:
    if body.model is None:  # else it may be created, once the version has passed
        await console.ask(Registry.get_model, model_id)
    registered = await console.ask(Registry.known, model_id, body.version)
    environment = body.environment.requirements if body.environment is not None else {}
    artifact = await _ingest(console, upload, registered, environment, caller=caller)
    if body.model is not None:
        await console.ask(Registry.create_model, model_id, **body.model.model_dump())
    facts = {**body.model_dump(exclude={"model", "environment"}), "lineage": Lineage(**body.lineage.model_dump())}
    made = console.ask(Registry.register_version, model_id, artifact=artifact, registered_by=actor, **facts)
    version, created = await made
    return 201 if created else 200, VersionAnswer.model_validate(version)


@router.get("/{model_id}/versions/{version}")
async def get_version(model_id: ModelId, version: VersionReference, console: ConsoleDep) -> VersionAnswer:
    """Return one version, by number, alias or `latest`."""
    return VersionAnswer.model_validate(await console.ask(Registry.resolve, model_id, version))


@router.post("/{model_id}/versions/{version}/stage", response_model=VersionAnswer)
async def set_stage(
    model_id: ModelId, version: VersionReference, body: StageBody, console: ConsoleDep, change: ChangeDep
) -> Any:
    """Move a version to another stage."""

    async def act() -> ModelVersion:
        found = await console.ask(Registry.resolve, model_id, version)
        return await console.ask(Registry.set_stage, model_id, found.version, body.stage)

    return await change.make(VersionAnswer, body, act)


@router.delete("/{model_id}/versions/{version}", response_model=VersionAnswer)
async def delete_version(model_id: ModelId, version: VersionReference, console: ConsoleDep, change: ChangeDep) -> Any:
    """Delete a version, named by its number, that no traffic needs and nothing refers to.

    Only the same content may be registered under its number again.
    """
    return await change.make(
        VersionAnswer, None, lambda: console.ask(Rollouts.delete_version, model_id, version, change.actor)
    )


async def _ingest(
    console: Console,
    upload: Upload,
    registered: ModelVersion | None,
    environment: Mapping[str, list[str]],
    *,
    caller: Principal | None,
) -> Artifact:
    """Check, try and store the archive in a thread: hashing gigabytes must not delay other requests."""
    try:
        return await asyncio.to_thread(
            console.artifacts.ingest,
            upload.path,
            may_carry_code=caller is not None and caller.admin and caller.every_model,
            registered=registered,
            example=None if upload.example is None else Example.from_json(upload.example),
            environment=environment,
        )
    except ArtifactUntrusted:
        demand_admin(caller, "an artifact that carries code, or installs packages,", for_code=True)
        raise
