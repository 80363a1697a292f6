"""Routes for the platform itself: status, metrics, and a liveness check."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import Field

from streamb.api.auth import ReachDep
from streamb.api.console import Console, ConsoleDep
from streamb.api.models import RunningModel
from streamb.api.shapes import Answer
from streamb.control.observations import Observations
from streamb.control.verbs import Control
from streamb.errors import StreambError
from streamb.metrics import prometheus_text
from streamb.metrics.export import CONTENT_TYPE, limited_text
from streamb.monitoring.exposition import absent_text
from streamb.monitoring.monitor import MonitorCore
from streamb.version import installed_version

router = APIRouter(tags=["platform"])

open_router = APIRouter(include_in_schema=False)
"""Routes that never need an API key."""


class StatusAnswer(Answer):
    """The platform's state: versions, gateways, and the running models."""

    version: str = Field(description="The version of streamb.")
    environment: str
    url: str = Field(description="The address that this request was sent to.")
    started_at: float
    uptime_s: float
    epoch: int = Field(description="The number of the routing table; grows with every change.")
    gateways: list[dict[str, Any]]
    models: list[RunningModel]


@router.get("/api/status")
async def status(request: Request, console: ConsoleDep, reach: ReachDep) -> StatusAnswer:
    """Return the platform's state: versions, gateways, and the running models that the caller's key is good for."""
    found = await read_status(console, str(request.base_url).rstrip("/"))
    return found.model_copy(update={"models": [one for one in found.models if one.model_id in reach]})


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text."}},
)
async def metrics(console: ConsoleDep) -> Any:
    """Return request counts, durations, deployments, drift, health and more, in Prometheus' text format."""
    snapshots = await console.ask(Observations.snapshots)
    gateways = await console.ask(Control.live_gateways)
    text = prometheus_text(snapshots, gateways=gateways, version=installed_version())
    text += limited_text(await console.ask(Observations.limited))
    text += await console.ask(Control.deployment_metrics)
    return Response(text + await _monitor_text(console), media_type=CONTENT_TYPE)


@open_router.api_route("/healthz", methods=["GET", "HEAD"])
async def healthz() -> PlainTextResponse:
    """Answer `ok` while this process works; the rest of the platform is not checked."""
    return PlainTextResponse("ok\n")


async def _monitor_text(console: Console) -> bytes:
    """Return the Monitor's metrics; if it does not answer, a metric that reports that, so that the scrape succeeds."""
    try:
        return await console.glance(MonitorCore.exposition)
    except StreambError:
        return absent_text()


async def read_status(console: Console, url: str) -> StatusAnswer:
    """Return the platform's state, with `url` as its address if it knows none."""
    known = dict(await console.ask(Control.status))
    return StatusAnswer.model_validate({"version": installed_version(), **known, "url": known.get("url") or url})
