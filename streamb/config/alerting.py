"""Settings of alerting as a whole: the list of channels, and the file of options.

Each channel declares and reads its own settings (`streamb.monitoring.channels`).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final, Protocol

from streamb.config.environment import variable_of
from streamb.errors import ConfigError

NO_CHANNELS: Final = "none"


class _AlertSettings(Protocol):
    """The part of `Settings` that this module reads."""

    @property
    def alert_channels(self) -> str: ...

    @property
    def alert_options_file(self) -> Path | None: ...


def channel_names(text: str) -> str:
    """Return a list of channels in its normal form: "slack,log"; raises ValueError with what is allowed."""
    names = list(dict.fromkeys(word.strip() for word in text.lower().split(",") if word.strip()))
    if not names or (NO_CHANNELS in names and len(names) > 1):
        raise ValueError(f"allowed: names of alert channels, separated by commas; or {NO_CHANNELS}")
    return ",".join(names)


def chosen_channels(settings: _AlertSettings) -> list[str]:
    """Return the names in `alert_channels`; empty for "none"."""
    return [] if settings.alert_channels == NO_CHANNELS else settings.alert_channels.split(",")


def alert_options(settings: _AlertSettings) -> dict[str, Any]:
    """Return the options of alerting from their file; empty if no file is set.

    Raises:
        ConfigError: the file cannot be read, or it is not TOML.
    """
    file = settings.alert_options_file
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{variable_of('alert_options_file')}={file} is not a readable TOML file: {reason}") from None
