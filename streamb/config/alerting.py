"""What the settings of alert channels may be, alone and together: which variables each channel needs."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from streamb.config.environment import variable_of
from streamb.config.secrets import is_reference, resolve_secret
from streamb.errors import ConfigError

NO_CHANNELS: Final = "none"

NEEDED_BY_CHANNEL: Final = {
    "log": (),
    "slack": ("alert_slack_webhook_url",),
    "webhook": ("alert_webhook_url",),
    "email": ("alert_smtp_url", "alert_email_from", "alert_email_to"),
    "pagerduty": ("alert_pagerduty_routing_key",),
    "apprise": ("alert_apprise_urls",),
}
"""Name of a channel -> the settings without which it cannot be opened."""

SMTP_SCHEMES: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
"""Scheme of a mail server's URL -> its usual port."""


class _AlertSettings(Protocol):
    """The part of `Settings` that is looked at here."""

    @property
    def alert_channels(self) -> str: ...

    @property
    def alert_webhook_secret(self) -> str | None: ...

    @property
    def alert_options_file(self) -> Path | None: ...


def channel_names(text: str) -> str:
    """A list of channels in its one spelling: "slack,log"; ValueError says what is allowed."""
    names = list(dict.fromkeys(words(text.lower())))
    if names == [NO_CHANNELS]:
        return NO_CHANNELS
    if not names or set(names) - NEEDED_BY_CHANNEL.keys():
        raise ValueError(f"allowed: a list, with commas, of {', '.join(NEEDED_BY_CHANNEL)}; or {NO_CHANNELS}")
    return ",".join(names)


def web_address(url: str) -> str:
    """An address that can be posted to, or a reference to one; ValueError says what is allowed."""
    if not is_reference(url):
        parts = _split(url)
        if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("allowed: https://HOST/PATH, or file:PATH, env:NAME")
    return url


def mail_server(url: str) -> str:
    """Where and how to hand in mail, or a reference to it; ValueError says what is allowed."""
    if not is_reference(url):
        parts = _split(url)
        if parts is None or parts.scheme not in SMTP_SCHEMES or not parts.hostname:
            raise ValueError(
                "allowed: smtp+starttls://USER:PASSWORD@HOST:PORT, smtps://…, smtp://… (in clear), file:PATH, env:NAME"
            )
    return url


def mail_addresses(text: str) -> str:
    """One or more mail addresses with commas between; ValueError says what is allowed."""
    found = words(text)
    if not found or any(one.count("@") != 1 or one.startswith("@") or one.endswith("@") for one in found):
        raise ValueError("allowed: NAME@DOMAIN, several with commas between")
    return ",".join(found)


def words(text: str) -> list[str]:
    """What stands between commas, without the white space around it."""
    return [word.strip() for word in text.split(",") if word.strip()]


def chosen_channels(settings: _AlertSettings) -> list[str]:
    """The names in `alert_channels`; empty for "none"."""
    return [] if settings.alert_channels == NO_CHANNELS else words(settings.alert_channels)


def alert_problems(settings: _AlertSettings) -> Iterator[str]:
    """A channel that lacks a variable, a reference that leads nowhere, and a file of options that cannot be read."""
    for channel in chosen_channels(settings):
        missing = [variable_of(name) for name in NEEDED_BY_CHANNEL[channel] if not _value(settings, name)]
        if missing:
            yield (
                f"ML_ALERT_CHANNELS names {channel}, which needs {' and '.join(missing)}; set it, or take {channel} "
                "from the list"
            )
    for name in _channel_settings():
        value = _value(settings, name)
        if value and is_reference(value):
            try:
                resolve_secret(value)
            except ConfigError as error:
                yield f"{variable_of(name)}: {error.message}"
    try:
        alert_options(settings)
    except ConfigError as error:
        yield error.message


def alert_options(settings: _AlertSettings) -> dict[str, Any]:
    """The options of alerting, as the file has them; none where no file is named.

    Raises:
        ConfigError: the file cannot be read, or is no TOML.
    """
    file = settings.alert_options_file
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{variable_of('alert_options_file')}={file} is no readable file of TOML: {reason}") from None


def alert_warnings(settings: _AlertSettings) -> Iterator[str]:
    """Channels that were set up, but are not on the list."""
    chosen = chosen_channels(settings)
    for channel, needed in NEEDED_BY_CHANNEL.items():
        given = [variable_of(name) for name in needed if _value(settings, name)]
        if given and channel not in chosen:
            yield f"{given[0]} is set, but ML_ALERT_CHANNELS does not name {channel}: no alert is sent there"
    if "webhook" in chosen and not settings.alert_webhook_secret:
        yield "ML_ALERT_WEBHOOK_SECRET is not set: the receiver of the webhook cannot tell our alerts from forged ones"


def _channel_settings() -> list[str]:
    return [*(name for needed in NEEDED_BY_CHANNEL.values() for name in needed), "alert_webhook_secret"]


def _value(settings: _AlertSettings, name: str) -> str | None:
    value: str | None = getattr(settings, name)
    return value


def _split(url: str) -> Any:
    """The parts of a URL; None when it is none (or its port is no number)."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return None if any(sign.isspace() for sign in url) else parts
