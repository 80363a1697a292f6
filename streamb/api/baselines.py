"""Baselines: what later traffic of a version is compared with, from rows, a table, or live traffic."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, model_validator

from streamb.api.auth import Reach, ReachDep
from streamb.api.console import ConsoleDep
from streamb.api.errors import checked
from streamb.api.idempotency import Change, ChangeDep
from streamb.api.monitoring import OfVersion, number_of, version_for
from streamb.api.shapes import Answer, Key, ModelId, Name, Number, OpenAnswer, Reference
from streamb.api.tables import MAX_TABLE_BYTES, Roles, Sample, read_sample, rows_as_features
from streamb.api.uploads import form_schema, receive_upload
from streamb.errors import InvalidInput, UnsupportedMediaType
from streamb.hashing import sha256_hex
from streamb.models.schema import FeatureSchema
from streamb.monitoring.baselines import Baselines
from streamb.monitoring.monitor import MonitorCore
from streamb.monitoring.profiles.baseline import Baseline
from streamb.options import Share, Strict, WindowMinutes
from streamb.registry import ModelVersion

router = APIRouter(prefix="/api/monitoring", tags=["monitoring"])

_CONTENT: Final = {
    "application/json": {"schema": {"$ref": "#/components/schemas/BaselineBody"}},
    **form_schema(
        "table",
        "Parquet, or CSV in UTF-8 with the column names on top.",
        "application/vnd.apache.parquet, text/csv",
        "BaselineForm",
    ),
}

Column = Annotated[Key | None, Field(description="Name of the column, if the table has it.")]


class BaselineBody(Strict):
    """A baseline for later traffic of a version, made of rows or of its recent traffic."""

    model_id: Name
    version: Reference | None = Field(default=None, description="By default the version that serves.")
    instances: Annotated[list[Any], Field(min_length=1)] | None = Field(
        default=None, description="Rows: lists in the order of the features, or objects with the features by name."
    )
    predictions: list[Any] | None = Field(default=None, description="The version's predictions, one for each row.")
    labels: list[Any] | None = Field(default=None, description="The true values, one for each row.")
    confidence: list[Share] | None = Field(default=None, description="Confidence of each prediction, 0 to 1.")
    probabilities: list[list[Number]] | None = Field(default=None, description="Class probabilities, a list per row.")
    from_window_minutes: WindowMinutes | None = Field(
        default=None, description="Instead of rows: the live traffic of the last minutes becomes the baseline."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.instances is None) == (self.from_window_minutes is None):
            raise ValueError("give either `instances` or `from_window_minutes`")
        beside = ("predictions", "labels", "confidence", "probabilities")
        if self.instances is None and any(getattr(self, name) is not None for name in beside):
            raise ValueError(f"{', '.join(beside)} belong to `instances`")
        return self


class BaselineForm(Strict):
    """The `metadata` part of an uploaded table. Every column that is not named here is a feature."""

    model_id: Name
    version: Reference | None = Field(default=None, description="By default the version that serves.")
    predictions: Key | Annotated[list[Key], Field(max_length=1_000)] | None = Field(
        default=None, description="Name of the column of predictions, or names if the version has several outputs."
    )
    labels: Column = None
    confidence: Column = None
    probabilities: Annotated[list[Key], Field(max_length=1_000)] = Field(
        default_factory=list, description="Names of the columns with class probabilities."
    )

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the columns of predictions."""
        if self.predictions is None:
            return ()
        return (self.predictions,) if isinstance(self.predictions, str) else tuple(self.predictions)


class BaselineAnswer(OpenAnswer):
    """One baseline of one version."""

    model_id: str
    version: str
    number: int = Field(description="1, 2, 3… per version; the highest is in force.")
    baseline_id: str = Field(description="Digest of its content.")
    rows: int
    columns: list[str]
    origin: str = Field(description="upload or live.")
    author: str
    created_at: float
    active: bool
    learning: bool = Field(description="Still being collected from live traffic: nothing is compared with it yet.")


class BaselinesAnswer(Answer):
    """All baselines of a model's versions."""

    items: list[BaselineAnswer]


@router.get("/{model_id}/baselines")
async def model_baselines(model_id: ModelId, console: ConsoleDep, version: OfVersion = None) -> BaselinesAnswer:
    """List the baselines of a model's versions, the newest first."""
    wanted = await number_of(console, model_id, version)
    return BaselinesAnswer.model_validate({"items": await console.ask_monitor(Baselines.listed, model_id, wanted)})


@router.post(
    "/baseline",
    status_code=201,
    response_model=BaselineAnswer,
    openapi_extra={"requestBody": {"required": True, "content": _CONTENT}},
)
async def set_baseline(request: Request, change: ChangeDep, reach: ReachDep) -> Any:
    """Set the baseline of a version from rows (JSON), a table (form upload) or live traffic.

    Only counts of the rows are kept. The previous baseline stays on the list.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await _from_table(request, change, reach)
    content = await request.body()
    body = await asyncio.to_thread(checked, BaselineBody, content, "body")
    if "content-type" not in request.headers:
        raise UnsupportedMediaType("send the body as JSON, with Content-Type: application/json")
    reach.demand(body.model_id)
    return await change.once(sha256_hex(content), lambda: _from_body(body, change))


async def _from_body(body: BaselineBody, change: Change) -> tuple[int, BaseModel]:
    console = change.console
    found = await version_for(console, body.model_id, body.version)
    if body.from_window_minutes is not None:
        minutes, author = body.from_window_minutes, change.actor
        made = await console.ask_monitor(MonitorCore.update_baseline, found.model_id, found.version, minutes, author)
        return 201, BaselineAnswer.model_validate(made)

    def sample() -> Sample:
        features = rows_as_features(body.instances or [], FeatureSchema.from_json(found.schema))
        return Sample(features, body.predictions, body.labels, body.confidence, body.probabilities)

    async with console.learning:
        return await _put(change, found, await asyncio.to_thread(lambda: _learn(sample())))


async def _from_table(request: Request, change: Change, reach: Reach) -> JSONResponse:
    console = change.console
    limit = "of an uploaded table"
    async with receive_upload(
        request, console.scratch, max_bytes=MAX_TABLE_BYTES, part="table", limit_name=limit
    ) as upload:
        form = checked(BaselineForm, upload.metadata, "metadata")
        reach.demand(form.model_id)
        roles = Roles(form.outputs, form.labels, form.confidence, tuple(form.probabilities))

        async def act() -> tuple[int, BaseModel]:
            found = await version_for(console, form.model_id, form.version)
            schema = FeatureSchema.from_json(found.schema)
            async with console.learning:
                data = await asyncio.to_thread(lambda: _learn(read_sample(upload.path, schema, roles)))
                return await _put(change, found, data)

        return await change.once(f"{upload.sha256}\n{form.canonical()}", act)


def _learn(sample: Sample) -> bytes:
    """Return the baseline of a sample, as bytes. Blocks.

    Raises:
        InvalidInput: the columns cannot be used, or do not fit together; the message names them.
    """
    beside = {"probabilities": sample.probabilities, "confidence": sample.confidence}
    try:
        return Baseline.learn(sample.features, sample.predictions, sample.labels, **beside).to_bytes()
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"no baseline can be learnt from these values: {error}") from error


async def _put(change: Change, found: ModelVersion, data: bytes) -> tuple[int, BaseModel]:
    features = FeatureSchema.from_json(found.schema).names
    asked = change.console.ask_monitor(
        MonitorCore.set_baseline, found.model_id, found.version, data, change.actor, features
    )
    return 201, BaselineAnswer.model_validate(await asked)
