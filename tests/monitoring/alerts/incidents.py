"""Alerts, a manager over memory or a file, and what receivers were told: for the tests of alerting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from streamb.clock import ManualClock
from streamb.monitoring.alerts.alert import Alert
from streamb.monitoring.alerts.manager import AlertManager
from streamb.monitoring.alerts.notification import Notification
from streamb.monitoring.alerts.options import read_alert_options
from streamb.monitoring.alerts.outbox import open_outbox

START = 1_700_000_000.0
LOOK_S = 10.0


def alert(
    state: str = "active", name: str = "HighErrorRate", model: str = "iris", severity: str = "medium", **labels: str
) -> Alert:
    """An alert that is active, clear, or in the band between."""
    return Alert(
        labels={"alertname": name, "model": model, "severity": severity, **labels},
        annotations={"summary": f"{name} of {model}", "runbook": f"docs/runbooks/{name}.md"},
        value={"active": 1.0, "band": 0.9, "clear": 0.1}[state],
        active=state == "active",
        clears=state == "clear",
    )


class Desk:
    """A manager, its clock, and every notification that it made, in order."""

    def __init__(self, path: Path | None = None, receivers: Iterable[str] = ("log",), **options: Any) -> None:
        self.clock = ManualClock(START)
        self.outbox = open_outbox(path, self.clock)
        self.manager = AlertManager(self.clock, read_alert_options(options, list(receivers)), self.outbox)
        self.told: list[Notification] = []

    def look(self, *alerts: Alert, times: int = 1, every: float = LOOK_S) -> list[Notification]:
        """The same look so many times, `every` seconds after one another; what was told."""
        told: list[Notification] = []
        for _ in range(times):
            self.clock.advance(every)
            told += self.manager.evaluate(alerts)
        self.told += told
        return told

    def deliver(self) -> list[Notification]:
        """Deliver whatever is due."""
        out = []
        while claimed := self.outbox.claim():
            out.append(claimed[0].notification)
            self.outbox.delivered(claimed[0].notification.notification_id)
        return out

    def phases(self) -> dict[str, str]:
        """Alert name -> phase."""
        return {one.state.labels["alertname"]: str(one.state.phase) for one in self.manager.alerts()}


def by_incident(notifications: Iterable[Notification]) -> dict[tuple[str, str], list[str]]:
    """The statuses told of every incident, by receiver and dedup key; the same notification counts once."""
    seen: set[str] = set()
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in notifications:
        if one.notification_id not in seen:
            seen.add(one.notification_id)
            found[one.receiver, one.dedup_key].append(one.status)
    return dict(found)


def most_within(times: Iterable[float], seconds: float) -> int:
    """The largest number of events within any half-open window of that length."""
    ordered = sorted(times)
    return max((sum(start <= at < start + seconds for at in ordered) for start in ordered), default=0)
