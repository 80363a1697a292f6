"""Routes for monitoring: health of the platform and of each model, drift, and thresholds.

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
    WindowMinutes | None, Query(description="Length of the window in minutes; by default the one of the settings.")
]
OfVersion = Annotated[
    Reference | None, Query(description="A version, an alias, or `latest`; by default the one with the most requests.")
]


class Part(Answer):
    """One part of the platform."""

    model_config = ConfigDict(extra="allow")

    status: str
    detail: str = ""


class HealthAnswer(Answer):
    """The health of the platform, with reasons."""

    status: str = Field(description="healthy, degraded or unhealthy: the worst status of any part.")
    reasons: list[str]
    components: dict[str, Part]
    models: dict[str, Part]


class ColumnDriftAnswer(OpenAnswer):
    """The drift of one feature, one output, or all features together from the baseline."""

    name: str
    kind: str = Field(description="feature, output or multivariate.")
    status: str = Field(description="stable, drifted or insufficient_data.")
    score: FiniteOrNull = Field(description="0 to 1; 0.3 is the shift that the sensitivity names. Null: too few rows.")
    drifted: bool = Field(description="The score is above the threshold, and chance alone does not explain it.")
    p_value: FiniteOrNull = Field(description="Probability of a difference at least this large by chance.")
    shift: FiniteOrNull = Field(description="In standard deviations of a normal distribution that moved as far.")
    rows: int
    missing_rate: FiniteOrNull = Field(description="Share of rows without a value.")
    unseen_rate: FiniteOrNull = Field(description="Share of values that do not occur in the baseline.")
    detail: str = Field(description="The result as a sentence.")


class DriftAnswer(OpenAnswer):
    """The drift of a version's newest traffic from its baseline."""

    model_id: str
    version: str
    minutes: int = Field(description="Length of the window, in minutes.")
    status: str = Field(description="stable, drifted or insufficient_data.")
    overall_drift_score: float = Field(description="The highest score of any column.")
    features: dict[str, ColumnDriftAnswer]
    outputs: dict[str, ColumnDriftAnswer]
    multivariate: ColumnDriftAnswer | None = Field(description="Drift of the dependence between features.")
    rows: int
    sensitivity: str = Field(description="low, medium or high.")
    threshold: float
    summary: str


class DriftSummary(OpenAnswer):
    """A summary of drift, as a part of health."""

    status: str
    overall_drift_score: float
    summary: str
    rows: int
    drifted: list[str] = Field(description="The names of the columns that drifted.")


class ModelHealthAnswer(OpenAnswer):
    """The health of a version in service."""

    model_id: str
    version: str
    status: str = Field(description="healthy, degraded or unhealthy; unknown if nothing was received from it lately.")
    reasons: list[str]
    current_metrics: dict[str, Any] = Field(
        description="Of the last minutes: `average_latency_ms`, `p95_latency_ms`, `error_rate`, `throughput`, …"
    )
    drift_status: DriftSummary | None = Field(description="Null if there is no baseline.")
    concept: dict[str, Any] | None = Field(
        description="Concept drift, from labels compared with those of the baseline; null if it has no labels."
    )
    estimated_accuracy: dict[str, Any] | None = Field(description="Estimated from confidences, not measured.")
    rows: dict[str, int] = Field(
        description="Since monitoring began: `rows` that were counted, and those that were not: `dropped` (too many "
        "arrived), `unreadable` (they do not fit the baseline), `late` and `damaged`."
    )
    silence_s: FiniteOrNull = Field(description="Seconds since a replica last reported; null if there is no replica.")
    updated_at: float


class ThresholdsAnswer(OpenAnswer):
    """The thresholds of a model's health."""

    model_id: str
    thresholds: dict[str, float | None] = Field(description="Null if a value is not judged.")
    origin: str = Field(description="own, or settings (the defaults of the platform).")
    author: str
    at: str | None


@router.get("/system-health")
async def system_health(console: ConsoleDep) -> HealthAnswer:
    """Return the health of each part and each model. The status is always 200: the verdict is in the body."""
    return await read_health(console)


@router.get("/{model_id}/health")
async def model_health(model_id: ModelId, console: ConsoleDep, version: OfVersion = None) -> ModelHealthAnswer:
    """Return the health of a version: status, reasons, the metrics of the last minutes, and drift."""
    wanted = await number_of(console, model_id, version)
    return ModelHealthAnswer.model_validate(await console.ask_monitor(MonitorCore.health, model_id, wanted))


@router.get("/{model_id}/drift")
async def model_drift(
    model_id: ModelId, console: ConsoleDep, version: OfVersion = None, minutes: OfWindow = None
) -> DriftAnswer:
    """Return the drift of a version's newest traffic from its baseline, for each column."""
    wanted = await number_of(console, model_id, version)
    return DriftAnswer.model_validate(await console.ask_monitor(MonitorCore.drift, model_id, wanted, minutes))


@router.get("/{model_id}/thresholds")
async def model_thresholds(model_id: ModelId, console: ConsoleDep) -> ThresholdsAnswer:
    """Return the thresholds of a model's health, and who set them."""
    await console.ask(Registry.get_model, model_id)
    return ThresholdsAnswer.model_validate(await console.ask_monitor(Watches.described, model_id))


@router.post("/{model_id}/thresholds", response_model=ThresholdsAnswer)
async def set_thresholds(model_id: ModelId, body: Thresholds, console: ConsoleDep, change: ChangeDep) -> Any:
    """Set the thresholds of a model's health; values without a threshold are not judged."""

    async def act() -> dict[str, Any]:
        await console.ask(Registry.get_model, model_id)
        options = body.model_dump(exclude_none=True)
        return await console.ask_monitor(MonitorCore.set_thresholds, model_id, options, change.actor)

    return await change.make(ThresholdsAnswer, body, act)


async def read_health(console: Console) -> HealthAnswer:
    """Return the health of all parts, with what the Monitor reports of models if it answers."""
    report = await console.ask(Control.system_health)
    if not console.settings.monitoring_enabled:
        return HealthAnswer.model_validate(report)
    try:
        said, trouble = await console.glance(MonitorCore.overview), ""
    except StreambError as error:
        said, trouble = {}, f"{error.message}; predictions are not affected"
    return HealthAnswer.model_validate(with_monitoring(report, said, trouble))


async def number_of(console: Console, model_id: str, reference: str | None) -> str | None:
    """Return the version that `reference` names; None for None: the Monitor then chooses, without the Controller."""
    if reference is None:
        return None
    return (await version_for(console, model_id, reference)).version


async def version_for(console: Console, model_id: str, reference: str | None) -> ModelVersion:
    """Return the version that `reference` names; for None the one that serves, or else the latest."""
    if reference is None:
        status = await console.ask(Control.model_status, model_id)
        reference = status["serving_version"] or LATEST
    return await console.ask(Registry.resolve, model_id, reference)
