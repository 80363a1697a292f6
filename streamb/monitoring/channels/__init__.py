"""Alert channels, which send notifications to people, and the courier, which delivers from the outbox to them."""

from streamb.monitoring.channels.channel import AlertChannel, DeliveryFailed, severities_of
from streamb.monitoring.channels.courier import Courier
from streamb.monitoring.channels.opening import (
    ChannelSpec,
    check_channels,
    explain_channels,
    nobody_is_told,
    open_channels,
    settings_warnings,
)

__all__ = [
    "AlertChannel",
    "ChannelSpec",
    "Courier",
    "DeliveryFailed",
    "check_channels",
    "explain_channels",
    "nobody_is_told",
    "open_channels",
    "settings_warnings",
    "severities_of",
]
