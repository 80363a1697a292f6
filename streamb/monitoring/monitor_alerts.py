"""The Monitor's alerts: from what looks found to alerts, and what people ask and say about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streamb.clock import Clock, isoformat
from streamb.monitoring.alerting import Alerting
from streamb.monitoring.alerts.alert import Alert
from streamb.monitoring.alerts.causes import Facts, Happening
from streamb.monitoring.alerts.outbox import Past
from streamb.monitoring.alerts.rules import alerts_of
from streamb.monitoring.alerts.state import AlertPhase
from streamb.monitoring.answers import page_of
from streamb.monitoring.channels import DeliveryFailed
from streamb.monitoring.watches import Standing
from streamb.store import Page


class AlertDesk:
    """What the Monitor does with alerts. Safe to use from several threads."""

    def __init__(self, alerting: Alerting, clock: Clock) -> None:
        self._alerting = alerting
        self._manager = alerting.manager
        self._clock = clock
        self._happenings: Mapping[str, tuple[Happening, ...]] = {}

    def start(self) -> None:
        """Begin to deliver. Idempotent."""
        self._alerting.start()

    def close(self) -> None:
        """Stop delivering, and let go of the file."""
        self._alerting.close()

    def told(self, happenings: Sequence[Mapping[str, Any]]) -> None:
        """What was done to models lately replaces what was known of it."""
        found: dict[str, tuple[Happening, ...]] = {}
        for one in happenings:
            happening = Happening(float(one["at"]), str(one["words"]))
            found[one["model_id"]] = (*found.get(one["model_id"], ()), happening)
        self._happenings = found

    def evaluate(self, standings: Iterable[Standing]) -> None:
        """Judge everything by the rules, and have told what is to be told."""
        found: list[Alert] = []
        for one in standings:
            facts = Facts(
                one.model_id,
                one.version,
                one.health,
                silent_s=one.silence_s,
                outcomes=one.outcomes,
                happenings=self._happenings.get(one.model_id, ()),
                since=self._manager.since(one.model_id, one.version),
            )
            found += alerts_of(facts)
        self._alerting.evaluate(found)

    def listed(
        self, limit: int, cursor: str | None, state: str | None, model_id: str | None, severity: str | None
    ) -> Page[dict[str, Any]]:
        """Alerts, the most urgent first."""
        phase = AlertPhase(state) if state is not None else None
        found = [one.to_json() for one in self._manager.alerts(model_id=model_id, phase=phase)]
        chosen = [one for one in found if severity in (None, one["severity"])]
        return page_of(chosen, lambda one: str(one["fingerprint"]), "alerts", limit, cursor)

    def silences(self, limit: int, cursor: str | None) -> Page[dict[str, Any]]:
        """Silences, those that end last first."""
        now = self._clock.now()
        found = [one.to_json(now) for one in self._manager.silences()]
        return page_of(found, lambda one: str(one["id"]), "silences", limit, cursor)

    def silence(self, matchers: Any, duration_s: float, author: str, comment: str) -> dict[str, Any]:
        """Make a silence."""
        made = self._manager.silence(matchers, author=author, comment=comment, duration_s=duration_s)
        return made.to_json(self._clock.now())

    def expire_silence(self, silence_id: str, by: str) -> dict[str, Any]:
        """End a silence."""
        return self._manager.expire_silence(silence_id, by).to_json(self._clock.now())

    def channels(self) -> list[dict[str, Any]]:
        """How each channel is doing."""
        return [
            {
                "name": one.name,
                "counts": dict(one.counts),
                "left_alone": one.open,
                "waiting": one.waiting,
                "last_error": one.last_error,
                "last_error_at": _moment(one.last_error_at),
                "last_delivered_at": _moment(one.last_delivered_at),
            }
            for one in self._alerting.courier.states()
        ]

    def deliveries(self, limit: int, cursor: str | None) -> Page[dict[str, Any]]:
        """What became of notifications, the newest first."""
        page = self._alerting.history(limit, cursor)
        return Page(tuple(map(_delivery, page.items)), page.next_cursor)

    def try_channel(self, name: str) -> dict[str, Any]:
        """Send a test to one channel; what became of it is in the answer."""
        try:
            self._alerting.courier.try_channel(name)
        except DeliveryFailed as error:
            return {"channel": name, "delivered": False, "detail": error.message}
        return {"channel": name, "delivered": True, "detail": ""}

    def firing(self) -> dict[str, int]:
        """How many alerts fire, by severity."""
        return {str(severity): count for severity, count in self._manager.firing().items()}

    def notifications(self) -> dict[tuple[str, str], int]:
        """Attempts to deliver, by channel and outcome."""
        return self._alerting.courier.counts()


def _delivery(past: Past) -> dict[str, Any]:
    told = past.notification
    return {
        "notification_id": told.notification_id,
        "channel": told.receiver,
        "title": told.title,
        "status": told.status,
        "severity": str(told.severity),
        "outcome": past.outcome,
        "reason": past.reason,
        "attempts": past.attempts,
        "created_at": isoformat(told.created_at),
        "at": isoformat(past.at),
    }


def _moment(at: float | None) -> str | None:
    return None if at is None else isoformat(at)
