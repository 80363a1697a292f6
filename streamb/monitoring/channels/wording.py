"""What people read of a notification, whichever way it reaches them: a headline for each alert, then what is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from streamb.clock import isoformat
from streamb.monitoring.alerts.alert import ALERT_NAME, MODEL, SEVERITY, VERSION
from streamb.monitoring.alerts.notification import RESOLVED, Notification, NotifiedAlert
from streamb.monitoring.channels.channel import one_line

MOST_ALERTS: Final = 20
"""More alerts than this in one message are counted, not told."""
_HEADLINE_CHARS: Final = 1_000
_FACT_CHARS: Final = 1_000
_TOLD_ELSEWHERE: Final = frozenset({ALERT_NAME, SEVERITY})
_ANNOTATIONS: Final = {"description": "what", "likely_cause": "likely cause", "runbook": "runbook"}


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One alert as it is told.

    Attributes:
        headline: its summary, with a mark when it is over.
        facts: (name, text) in the order in which they are read; each on one line.
        link: where the runbook is, when that is an address.
    """

    headline: str
    facts: tuple[tuple[str, str], ...]
    link: str | None


def paragraphs(notification: Notification) -> list[Paragraph]:
    """The first `MOST_ALERTS` alerts, the worst first."""
    return [_paragraph(alert) for alert in notification.alerts[:MOST_ALERTS]]


def untold(notification: Notification) -> int:
    """How many alerts `paragraphs` leaves out."""
    return max(0, len(notification.alerts) - MOST_ALERTS) + notification.truncated_alerts


def subject(notification: Notification) -> str:
    """One line that stands for it all: status, severity, rule, model."""
    return one_line(f"{notification.title} ({notification.severity})", _HEADLINE_CHARS)


def plain_text(notification: Notification) -> str:
    """All of it as lines of text."""
    lines = [subject(notification)]
    for paragraph in paragraphs(notification):
        lines += ["", paragraph.headline, *(f"  {name}: {text}" for name, text in paragraph.facts)]
    if more := untold(notification):
        lines += ["", f"and {more} more"]
    if notification.external_url:
        lines += ["", notification.external_url]
    return "\n".join(lines) + "\n"


def is_link(text: str) -> bool:
    """True for an address that a click may open.

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
