"""Notifications to send."""

from __future__ import annotations

from streamb.monitoring.alerts.alert import fingerprint
from streamb.monitoring.alerts.notification import Notification, NotifiedAlert, digest_of

START = 1_700_000_000.0


def notification(
    status: str = "firing",
    *,
    severity: str = "critical",
    receiver: str = "hook",
    incident: str = "iris latency",
    alerts: int = 1,
    group_key: str | None = None,
    created_at: float = START,
    external_url: str = "",
    labels: dict[str, str] | None = None,
    **annotations: str,
) -> Notification:
    """One about the model iris; `incident` is its dedup key."""
    told = {
        "summary": "iris 1.2.0 is slow: 95th percentile 812 ms, limit 200 ms",
        "likely_cause": "the feature petal_length drifted (score 0.61)",
        "runbook": "https://example.com/runbooks/high-latency",
    } | annotations
    ends = created_at if status == "resolved" else None
    made = []
    for number in range(alerts):
        named = {"alertname": "HighLatency", "model": "iris", "severity": severity, "part": str(number)} | (
            labels or {}
        )
        made.append(NotifiedAlert(status, named, told, created_at - 60, ends, fingerprint(named)))
    shared = {"alertname": "HighLatency", "model": "iris", "severity": severity}
    return Notification(
        notification_id=digest_of(receiver, incident, status, created_at),
        receiver=receiver,
        group_key=group_key or f"{receiver}:{{model={incident}}}",
        status=status,
        group_labels={"alertname": "HighLatency", "model": "iris"},
        common_labels=shared,
        common_annotations=told,
        alerts=tuple(made),
        dedup_key=incident,
        created_at=created_at,
        external_url=external_url,
    )
