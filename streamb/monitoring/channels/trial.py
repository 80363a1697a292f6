"""A notification that only shows that a channel works."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from streamb.monitoring.alerts.alert import ALERT_NAME, MODEL, SEVERITY, Severity, fingerprint
from streamb.monitoring.alerts.notification import (
    FIRING,
    RESOLVED,
    Notification,
    NotifiedAlert,
    digest_of,
    milliseconds,
)
from streamb.monitoring.channels.channel import AlertChannel, keeps_incidents

TRIAL: Final = "TestAlert"
"""The `alertname` by which receivers may tell trials from alerts."""


def trial_notifications(channel: AlertChannel, now: float) -> Iterator[Notification]:
    """What to send to `channel` to see whether it works: one that fires; then its end, where incidents stay open."""
    firing = _firing(channel.name, milliseconds(now))
    yield firing
    if keeps_incidents(channel):
        over = replace(firing.alerts[0], status=RESOLVED, ends_at=firing.created_at)
        identity = digest_of(firing.notification_id, RESOLVED)
        yield replace(firing, notification_id=identity, status=RESOLVED, alerts=(over,))


def _firing(receiver: str, now: float) -> Notification:
    labels = {ALERT_NAME: TRIAL, MODEL: "", SEVERITY: str(Severity.LOW)}
    annotations = {
        "summary": "This is a test: nothing is wrong",
        "description": "Somebody asked streamb to try this channel. There is nothing to do.",
    }
    identity = digest_of(TRIAL, receiver, now)
    return Notification(
        notification_id=identity,
        receiver=receiver,
        group_key=f"{receiver}:{TRIAL}",
        status=FIRING,
        group_labels={ALERT_NAME: TRIAL},
        common_labels=labels,
        common_annotations=annotations,
        alerts=(NotifiedAlert(FIRING, labels, annotations, now, None, fingerprint(labels)),),
        dedup_key=identity,
        created_at=now,
    )
