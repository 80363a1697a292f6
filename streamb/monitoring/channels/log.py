"""The log as an alert channel: one line for each alert, at the level of its severity."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar, Final

from streamb.clock import Clock
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.notification import RESOLVED, Notification
from streamb.monitoring.channels.channel import ALL_SEVERITIES
from streamb.monitoring.channels.options import ChannelOptions
from streamb.monitoring.channels.wording import paragraphs, subject, untold

_log = logging.getLogger("streamb.alerts")
_LEVELS: Final = {
    Severity.LOW: logging.INFO,
    Severity.MEDIUM: logging.WARNING,
    Severity.HIGH: logging.ERROR,
    Severity.CRITICAL: logging.CRITICAL,
}


@dataclass(frozen=True, slots=True)
class LogChannel:
    """Writes to the logger `streamb.alerts`; it needs no receiver, so it always works.

    Attributes:
        name: see `AlertChannel`.
        severities: the severities of the alerts that the channel writes.
    """

    name: str = "log"
    severities: frozenset[Severity] = ALL_SEVERITIES

    def send(self, notification: Notification) -> None:
        """See `AlertChannel.send`; never fails."""
        resolved = notification.status == RESOLVED
        level = logging.INFO if resolved else _LEVELS[notification.severity]
        title = subject(notification)
        for paragraph in paragraphs(notification):
            facts = ", ".join(f"{name}: {text}" for name, text in paragraph.facts)
            _log.log(level, "%s: %s; %s", title, paragraph.headline, facts)
        if more := untold(notification):
            _log.log(level, "%s: and %d more", title, more)


class LogOptions(ChannelOptions):
    """The options of the channel that writes to the log."""

    kind: ClassVar[str] = "log"

    def open(self, clock: Clock) -> LogChannel:  # noqa: ARG002 - the log adds dates itself
        """See `ChannelOptions.open`."""
        return LogChannel(self.called, self.hears_of)
