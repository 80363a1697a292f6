"""Opens the Monitor on a state directory: everything that it keeps is read back, and put together once."""

from __future__ import annotations

from typing import Final

from streamb.clock import Clock, SystemClock
from streamb.config import Settings, alert_options, chosen_channels
from streamb.monitoring.alerting import Alerting
from streamb.monitoring.alerts.options import read_alert_options
from streamb.monitoring.baselines import Baselines
from streamb.monitoring.channels import check_channels, open_channels
from streamb.monitoring.collection.aggregator import open_aggregator
from streamb.monitoring.monitor import MonitorCore
from streamb.monitoring.watches import Watches
from streamb.store import open_blobs

FOLDER: Final = "monitor"
"""Folder in the state directory that belongs to the Monitor alone."""


def open_monitor(settings: Settings, clock: Clock | None = None) -> MonitorCore:
    """The Monitor as it was when it last wrote something; `start` it to have notifications delivered.

    Raises:
        StorageFailed: its folder cannot be used.
        ArtifactCorrupt: what it kept is damaged.
        ConfigError: an alert channel lacks a setting, or the options of alerting cannot be read.
        InvalidInput: an alert channel cannot be opened, or an option is wrong.
    """
    clock = clock or SystemClock()
    channels, options = open_channels(settings, clock=clock), alert_options(settings)
    folder = settings.state_dir / FOLDER
    aggregator = open_aggregator(folder / "log", clock)
    baselines = Baselines(folder / "baselines.json", open_blobs(settings.resolved_artifact_url), clock)
    return MonitorCore(
        clock,
        aggregator=aggregator,
        baselines=baselines,
        watches=Watches(folder, settings, aggregator, baselines, clock),
        alerting=Alerting(channels, clock, folder / "alerts.db", options),
        window_minutes=settings.monitoring_window_minutes,
    )


def check_alerting(settings: Settings) -> None:
    """Find what is wrong with channels and the options of alerting before anything starts, not in the Monitor's log.

    Raises:
        ConfigError: a channel lacks a setting or has a wrong one, or the file of options cannot be read.
        InvalidInput: names every option that is wrong.
    """
    check_channels(settings)
    read_alert_options(alert_options(settings), chosen_channels(settings))
