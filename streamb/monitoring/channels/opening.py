"""From specifications, or from the settings of the platform, to channels that are ready to send."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from streamb.clock import Clock, SystemClock
from streamb.config import Settings, chosen_channels, load_settings
from streamb.errors import InvalidInput
from streamb.monitoring.channels.channel import AlertChannel
from streamb.monitoring.channels.options import read_options
from streamb.monitoring.channels.settings import spec_of

ChannelSpec = str | Mapping[str, Any] | AlertChannel
"""The name of a type that the settings describe ("slack"), a mapping of options, or a channel of the user's own."""


def open_channels(source: Settings | Iterable[ChannelSpec], *, clock: Clock | None = None) -> list[AlertChannel]:
    """The channels that `source` describes, in its order.

    Args:
        source: settings (their `alert_channels`), or a list of specifications.
        clock: for dates and signatures; by default the machine's.

    Raises:
        InvalidInput: a specification is wrong, or two channels have one name.
        ConfigError: a secret cannot be read, a package is missing, or a variable is.
    """
    if isinstance(source, str | Mapping):
        raise InvalidInput(f"alert channels are a list, not {source!r}; for this one alone write [{source!r}]")
    clock = clock or SystemClock()
    if isinstance(source, Settings):
        source = [spec_of(name, source) for name in chosen_channels(source)]
    channels: dict[str, AlertChannel] = {}
    for spec in source:
        channel = _opened(spec, clock)
        if channel.name in channels:
            raise InvalidInput(f"two alert channels are called {channel.name!r}; give one of them another name")
        channels[channel.name] = channel
    return list(channels.values())


def _opened(spec: ChannelSpec, clock: Clock) -> AlertChannel:
    if isinstance(spec, str):
        spec = {"type": "log"} if spec == "log" else spec_of(spec, load_settings())
    if isinstance(spec, Mapping):
        return read_options(spec).open(clock)
    return spec
