"""PagerDuty, through its Events API v2: an incident is triggered once, updated under the same key, and resolved.

The API (developer.pagerduty.com, "Send an alert event"): 202 is a success; 400 is never tried again; 429 and 5xx are.
A summary has at most 1,024 characters, an event 512 KB, a `dedup_key` 255 characters.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Annotated, Any, ClassVar, Final

import orjson
from pydantic import SecretStr

from streamb.clock import Clock
from streamb.monitoring.alerts.alert import ALERT_NAME, MODEL, Severity
from streamb.monitoring.alerts.notification import RESOLVED, Notification, rfc3339
from streamb.monitoring.channels.channel import one_line
from streamb.monitoring.channels.options import PostingChannel, PostingOptions, Secret, Variable
from streamb.monitoring.channels.wording import is_link, paragraphs, subject
from streamb.text import shown_within

ENDPOINT: Final = "https://events.pagerduty.com/v2/enqueue"
URGENT: Final = frozenset({Severity.HIGH, Severity.CRITICAL})
"""The default severities of a PagerDuty channel, since it may wake people up."""

MOST_EVENT_BYTES: Final = 512_000
_SUMMARY_CHARS: Final = 1_024
_KEY_CHARS: Final = 255
_SEVERITIES: Final = {
    Severity.LOW: "info",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "critical",
}


_ROUTING_KEY: Final = Variable("alert_pagerduty_routing_key", "Integration key of a PagerDuty service (Events API v2).")


class PagerDutyOptions(PostingOptions):
    """The options of a PagerDuty channel; set `endpoint` for PagerDuty's European region."""

    kind: ClassVar[str] = "pagerduty"
    default_severities: ClassVar[frozenset[Severity]] = URGENT

    routing_key: Annotated[Secret, _ROUTING_KEY]
    endpoint: Secret | None = None

    def open(self, clock: Clock) -> PostingChannel:
        """See `ChannelOptions.open`."""
        poster = self.poster(self.endpoint or SecretStr(ENDPOINT), clock, self.routing_key)
        body = partial(pagerduty_body, routing_key=self.routing_key.get_secret_value())
        return PostingChannel(self.called, poster, body, self.hears_of, keeps_incidents=True)


def pagerduty_body(notification: Notification, routing_key: str) -> bytes:
    """Return the event as JSON, at most 512,000 bytes: if it is too large, the last alerts are left out."""
    event: dict[str, Any] = {"routing_key": routing_key, "dedup_key": dedup_key(notification.dedup_key)}
    if notification.status == RESOLVED:
        return orjson.dumps({**event, "event_action": "resolve"})
    event |= {"event_action": "trigger", "client": "streamb"}
    if is_link(notification.external_url):
        event["client_url"] = notification.external_url
    links = dict.fromkeys(told.link for told in paragraphs(notification) if told.link)
    if links:
        event["links"] = [{"href": link, "text": "runbook"} for link in links]
    alerts = shown_within(notification.to_json()["alerts"])
    kept = len(alerts)
    while True:
        details = {"alerts": alerts[:kept], "omitted_alerts": len(alerts) - kept + notification.truncated_alerts}
        body = orjson.dumps({**event, "payload": _payload(notification, details)})
        if len(body) <= MOST_EVENT_BYTES or kept == 0:
            return body
        kept //= 2


def _payload(notification: Notification, details: dict[str, Any]) -> dict[str, Any]:
    labels = {**notification.common_labels, **notification.group_labels}
    told = paragraphs(notification)
    summary = f"{subject(notification)}: {told[0].headline}" if told else subject(notification)
    payload = {
        "summary": one_line(summary, _SUMMARY_CHARS),
        "source": one_line(labels.get(MODEL) or "streamb", _KEY_CHARS),
        "severity": _SEVERITIES[notification.severity],
        "timestamp": rfc3339(min((alert.starts_at for alert in notification.alerts), default=notification.created_at)),
        "component": one_line(labels.get(MODEL, ""), _KEY_CHARS),
        "class": one_line(labels.get(ALERT_NAME, ""), _KEY_CHARS),
        "group": one_line(notification.group_key, _KEY_CHARS),
        "custom_details": details,
    }
    return {name: value for name, value in payload.items() if value != ""}


def dedup_key(key: str) -> str:
    """Return a key of at most 255 characters, PagerDuty's limit: a longer one is cut and ends with its digest.

    >>> dedup_key("short"), len(dedup_key("x" * 300)), dedup_key("x" * 300) == dedup_key("x" * 301)
    ('short', 255, False)
    """
    if len(key) <= _KEY_CHARS:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{key[: _KEY_CHARS - len(digest) - 1]}-{digest}"
