"""A notification: the message to one receiver about one group of alerts, in the format of Alertmanager's webhooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from streamb.errors import InvalidInput
from streamb.hashing import sha256_hex
from streamb.monitoring.alerts.alert import ALERT_NAME, MODEL, VERSION, Severity, severity_of, worst

FIRING: Final = "firing"
RESOLVED: Final = "resolved"
BODY_VERSION: Final = "4"
"""The version of Alertmanager's webhook format."""
_NEVER: Final = "0001-01-01T00:00:00Z"
_ID_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class NotifiedAlert:
    """One alert in a notification.

    Attributes:
        status: "firing" or "resolved".
        labels: the alert's labels, with the worst severity of this incident.
        annotations: `summary`, `description`, `runbook`, `likely_cause`, as they were when it was last active.
        starts_at: when it began to fire, seconds since the epoch in whole milliseconds.
        ends_at: when it was resolved; None while it fires.
        fingerprint: the alert's identity.
    """

    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: float
    ends_at: float | None
    fingerprint: str

    @property
    def severity(self) -> Severity:
        """The worst severity of this incident."""
        return severity_of(self.labels)


@dataclass(frozen=True, slots=True)
class Notification:
    """A message to a receiver. It may be sent twice: the receiver recognizes a repetition by `notification_id`.

    Attributes:
        notification_id: the same for every attempt to deliver it.
        receiver: the name of a channel.
        group_key: the group's name within that receiver.
        status: "firing" while any alert fires, else "resolved".
        group_labels: the labels by which alerts are grouped, with the values of this group.
        common_labels: the labels that all its alerts share.
        common_annotations: the annotations that all its alerts share.
        alerts: its alerts, firing ones first, then the worst first.
        dedup_key: the same from an incident's first notification to its last (PagerDuty's `dedup_key`).
        created_at: seconds since the epoch in whole milliseconds.
        truncated_alerts: how many more alerts there are than `alerts` holds.
        external_url: the address of streamb's own pages; "" if there is none.
    """

    notification_id: str
    receiver: str
    group_key: str
    status: str
    group_labels: Mapping[str, str]
    common_labels: Mapping[str, str]
    common_annotations: Mapping[str, str]
    alerts: tuple[NotifiedAlert, ...]
    dedup_key: str
    created_at: float = 0.0
    truncated_alerts: int = 0
    external_url: str = ""

    @property
    def severity(self) -> Severity:
        """The worst severity of the firing alerts, or of all alerts if none fires."""
        firing = [alert.severity for alert in self.alerts if alert.status == FIRING]
        return worst(firing or [alert.severity for alert in self.alerts])

    @property
    def title(self) -> str:
        """One line for subjects and headings, such as `[FIRING:2] HighErrorRate iris 1.2.0`."""
        firing = sum(alert.status == FIRING for alert in self.alerts) + self.truncated_alerts
        mark = f"FIRING:{firing}" if self.status == FIRING else "RESOLVED"
        labels = {**self.common_labels, **self.group_labels}
        words = [labels[name] for name in (ALERT_NAME, MODEL, VERSION) if labels.get(name)]
        return " ".join([f"[{mark}]", *(words or ["alerts"])])

    def to_json(self) -> dict[str, Any]:
        """Return the body of Alertmanager's webhook, version "4", with streamb's own ids added."""
        return {
            "version": BODY_VERSION,
            "groupKey": self.group_key,
            "truncatedAlerts": self.truncated_alerts,
            "status": self.status,
            "receiver": self.receiver,
            "groupLabels": dict(self.group_labels),
            "commonLabels": dict(self.common_labels),
            "commonAnnotations": dict(self.common_annotations),
            "externalURL": self.external_url,
            "alerts": [self._alert_to_json(alert) for alert in self.alerts],
            "notificationId": self.notification_id,
            "dedupKey": self.dedup_key,
            "createdAt": rfc3339(self.created_at),
        }

    def _alert_to_json(self, alert: NotifiedAlert) -> dict[str, Any]:
        return {
            "status": alert.status,
            "labels": dict(alert.labels),
            "annotations": dict(alert.annotations),
            "startsAt": rfc3339(alert.starts_at),
            "endsAt": _NEVER if alert.ends_at is None else rfc3339(alert.ends_at),
            "generatorURL": self.external_url,
            "fingerprint": alert.fingerprint,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Notification:
        """Return the notification from the result of `to_json`.

        Raises:
            InvalidInput: the body is not a notification; the message names what is missing or wrong.
        """
        try:
            if body["version"] != BODY_VERSION:
                raise InvalidInput(f"a notification has version {BODY_VERSION!r}, not {body['version']!r}")
            return cls(
                notification_id=body["notificationId"],
                receiver=body["receiver"],
                group_key=body["groupKey"],
                status=body["status"],
                group_labels=dict(body["groupLabels"]),
                common_labels=dict(body["commonLabels"]),
                common_annotations=dict(body["commonAnnotations"]),
                alerts=tuple(_alert_from_json(alert) for alert in body["alerts"]),
                dedup_key=body["dedupKey"],
                created_at=_timestamp(body["createdAt"]),
                truncated_alerts=body["truncatedAlerts"],
                external_url=body["externalURL"],
            )
        except KeyError as missing:
            raise InvalidInput(f"a notification needs the field {missing}") from missing
        except (TypeError, ValueError) as wrong:
            raise InvalidInput(f"this is not a notification: {wrong}") from wrong


def _alert_from_json(body: Mapping[str, Any]) -> NotifiedAlert:
    return NotifiedAlert(
        status=body["status"],
        labels=dict(body["labels"]),
        annotations=dict(body["annotations"]),
        starts_at=_timestamp(body["startsAt"]),
        ends_at=None if body["endsAt"] == _NEVER else _timestamp(body["endsAt"]),
        fingerprint=body["fingerprint"],
    )


def rfc3339(timestamp: float) -> str:
    """Return a time (seconds since the epoch) in the format of RFC 3339, in UTC with milliseconds.

    >>> rfc3339(0.25)
    '1970-01-01T00:00:00.250Z'
    >>> rfc3339(9646829722.72)  # a float holds slightly less than this number
    '2275-09-12T02:55:22.720Z'
    """
    seconds, thousandths = divmod(round(timestamp * 1000), 1000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=thousandths * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds(timestamp: float) -> float:
    """Return a timestamp (seconds) rounded to milliseconds, the precision of notifications."""
    return round(timestamp, 3)


def _timestamp(text: str) -> float:
    return milliseconds(datetime.fromisoformat(text).timestamp())


def common(mappings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the entries that all of the mappings share.

    >>> common([{"model": "iris", "severity": "low"}, {"model": "iris", "severity": "high"}])
    {'model': 'iris'}
    """
    if not mappings:
        return {}
    return {name: value for name, value in mappings[0].items() if all(one.get(name) == value for one in mappings[1:])}


def digest_of(*parts: object) -> str:
    """Return 32 hexadecimal digits of a hash of these parts, in this order."""
    text = "".join(f"{len(part)}:{part}" for part in map(str, parts))
    return sha256_hex(text.encode("utf-8", "surrogatepass"))[:_ID_DIGITS]
