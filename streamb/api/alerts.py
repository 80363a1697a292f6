"""Routes for alerts, silences, channels and deliveries."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field

from streamb.api.auth import ReachDep
from streamb.api.console import Console, ConsoleDep
from streamb.api.idempotency import ChangeDep
from streamb.api.shapes import (
    IDENTIFIER,
    Answer,
    Cursor,
    FiniteOrNull,
    Limit,
    OfModel,
    OpenAnswer,
    PageAnswer,
    comment_of,
    page_of,
)
from streamb.monitoring.alerts.manager import AlertManager
from streamb.monitoring.alerts.outbox import Outbox
from streamb.monitoring.alerts.silences import Silence, SilenceOptions
from streamb.monitoring.alerts.state import AlertPhase
from streamb.monitoring.channels import Courier, DeliveryFailed
from streamb.options import NO_NUL, Strict

router = APIRouter(prefix="/api/alerts", tags=["alerts"])

OfState = Annotated[Literal["pending", "firing", "resolved"] | None, Query(description="Only those in this state.")]
OfSeverity = Annotated[
    Literal["low", "medium", "high", "critical"] | None, Query(description="Only those of this severity.")
]
SilenceId = Annotated[str, Path(pattern=IDENTIFIER, description="The silence.")]


class ChannelBody(Strict):
    """The channel to send a test alert to."""

    channel: Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL)]


class AlertAnswer(OpenAnswer):
    """One alert."""

    fingerprint: str = Field(description="Identifies the alert: a hash of its labels except the severity.")
    state: str = Field(description="pending, firing or resolved.")
    severity: str = Field(description="low, medium, high or critical.")
    labels: dict[str, str]
    annotations: dict[str, str] = Field(description="`summary`, `description`, `likely_cause`, `runbook`.")
    value: FiniteOrNull
    active_since: str
    starts_at: str | None = Field(description="When it began to fire.")
    ends_at: str | None
    silenced_by: list[str]
    inhibited_by: str | None = Field(description="The fingerprint of the worse alert that mutes this one.")
    receivers: list[str]


class SilenceAnswer(OpenAnswer):
    """A silence: matching alerts are not sent to anybody until it ends."""

    id: str
    state: str = Field(description="pending, active or expired.")
    matchers: list[str]
    author: str
    comment: str
    starts_at: str
    ends_at: str


class ChannelAnswer(OpenAnswer):
    """The state of one channel."""

    name: str
    waiting: int = Field(description="Notifications that wait for delivery.")
    left_alone: bool = Field(description="It kept failing, so it is not tried for a while.")
    counts: dict[str, int] = Field(description="Attempts by outcome since the Monitor started.")
    last_delivered_at: str | None
    last_error: str = Field(description="Why the last failed attempt failed; empty if none has failed.")
    last_error_at: str | None


class ChannelsAnswer(Answer):
    """The states of all channels."""

    items: list[ChannelAnswer]


class DeliveryAnswer(OpenAnswer):
    """The outcome of one notification."""

    notification_id: str
    channel: str
    title: str
    status: str = Field(description="What the notification reported: firing or resolved.")
    severity: str
    outcome: str = Field(description="delivered, failed (given up) or dropped (too many were waiting).")
    reason: str = Field(description="Why it failed or was dropped.")
    attempts: int
    created_at: str
    at: str = Field(description="When the outcome was recorded.")


class TrialAnswer(OpenAnswer):
    """Whether a test alert was delivered."""

    channel: str
    delivered: bool
    detail: str = Field(description="Why it was not delivered; empty if it was.")


@router.get("")
async def list_alerts(
    console: ConsoleDep,
    reach: ReachDep,
    limit: Limit = 100,
    cursor: Cursor = None,
    state: OfState = None,
    model: OfModel = None,
    severity: OfSeverity = None,
) -> PageAnswer[AlertAnswer]:
    """List alerts: firing ones first, the most severe on top. Resolved alerts stay on the list for a day.

    A key for some models sees the alerts of those only.
    """
    phase = AlertPhase(state) if state is not None else None
    asked = console.ask_monitor(AlertManager.list_alerts, limit, cursor, phase=phase, model_id=model, severity=severity)
    return page_of(AlertAnswer, await asked, lambda one: one.state.labels.get("model", "") in reach)


@router.get("/silences")
async def list_silences(console: ConsoleDep, limit: Limit = 100, cursor: Cursor = None) -> PageAnswer[SilenceAnswer]:
    """List silences, those that end last first. Expired silences stay on the list for five days."""
    page = await console.ask_monitor(AlertManager.list_silences, limit, cursor)
    return PageAnswer(items=[_silence(console, one) for one in page.items], next_cursor=page.next_cursor)


@router.post("/silences", status_code=201, response_model=SilenceAnswer)
async def create_silence(body: SilenceOptions, console: ConsoleDep, change: ChangeDep) -> Any:
    """Send no notifications for matching alerts until the silence ends. The alerts stay on the list."""

    async def act() -> SilenceAnswer:
        comment = comment_of(body.comment, body.author) if body.comment.strip() else body.comment
        asked = console.ask_monitor(
            AlertManager.silence, body.matchers, author=change.actor, comment=comment, duration_s=body.duration_s
        )
        return _silence(console, await asked)

    return await change.make(SilenceAnswer, body, act, status=201)


@router.delete("/silences/{silence_id}", response_model=SilenceAnswer)
async def end_silence(silence_id: SilenceId, console: ConsoleDep, change: ChangeDep) -> Any:
    """End a silence now. An expired silence stays unchanged."""

    async def act() -> SilenceAnswer:
        return _silence(console, await console.ask_monitor(AlertManager.expire_silence, silence_id, change.actor))

    return await change.make(SilenceAnswer, None, act)


@router.get("/channels")
async def list_channels(console: ConsoleDep) -> ChannelsAnswer:
    """List the channels: how many notifications wait for each, and when it last delivered or failed."""
    return ChannelsAnswer.model_validate({"items": await console.ask_monitor(Courier.states)})


@router.get("/deliveries")
async def list_deliveries(console: ConsoleDep, limit: Limit = 100, cursor: Cursor = None) -> PageAnswer[DeliveryAnswer]:
    """List the outcomes of notifications, the newest first. They are kept for a week."""
    return page_of(DeliveryAnswer, await console.ask_monitor(Outbox.history, limit, cursor))


@router.post("/test", response_model=TrialAnswer)
async def test_channel(body: ChannelBody, console: ConsoleDep, change: ChangeDep) -> Any:
    """Send a test alert to one channel. The status is always 200: the body says whether it was delivered."""

    async def act() -> TrialAnswer:
        try:
            await console.ask_monitor(Courier.try_channel, body.channel)
        except DeliveryFailed as error:
            return TrialAnswer(channel=body.channel, delivered=False, detail=error.message)
        return TrialAnswer(channel=body.channel, delivered=True, detail="")

    return await change.make(TrialAnswer, body, act)


def _silence(console: Console, silence: Silence) -> SilenceAnswer:
    return SilenceAnswer.model_validate(silence.to_json(console.clock.now()))
