"""Opens the Monitor on a state directory: everything that it keeps is read back, and put together once."""

from __future__ import annotations

from typing import Final

from streamb.clock import Clock, SystemClock
from streamb.config import Settings
from streamb.monitoring.aggregator import open_aggregator
from streamb.monitoring.alerting import Alerting
from streamb.monitoring.channels import open_channels
from streamb.store import open_blobs
from streamb.wiring.monitor import MonitorCore
from streamb.wiring.monitor_baselines import Baselines
from streamb.wiring.monitor_watches import Watches

FOLDER: Final = "monitor"
"""Folder in the state directory that belongs to the Monitor alone."""


def open_monitor(settings: Settings, clock: Clock | None = None) -> MonitorCore:
    """The Monitor as it was when it last wrote something; `start` it to have notifications delivered.

    Raises:
        StorageFailed: its folder cannot be used.
        ArtifactCorrupt: what it kept is damaged.
        ConfigError: an alert channel lacks a setting.
        InvalidInput: an alert channel cannot be opened.
    """
    clock = clock or SystemClock()
    folder = settings.state_dir / FOLDER
    aggregator = open_aggregator(folder / "log", clock)
    baselines = Baselines(folder / "baselines.json", open_blobs(settings.resolved_artifact_url), clock)
    return MonitorCore(
        clock,
        aggregator=aggregator,
        baselines=baselines,
        watches=Watches(folder, settings, aggregator, baselines, clock),
        alerting=Alerting(open_channels(settings, clock=clock), clock, folder / "alerts.db"),
        window_minutes=settings.monitoring_window_minutes,
    )
