"""Microsoft Teams, through an incoming webhook or a workflow: posts one adaptive card for each notification.

Teams refuses messages above 28 KB and throttles senders of more than four a second; 200 and 202 mean success
(learn.microsoft.com, "Create an Incoming Webhook" and "Adaptive Cards"). All its clients show version 1.4 of the
card's schema.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Final

import orjson

from streamb.clock import Clock
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.notification import RESOLVED, Notification
from streamb.monitoring.channels.channel import one_line
from streamb.monitoring.channels.options import PostingChannel, PostingOptions, Secret, web_address
from streamb.monitoring.channels.wording import Paragraph, is_link, paragraphs, subject, untold

_INTERVAL_S: Final = 0.25
MOST_MESSAGE_BYTES: Final = 28_000
_SIZES: Final = ((20, 1_000), (10, 500), (5, 300), (2, 200), (1, 100))
"""(Most alerts in a message, most characters in a text), from the preferred size to one that always fits."""
_TITLE_CHARS: Final = 200
_LINK_CHARS: Final = 1_000
_MOST_LINKS: Final = 5
_STYLES: Final = {
    Severity.LOW: "accent",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "warning",
    Severity.CRITICAL: "attention",
}
_RESOLVED_STYLE: Final = "good"


class TeamsOptions(PostingOptions):
    """The options of a Teams channel; the webhook is that of a workflow or a connector."""

    kind: ClassVar[str] = "teams"

    webhook_url: Annotated[Secret, web_address("alert_teams_webhook_url", "Webhook of a Microsoft Teams channel.")]

    def open(self, clock: Clock) -> PostingChannel:
        """See `ChannelOptions.open`."""
        return PostingChannel(
            self.called, self.poster(self.webhook_url, clock), teams_body, self.hears_of, interval_s=_INTERVAL_S
        )


def teams_body(notification: Notification) -> bytes:
    """Return the message as JSON, at most 28,000 bytes: it is shortened to fit, and the card says so."""
    body = b""
    for most_alerts, most_chars in _SIZES:
        content = _card(notification, most_alerts, most_chars)
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
        body = orjson.dumps({"type": "message", "attachments": [attachment]})
        if len(body) <= MOST_MESSAGE_BYTES:
            break
    return body


def _card(notification: Notification, most_alerts: int, most_chars: int) -> dict[str, Any]:
    told = paragraphs(notification)
    title = one_line(subject(notification), _TITLE_CHARS)
    style = _RESOLVED_STYLE if notification.status == RESOLVED else _STYLES[notification.severity]
    header = {"type": "TextBlock", "text": escaped(title), "weight": "Bolder", "size": "Medium", "wrap": True}
    blocks: list[dict[str, Any]] = [{"type": "Container", "style": style, "bleed": True, "items": [header]}]
    for paragraph in told[:most_alerts]:
        blocks += _alert(paragraph, most_chars)
    notes = [f"and {more} more"] if (more := untold(notification) + max(0, len(told) - most_alerts)) else []
    if (most_alerts, most_chars) != _SIZES[0]:
        notes.append("shortened: Teams accepts at most 28 KB")
    blocks += [{"type": "TextBlock", "text": note, "isSubtle": True, "wrap": True} for note in notes]
    return {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": title,
        "msteams": {"width": "Full"},
        "body": blocks,
        "actions": _links(notification, told[:most_alerts]),
    }


def _alert(paragraph: Paragraph, most_chars: int) -> list[dict[str, Any]]:
    headline = escaped(one_line(paragraph.headline, most_chars))
    facts = [{"title": name, "value": escaped(one_line(text, most_chars))} for name, text in paragraph.facts]
    return [
        {"type": "TextBlock", "text": headline, "weight": "Bolder", "wrap": True, "separator": True},
        {"type": "FactSet", "facts": facts},
    ]


def _links(notification: Notification, told: list[Paragraph]) -> list[dict[str, str]]:
    """The buttons: one for each different runbook, and one for the platform."""
    runbooks = list(dict.fromkeys(one.link for one in told if one.link and len(one.link) <= _LINK_CHARS))
    links = [("runbook", url) for url in runbooks[:_MOST_LINKS]]
    if is_link(notification.external_url) and len(notification.external_url) <= _LINK_CHARS:
        links.append(("streamb", notification.external_url))
    return [{"type": "Action.OpenUrl", "title": title, "url": url} for title, url in links]


def escaped(text: str) -> str:
    r"""Escape a text so that Teams finds no Markdown in it: no links, emphasis or code.

    >>> escaped("[click](https://evil) *now*")
    '\\[click\\](https://evil) \\*now\\*'
    """
    return re.sub(r"([\\\[\]*_`~])", r"\\\1", text)
