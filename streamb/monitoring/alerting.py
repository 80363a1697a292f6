"""Alerting put together: what rules say, who is told, and the threads that tell them. With a platform or without."""

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
    """One outbox, and what goes in and out of it. Safe to use from several threads.

    Args:
        channels: where notifications go; each with a name of its own.
        path: the outbox's file; None: alerts do not outlive the process.
        options: how alerts are told (`read_alert_options`).

    Attributes:
        manager: alerts and silences.
        courier: deliveries.
        outbox: what is still to be delivered, and what became of the rest.

    Raises:
        InvalidInput: names every option that is wrong.
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
        """Take in everything that rules say now; what has to be told is on its way when this returns.

        That a channel does not deliver is an alert, too.
        """
        try:
            own = delivery_alerts(self._names, self.outbox.queued(), self.outbox.latest(), self._clock.now())
            if self.manager.evaluate([*alerts, *own]):
                self.courier.wake()
        except StorageFailed as error:
            # Nothing has changed: the next look, in a few seconds, decides the same again.
            _log.error("alerts cannot be written now: %s", error.message)

    def start(self) -> None:
        """Deliver from now on. Idempotent."""
        self.courier.start()

    def stop(self) -> None:
        """Deliver no more; what is owed stays in the outbox. Idempotent."""
        self.courier.stop()

    def close(self) -> None:
        """Stop, and let go of the file."""
        self.stop()
        self.outbox.close()
