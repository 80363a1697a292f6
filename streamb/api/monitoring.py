"""Routes of monitoring: how the platform and each model are, drift, baselines, thresholds."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from streamb.api.answers import HealthAnswer
from streamb.api.bodies import ModelId
from streamb.api.console import Console, ConsoleDep
from streamb.api.errors import as_streamb_error
from streamb.api.idempotency import Change, ChangeDep
from streamb.api.monitoring_answers import (
    BaselineAnswer,
    BaselinesAnswer,
    DriftAnswer,
    ModelHealthAnswer,
    ThresholdsAnswer,
)
from streamb.api.monitoring_bodies import (
    BASELINE_SCHEMA,
    BaselineBody,
    BaselineForm,
    OfVersion,
    OfWindow,
)
from streamb.api.tables import MAX_TABLE_BYTES, Roles, Sample, read_sample, rows_as_features
from streamb.api.uploads import receive_upload
from streamb.control.health import with_monitoring
from streamb.control.verbs import Control
from streamb.errors import InvalidInput, StreambError
from streamb.hashing import sha256_hex
from streamb.models.schema import FeatureSchema
from streamb.monitoring.baselines import Baselines
from streamb.monitoring.health.checks import Thresholds
from streamb.monitoring.monitor import MonitorCore
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.watches import Watches
from streamb.registry import LATEST, ModelVersion, Registry

router = APIRouter(prefix="/api/monitoring", tags=["monitoring"])

B = TypeVar("B", bound=BaseModel)


@router.get("/system-health")
async def system_health(console: ConsoleDep) -> HealthAnswer:
    """Is the platform well, part by part, and each model. Answers 200 in any case: the verdict is in the body."""
    return await read_health(console)


@router.get("/{model_id}/health")
async def model_health(model_id: ModelId, console: ConsoleDep, version: OfVersion = None) -> ModelHealthAnswer:
    """How a version does in service: status, reasons, the last minutes in numbers, drift."""
    wanted = await _number_of(console, model_id, version)
    return ModelHealthAnswer.model_validate(await console.ask_monitor(MonitorCore.health, model_id, wanted))


@router.get("/{model_id}/drift")
async def model_drift(
    model_id: ModelId, console: ConsoleDep, version: OfVersion = None, minutes: OfWindow = None
) -> DriftAnswer:
    """How far the newest traffic of a version is from its baseline, column by column."""
    wanted = await _number_of(console, model_id, version)
    return DriftAnswer.model_validate(await console.ask_monitor(MonitorCore.drift, model_id, wanted, minutes))


@router.get("/{model_id}/baselines")
async def model_baselines(model_id: ModelId, console: ConsoleDep, version: OfVersion = None) -> BaselinesAnswer:
    """The baselines of a model's versions, the newest first."""
    wanted = await _number_of(console, model_id, version)
    return BaselinesAnswer.model_validate({"items": await console.ask_monitor(Baselines.listed, model_id, wanted)})


@router.get("/{model_id}/thresholds")
async def model_thresholds(model_id: ModelId, console: ConsoleDep) -> ThresholdsAnswer:
    """What a model's health is judged by, and who said so."""
    await console.ask(Registry.get_model, model_id)
    return ThresholdsAnswer.model_validate(await console.ask_monitor(Watches.described, model_id))


@router.post("/{model_id}/thresholds", response_model=ThresholdsAnswer)
async def set_thresholds(model_id: ModelId, body: Thresholds, console: ConsoleDep, change: ChangeDep) -> Any:
    """What a model's health is judged by from now on; what is not named is not judged."""

    async def act() -> tuple[int, BaseModel]:
        await console.ask(Registry.get_model, model_id)
        options = body.model_dump(exclude_none=True)
        made = await console.ask_monitor(MonitorCore.set_thresholds, model_id, options, change.actor)
        return 200, ThresholdsAnswer.model_validate(made)

    return await change.once(body.canonical(), act)


@router.post("/baseline", status_code=201, response_model=BaselineAnswer, openapi_extra=BASELINE_SCHEMA)
async def set_baseline(request: Request, change: ChangeDep) -> Any:
    """What later traffic of a version is compared with: rows as JSON, a table as a form, or live traffic.

    Only counts are kept of the rows. The baseline before stays listed.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await _from_table(request, change)
    content = await request.body()
    body = await asyncio.to_thread(_read, BaselineBody, content, "body")
    return await change.once(sha256_hex(content), lambda: _from_body(body, change))


async def read_health(console: Console) -> HealthAnswer:
    """The verdict over all parts; what the Monitor says of models is joined in, where it answers."""
    report = await console.ask(Control.system_health)
    if not console.settings.monitoring_enabled:
        return HealthAnswer.model_validate(report)
    try:
        said, trouble = await console.glance(MonitorCore.overview), ""
    except StreambError as error:
        said, trouble = {}, f"{error.message}; predictions are not affected"
    return HealthAnswer.model_validate(with_monitoring(report, said, trouble))


async def _from_body(body: BaselineBody, change: Change) -> tuple[int, BaseModel]:
    console = change.console
    found = await _version_for(console, body.model_id, body.version)
    if body.from_window_minutes is not None:
        minutes, author = body.from_window_minutes, change.actor
        made = await console.ask_monitor(MonitorCore.update_baseline, found.model_id, found.version, minutes, author)
        return 201, BaselineAnswer.model_validate(made)

    def sample() -> Sample:
        features = rows_as_features(body.instances or [], FeatureSchema.from_json(found.schema))
        return Sample(features, body.predictions, body.labels, body.confidence, body.probabilities)

    async with console.learning:
        return await _put(change, found, await asyncio.to_thread(lambda: _learn(sample())))


async def _from_table(request: Request, change: Change) -> JSONResponse:
    console = change.console
    limit = "of an uploaded table"
    async with receive_upload(
        request, console.scratch, max_bytes=MAX_TABLE_BYTES, part="table", limit_name=limit
    ) as upload:
        form = _checked(BaselineForm, upload.metadata, "metadata")
        roles = Roles(form.outputs, form.labels, form.confidence, tuple(form.probabilities))

        async def act() -> tuple[int, BaseModel]:
            found = await _version_for(console, form.model_id, form.version)
            schema = FeatureSchema.from_json(found.schema)
            async with console.learning:
                data = await asyncio.to_thread(lambda: _learn(read_sample(upload.path, schema, roles)))
                return await _put(change, found, data)

        return await change.once(f"{upload.sha256}\n{form.canonical()}", act)


def _learn(sample: Sample) -> bytes:
    """The baseline of a sample. Blocks.

    Raises:
        InvalidInput: the columns cannot be used, or do not fit together; names them.
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


async def _number_of(console: Console, model_id: str, reference: str | None) -> str | None:
    """The version that is meant; where none is named the Monitor knows best, and needs no Controller for it."""
    if reference is None:
        return None
    return (await _version_for(console, model_id, reference)).version


async def _version_for(console: Console, model_id: str, reference: str | None) -> ModelVersion:
    """The version that is named, else the one that serves, else the newest."""
    if reference is None:
        status = await console.ask(Control.model_status, model_id)
        reference = status["serving_version"] or LATEST
    return await console.ask(Registry.resolve, model_id, reference)


def _read(kind: type[B], content: bytes, place: str) -> B:
    """A JSON body as its model. Blocks for a while when the body is long."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise as_streamb_error([{**one, "loc": (place, *one["loc"])} for one in error.errors()]) from None


def _checked(kind: type[B], value: Any, place: str) -> B:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise as_streamb_error([{**one, "loc": (place, *one["loc"])} for one in error.errors()]) from None
