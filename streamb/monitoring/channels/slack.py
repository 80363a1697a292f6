"""Slack, through an incoming webhook: blocks for people, and a text for phone notifications and screen readers.

Limits in Slack's documentation (api.slack.com/reference/block-kit/blocks, api.slack.com/messaging/webhooks): a header
has 150 characters, a section 3,000, a message 50 blocks; about one message a second; status 200 means success.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

import orjson

from streamb.clock import Clock
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.notification import RESOLVED, Notification
from streamb.monitoring.channels.channel import one_line
from streamb.monitoring.channels.options import PostingChannel, PostingOptions, Secret, web_address
from streamb.monitoring.channels.wording import Paragraph, paragraphs, subject, untold

_INTERVAL_S: Final = 1.0
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


class SlackOptions(PostingOptions):
    """The options of a Slack channel."""

    kind: ClassVar[str] = "slack"

    webhook_url: Annotated[Secret, web_address("alert_slack_webhook_url", "Slack's incoming webhook.")]

    def open(self, clock: Clock) -> PostingChannel:
        """See `ChannelOptions.open`."""
        return PostingChannel(
            self.called, self.poster(self.webhook_url, clock), slack_body, self.hears_of, interval_s=_INTERVAL_S
        )


def slack_body(notification: Notification) -> bytes:
    """Return the message as JSON, within Slack's limits for any length of texts and any number of alerts."""
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
    return orjson.dumps({"text": escaped(fallback), "blocks": blocks})


def _section(paragraph: Paragraph) -> str:
    lines = [f"*{escaped(one_line(paragraph.headline, _HEADLINE_CHARS)).replace('*', '')}*"]
    for name, text in paragraph.facts:
        shown = f"<{paragraph.link}>" if name == "runbook" and paragraph.link else escaped(text)
        lines.append(f"_{name}_: {shown}")
    kept: list[str] = []
    room = _SECTION_CHARS
    for line in lines:  # whole lines only: half a link or half an entity would be shown as plain text
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join(kept)


def escaped(text: str) -> str:
    """Escape a text so that Slack finds no links, mentions or commands in it.

    >>> escaped("<!channel> & co")
    '&lt;!channel&gt; &amp; co'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
