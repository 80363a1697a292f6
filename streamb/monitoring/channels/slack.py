"""Slack, by an incoming webhook: blocks for people, and a text for notifications on a phone and for screen readers.

Limits of Slack's documentation (api.slack.com/reference/block-kit/blocks, api.slack.com/messaging/webhooks): a header
of 150 characters, a section of 3,000, 50 blocks, about one message a second; a success is the status 200.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

import orjson

from streamb.clock import Clock
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.notification import RESOLVED, Notification
from streamb.monitoring.channels.channel import ALL_SEVERITIES, one_line
from streamb.monitoring.channels.http import Poster, judge
from streamb.monitoring.channels.options import PostingOptions, Secret, web_address
from streamb.monitoring.channels.wording import Paragraph, paragraphs, subject, untold

_HEADER_CHARS: Final = 150
_SECTION_CHARS: Final = 3_000
_HEADLINE_CHARS: Final = 300
_FALLBACK_CHARS: Final = 600
_MARKS: Final = {
    Severity.LOW: ":large_blue_circle:",
    Severity.MEDIUM: ":large_yellow_circle:",
    Severity.HIGH: ":large_orange_circle:",
    Severity.CRITICAL: ":red_circle:",
}
_RESOLVED_MARK: Final = ":white_check_mark:"


@dataclass(frozen=True, slots=True)
class SlackChannel:
    """Posts to one channel of one Slack workspace.

    Attributes:
        name: see `AlertChannel`.
        poster: to the webhook's address, which is all the secret there is.
        severities: of which alerts it is told.
    """

    name: str
    poster: Poster
    severities: frozenset[Severity] = ALL_SEVERITIES
    interval_s: ClassVar[float] = 1.0

    def send(self, notification: Notification) -> None:
        """See `AlertChannel.send`."""
        judge(self.poster.host, self.poster.post(orjson.dumps(slack_body(notification)), {}))


class SlackOptions(PostingOptions):
    """Slack's incoming webhook."""

    kind: ClassVar[str] = "slack"

    webhook_url: Annotated[Secret, web_address("alert_slack_webhook_url", "Slack's incoming webhook.")]

    def open(self, clock: Clock) -> SlackChannel:
        """See `ChannelOptions.open`."""
        return SlackChannel(self.called, self.poster(self.webhook_url, clock), self.hears_of)


def slack_body(notification: Notification) -> dict[str, Any]:
    """The message; never larger than Slack takes, however long the texts and however many the alerts."""
    mark = _RESOLVED_MARK if notification.status == RESOLVED else _MARKS[notification.severity]
    title = subject(notification)
    header = {"type": "plain_text", "text": one_line(f"{mark} {title}", _HEADER_CHARS), "emoji": True}
    blocks: list[dict[str, Any]] = [{"type": "header", "text": header}]
    told = paragraphs(notification)
    blocks += [{"type": "section", "text": {"type": "mrkdwn", "text": _section(paragraph)}} for paragraph in told]
    notes = [f"and {more} more"] if (more := untold(notification)) else []
    if notification.external_url:
        notes.append(escaped(notification.external_url))
    if notes:
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": one_line(n, 300)} for n in notes]})
    fallback = one_line(f"{title}: {told[0].headline}" if told else title, _FALLBACK_CHARS)
    return {"text": escaped(fallback), "blocks": blocks}


def _section(paragraph: Paragraph) -> str:
    lines = [f"*{escaped(one_line(paragraph.headline, _HEADLINE_CHARS)).replace('*', '')}*"]
    for name, text in paragraph.facts:
        shown = f"<{paragraph.link}>" if name == "runbook" and paragraph.link else escaped(text)
        lines.append(f"_{name}_: {shown}")
    kept: list[str] = []
    room = _SECTION_CHARS
    for line in lines:  # whole lines only: half a link or half an entity would be shown as such
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join(kept)


def escaped(text: str) -> str:
    """Text in which Slack finds no links, mentions or commands.

    >>> escaped("<!channel> & co")
    '&lt;!channel&gt; &amp; co'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
