"""Monitoring: how the platform and each model are, drift, and what health is judged by.

Shares are 0 to 1; times are seconds since the Unix epoch, or ISO 8601 (UTC) where they are text.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from streamb.api.console import Console, ConsoleDep
from streamb.api.idempotency import ChangeDep
from streamb.api.shapes import Answer, FiniteOrNull, ModelId, OpenAnswer, Reference
from streamb.control.health import with_monitoring
from streamb.control.verbs import Control
from streamb.errors import StreambError
from streamb.monitoring.health.checks import Thresholds
from streamb.monitoring.monitor import MonitorCore
from streamb.monitoring.watches import Watches
from streamb.options import WindowMinutes
from streamb.registry import LATEST, ModelVersion, Registry

router = APIRouter(prefix="/api/monitoring", tags=["monitoring"])

OfWindow = Annotated[
    WindowMinutes | None, Query(description="Length of the window that is compared; by default the newest.")
]
OfVersion = Annotated[
    Reference | None, Query(description="A version, an alias, or `latest`; by default the one that is asked most.")
]


class Part(Answer):
    """One part of the platform."""

    model_config = ConfigDict(extra="allow")

    status: str
    detail: str = ""


class HealthAnswer(Answer):
    """Is the platform well, and if not, why."""

    status: str = Field(description="healthy, degraded or unhealthy: the worst of the parts.")
    reasons: list[str]
    components: dict[str, Part]
    models: dict[str, Part]


class ColumnDriftAnswer(OpenAnswer):
    """How far one feature, one output, or all features together are from the baseline."""

    name: str
    kind: str = Field(description="feature, output or multivariate.")
    status: str = Field(description="stable, drifted or insufficient_data.")
    score: FiniteOrNull = Field(description="0 to 1; 0.3 is the shift that the sensitivity names. Null: too few rows.")
    drifted: bool = Field(description="The score is above the threshold, and that is more than chance explains.")
    p_value: FiniteOrNull = Field(description="How probable so large a difference is by chance.")
    shift: FiniteOrNull = Field(description="In standard deviations of a normal distribution that moves as far.")
    rows: int
    missing_rate: FiniteOrNull = Field(description="Share of rows without a value.")
    unseen_rate: FiniteOrNull = Field(description="Share of values that the baseline has none like.")
    detail: str = Field(description="The same in words.")


class DriftAnswer(OpenAnswer):
    """The newest traffic of a version beside its baseline."""

    model_id: str
    version: str
    minutes: int = Field(description="Length of the window.")
    status: str = Field(description="stable, drifted or insufficient_data.")
    overall_drift_score: float = Field(description="The highest score.")
    features: dict[str, ColumnDriftAnswer]
    outputs: dict[str, ColumnDriftAnswer]
    multivariate: ColumnDriftAnswer | None = Field(description="How the features hang together.")
    rows: int
    sensitivity: str = Field(description="low, medium or high.")
    threshold: float
    summary: str


class DriftSummary(OpenAnswer):
    """Drift as a part of health."""

    status: str
    overall_drift_score: float
    summary: str
    rows: int
    drifted: list[str] = Field(description="The columns that drifted.")


class ModelHealthAnswer(OpenAnswer):
    """How a version does in service."""

    model_id: str
    version: str
    status: str = Field(description="healthy, degraded, unhealthy; or unknown: nothing was heard of it lately.")
    reasons: list[str]
    current_metrics: dict[str, Any] = Field(
        description="Of the last minutes: `average_latency_ms`, `p95_latency_ms`, `error_rate`, `throughput`, …"
    )
    drift_status: DriftSummary | None = Field(description="Null: there is no baseline.")
    concept: dict[str, Any] | None = Field(
        description="What labels say against those of the baseline; null: it has none."
    )
    estimated_accuracy: dict[str, Any] | None = Field(description="Expected from confidences, not measured.")
    rows: dict[str, int] = Field(
        description="Since monitoring began: `rows` counted; not counted are those `dropped` (more came than could be "
        "counted), `unreadable` (they do not fit the baseline), `late` and `damaged`."
    )
    silence_s: FiniteOrNull = Field(description="Seconds since a replica was heard of; null: none is there.")
    updated_at: float


class ThresholdsAnswer(OpenAnswer):
    """What a model's health is judged by."""

    model_id: str
    thresholds: dict[str, float | None] = Field(description="Null: not judged.")
    origin: str = Field(description="own, or settings: the defaults of the platform.")
    author: str
    at: str | None


@router.get("/system-health")
async def system_health(console: ConsoleDep) -> HealthAnswer:
    """Is the platform well, part by part, and each model. Answers 200 in any case: the verdict is in the body."""
    return await read_health(console)


@router.get("/{model_id}/health")
async def model_health(model_id: ModelId, console: ConsoleDep, version: OfVersion = None) -> ModelHealthAnswer:
    """How a version does in service: status, reasons, the last minutes in numbers, drift."""
    wanted = await number_of(console, model_id, version)
    return ModelHealthAnswer.model_validate(await console.ask_monitor(MonitorCore.health, model_id, wanted))


@router.get("/{model_id}/drift")
async def model_drift(
    model_id: ModelId, console: ConsoleDep, version: OfVersion = None, minutes: OfWindow = None
) -> DriftAnswer:
    """How far the newest traffic of a version is from its baseline, column by column."""
    wanted = await number_of(console, model_id, version)
    return DriftAnswer.model_validate(await console.ask_monitor(MonitorCore.drift, model_id, wanted, minutes))


@router.get("/{model_id}/thresholds")
async def model_thresholds(model_id: ModelId, console: ConsoleDep) -> ThresholdsAnswer:
    """What a model's health is judged by, and who said so."""
    await console.ask(Registry.get_model, model_id)
    return ThresholdsAnswer.model_validate(await console.ask_monitor(Watches.described, model_id))


@router.post("/{model_id}/thresholds", response_model=ThresholdsAnswer)
async def set_thresholds(model_id: ModelId, body: Thresholds, console: ConsoleDep, change: ChangeDep) -> Any:
    """What a model's health is judged by from now on; what is not named is not judged."""

    async def act() -> dict[str, Any]:
        await console.ask(Registry.get_model, model_id)
        options = body.model_dump(exclude_none=True)
        return await console.ask_monitor(MonitorCore.set_thresholds, model_id, options, change.actor)

    return await change.make(ThresholdsAnswer, body, act)


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


async def number_of(console: Console, model_id: str, reference: str | None) -> str | None:
    """The version that is meant; where none is named the Monitor knows best, and needs no Controller for it."""
    if reference is None:
        return None
    return (await version_for(console, model_id, reference)).version


async def version_for(console: Console, model_id: str, reference: str | None) -> ModelVersion:
    """The version that is named, else the one that serves, else the newest."""
    if reference is None:
        status = await console.ask(Control.model_status, model_id)
        reference = status["serving_version"] or LATEST
    return await console.ask(Registry.resolve, model_id, reference)
