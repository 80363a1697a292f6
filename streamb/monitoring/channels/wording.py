"""The text of a notification for every channel: a headline for each alert, then its facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from streamb.clock import isoformat
from streamb.monitoring.alerts.alert import ALERT_NAME, MODEL, SEVERITY, VERSION
from streamb.monitoring.alerts.notification import RESOLVED, Notification, NotifiedAlert
from streamb.monitoring.alerts.state import ENDED
from streamb.monitoring.channels.channel import one_line

MOST_ALERTS: Final = 20
"""The most alerts that one message describes; it counts the others."""
_HEADLINE_CHARS: Final = 1_000
_FACT_CHARS: Final = 1_000
_TOLD_ELSEWHERE: Final = frozenset({ALERT_NAME, SEVERITY})
_ANNOTATIONS: Final = {
    "description": "what",
    "likely_cause": "likely cause",
    ENDED: "ended because",
    "runbook": "runbook",
}


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One alert in a message.

    Attributes:
        headline: the alert's summary; begins with "resolved:" if it is resolved.
        facts: (name, text) in the order in which they are shown; each text is one line.
        link: the web address of the runbook; None if the runbook is not one.
    """

    headline: str
    facts: tuple[tuple[str, str], ...]
    link: str | None


def paragraphs(notification: Notification) -> list[Paragraph]:
    """Return a paragraph for each of the first `MOST_ALERTS` alerts, the worst first."""
    return [_paragraph(alert) for alert in notification.alerts[:MOST_ALERTS]]


def untold(notification: Notification) -> int:
    """Return the number of alerts that `paragraphs` leaves out."""
    return max(0, len(notification.alerts) - MOST_ALERTS) + notification.truncated_alerts


def subject(notification: Notification) -> str:
    """Return one line that summarizes the notification: status, rule, model and severity."""
    return one_line(f"{notification.title} ({notification.severity})", _HEADLINE_CHARS)


def plain_text(notification: Notification) -> str:
    """Return the whole message as plain text."""
    lines = [subject(notification)]
    for paragraph in paragraphs(notification):
        lines += ["", paragraph.headline, *(f"  {name}: {text}" for name, text in paragraph.facts)]
    if more := untold(notification):
        lines += ["", f"and {more} more"]
    if notification.external_url:
        lines += ["", notification.external_url]
    return "\n".join(lines) + "\n"


def is_link(text: str) -> bool:
    """Return whether a text is a web address that is safe to show as a link.

    >>> is_link("https://example.com/runbook"), is_link("docs/runbooks/drift.md"), is_link("javascript:alert(1)")
    (True, False, False)
    """
    return text.startswith(("https://", "http://")) and not any(sign in text for sign in " <>|\"'")


def _paragraph(alert: NotifiedAlert) -> Paragraph:
    labels, annotations = alert.labels, alert.annotations
    names = [labels[name] for name in (ALERT_NAME, MODEL, VERSION) if labels.get(name)]
    headline = annotations.get("summary") or " ".join(names) or "alert"
    if alert.status == RESOLVED:
        headline = f"resolved: {headline}"
    runbook = annotations.get("runbook", "")
    facts = tuple((name, one_line(text, _FACT_CHARS)) for name, text in _facts(alert) if text)
    return Paragraph(one_line(headline, _HEADLINE_CHARS), facts, runbook if is_link(runbook) else None)


def _facts(alert: NotifiedAlert) -> Iterator[tuple[str, str]]:
    yield "severity", alert.severity
    for annotation, name in _ANNOTATIONS.items():
        yield name, alert.annotations.get(annotation, "")
    yield "since", isoformat(alert.starts_at)
    yield "until", "" if alert.ends_at is None else isoformat(alert.ends_at)
    yield "labels", ", ".join(f"{k}={v}" for k, v in sorted(alert.labels.items()) if v and k not in _TOLD_ELSEWHERE)
