"""Opens the Monitor on a state directory, with the state that it stored there."""

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
"""The Monitor's folder in the state directory."""


def open_monitor(settings: Settings, clock: Clock | None = None) -> MonitorCore:
    """Return the Monitor in the state that it last stored; call `start` to deliver notifications.

    Raises:
        StorageFailed: its folder cannot be used.
        ArtifactCorrupt: its stored state is damaged.
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
    """Check the settings of channels and the options of alerting before the platform starts.

    Raises:
        ConfigError: a channel lacks a setting or has a wrong one, or the file of options cannot be read.
        InvalidInput: an option is wrong; the message names each.
    """
    check_channels(settings)
    read_alert_options(alert_options(settings), chosen_channels(settings))
