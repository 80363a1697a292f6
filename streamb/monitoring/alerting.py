"""Alerting as a whole: alert manager, outbox and courier; works with or without a platform."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from streamb.clock import Clock
from streamb.errors import StorageFailed
from streamb.monitoring.alerts.alert import Alert
from streamb.monitoring.alerts.manager import AlertManager
from streamb.monitoring.alerts.options import read_alert_options
from streamb.monitoring.alerts.outbox import open_outbox
from streamb.monitoring.alerts.rules import delivery_alerts
from streamb.monitoring.channels import AlertChannel, Courier, severities_of

_log = logging.getLogger(__name__)


class Alerting:
    """One outbox with its alert manager and its courier. Safe to use from several threads.

    Args:
        channels: where notifications are sent; each has a unique name.
        clock: for times of alerts and pauses of deliveries.
        path: the outbox's file; None: alerts are lost when the process ends.
        options: the options of alerting (`read_alert_options`).

    Attributes:
        manager: keeps alerts and silences.
        courier: delivers notifications.
        outbox: holds the notifications to deliver, and the outcomes of the others.

    Raises:
        InvalidInput: an option is wrong; the message names each.
        StorageFailed: the file cannot be opened.
    """

    def __init__(
        self,
        channels: Iterable[AlertChannel],
        clock: Clock,
        path: Path | None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        channels = list(channels)
        wanted = {channel.name: severities_of(channel) for channel in channels}
        config = read_alert_options(options or {}, list(wanted), wanted)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._names = [channel.name for channel in channels]
        self.outbox = open_outbox(path, clock)
        self.manager = AlertManager(clock, config, self.outbox)
        self.courier = Courier(self.outbox, channels, clock)

    def evaluate(self, alerts: Iterable[Alert]) -> None:
        """Update all alerts with the results of the rules, and queue notifications for delivery.

        Adds the alerts about channels that do not accept notifications.
        """
        try:
            own = delivery_alerts(self._names, self.outbox.queued(), self.outbox.latest(), self._clock.now())
            if self.manager.evaluate([*alerts, *own]):
                self.courier.wake()
        except StorageFailed as error:
            # Nothing has changed: the next look, in a few seconds, makes the same decision.
            _log.error("alerts cannot be written now: %s", error.message)

    def start(self) -> None:
        """Start delivering notifications. Idempotent."""
        self.courier.start()

    def stop(self) -> None:
        """Stop delivering; notifications that wait stay in the outbox. Idempotent."""
        self.courier.stop()

    def close(self) -> None:
        """Stop delivering, and close the file."""
        self.stop()
        self.outbox.close()
