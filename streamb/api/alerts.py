"""Routes of alerts: what fires, silences, channels and what they delivered."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from streamb.api.answers import PageAnswer, page_of
from streamb.api.bodies import Cursor, Limit
from streamb.api.console import Console, ConsoleDep
from streamb.api.idempotency import ChangeDep
from streamb.api.monitoring_answers import AlertAnswer, ChannelsAnswer, DeliveryAnswer, SilenceAnswer, TrialAnswer
from streamb.api.monitoring_bodies import ChannelBody, OfModel, OfSeverity, OfState, SilenceId
from streamb.monitoring.alerts.manager import AlertManager
from streamb.monitoring.alerts.outbox import Outbox
from streamb.monitoring.alerts.silences import Silence, SilenceOptions
from streamb.monitoring.alerts.state import AlertPhase
from streamb.monitoring.channels import Courier, DeliveryFailed

router = APIRouter(prefix="/api/alerts", tags=["alerts"])


@router.get("")
async def list_alerts(
    console: ConsoleDep,
    limit: Limit = 100,
    cursor: Cursor = None,
    state: OfState = None,
    model: OfModel = None,
    severity: OfSeverity = None,
) -> PageAnswer[AlertAnswer]:
    """Alerts: what fires first, the worst of it first; what was resolved stays on the list for a day."""
    phase = AlertPhase(state) if state is not None else None
    asked = console.ask_monitor(AlertManager.list_alerts, limit, cursor, phase=phase, model_id=model, severity=severity)
    return page_of(AlertAnswer, await asked)


@router.get("/silences")
async def list_silences(console: ConsoleDep, limit: Limit = 100, cursor: Cursor = None) -> PageAnswer[SilenceAnswer]:
    """Silences, those that end last first; what is over stays on the list for five days."""
    page = await console.ask_monitor(AlertManager.list_silences, limit, cursor)
    return PageAnswer(items=[_silence(console, one) for one in page.items], next_cursor=page.next_cursor)


@router.post("/silences", status_code=201, response_model=SilenceAnswer)
async def create_silence(body: SilenceOptions, console: ConsoleDep, change: ChangeDep) -> Any:
    """Tell nobody of alerts that match, for a while. They stay on the list."""

    async def act() -> tuple[int, BaseModel]:
        author = body.author.strip() or change.actor
        asked = console.ask_monitor(
            AlertManager.silence, body.matchers, author=author, comment=body.comment, duration_s=body.duration_s
        )
        return 201, _silence(console, await asked)

    return await change.once(body.canonical(), act)


@router.delete("/silences/{silence_id}", response_model=SilenceAnswer)
async def end_silence(silence_id: SilenceId, console: ConsoleDep, change: ChangeDep) -> Any:
    """End a silence now. One that is over stays as it was."""

    async def act() -> tuple[int, BaseModel]:
        return 200, _silence(console, await console.ask_monitor(AlertManager.expire_silence, silence_id, change.actor))

    return await change.once("", act)


@router.get("/channels")
async def list_channels(console: ConsoleDep) -> ChannelsAnswer:
    """How each channel does: what it is owed, and when it last worked or failed."""
    return ChannelsAnswer.model_validate({"items": await console.ask_monitor(Courier.states)})


@router.get("/deliveries")
async def list_deliveries(console: ConsoleDep, limit: Limit = 100, cursor: Cursor = None) -> PageAnswer[DeliveryAnswer]:
    """What became of notifications, the newest first; kept for a week."""
    return page_of(DeliveryAnswer, await console.ask_monitor(Outbox.history, limit, cursor))


@router.post("/test", response_model=TrialAnswer)
async def test_channel(body: ChannelBody, console: ConsoleDep, change: ChangeDep) -> Any:
    """Send a test alert to one channel. Answers 200 in any case: what became of it is in the body."""

    async def act() -> tuple[int, BaseModel]:
        try:
            await console.ask_monitor(Courier.try_channel, body.channel)
        except DeliveryFailed as error:
            return 200, TrialAnswer(channel=body.channel, delivered=False, detail=error.message)
        return 200, TrialAnswer(channel=body.channel, delivered=True, detail="")

    return await change.once(body.canonical(), act)


def _silence(console: Console, silence: Silence) -> SilenceAnswer:
    return SilenceAnswer.model_validate(silence.to_json(console.clock.now()))
