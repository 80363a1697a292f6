"""From specifications, or from the settings of the platform, to channels that are ready to send."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import SecretStr

from streamb.clock import Clock, SystemClock
from streamb.config import NEEDED_BY_CHANNEL, Settings, chosen_channels, load_settings, variable_of
from streamb.errors import ConfigError, InvalidInput
from streamb.monitoring.channels.apprise import AppriseChannel
from streamb.monitoring.channels.channel import ALL_SEVERITIES, AlertChannel
from streamb.monitoring.channels.email import EmailChannel, MailServer
from streamb.monitoring.channels.http import Patience, Poster, tls_context
from streamb.monitoring.channels.log import LogChannel
from streamb.monitoring.channels.options import (
    AppriseOptions,
    ChannelOptions,
    EmailOptions,
    LogOptions,
    PagerDutyOptions,
    SlackOptions,
    WebhookOptions,
    read_options,
)
from streamb.monitoring.channels.pagerduty import ENDPOINT, URGENT, PagerDutyChannel
from streamb.monitoring.channels.slack import SlackChannel
from streamb.monitoring.channels.webhook import WebhookChannel, signing_key

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
    specs = specs_of(source) if isinstance(source, Settings) else source
    channels: dict[str, AlertChannel] = {}
    for spec in specs:
        channel = _opened(spec, clock)
        if channel.name in channels:
            raise InvalidInput(f"two alert channels are called {channel.name!r}; give one of them another name")
        channels[channel.name] = channel
    return list(channels.values())


def specs_of(settings: Settings) -> list[Mapping[str, Any]]:
    """The specifications of the channels that the settings name; secrets inside are references where the settings are.

    Raises:
        ConfigError: names the variable that a channel lacks.
    """
    return [spec_of(name, settings) for name in chosen_channels(settings)]


def spec_of(kind: str, settings: Settings) -> Mapping[str, Any]:
    """The specification of one type of channel, from the settings.

    Raises:
        InvalidInput: there is no such type.
        ConfigError: names the variables that are missing.
    """
    if kind not in NEEDED_BY_CHANNEL:
        raise InvalidInput(f"no type of alert channel is called {kind!r}; there are {', '.join(NEEDED_BY_CHANNEL)}")
    missing = [variable_of(name) for name in NEEDED_BY_CHANNEL[kind] if not getattr(settings, name)]
    if missing:
        raise ConfigError(f"the alert channel {kind} needs {' and '.join(missing)}")
    sending = {"ca_file": settings.alert_ca_file}
    posting = {**sending, "allow_private_addresses": settings.alert_allow_private_addresses}
    options: dict[str, dict[str, Any]] = {
        "log": {},
        "slack": {"webhook_url": settings.alert_slack_webhook_url, **posting},
        "webhook": {"url": settings.alert_webhook_url, "secret": settings.alert_webhook_secret, **posting},
        "email": {
            "smtp_url": settings.alert_smtp_url,
            "from": settings.alert_email_from,
            "to": settings.alert_email_to,
            **sending,
        },
        "pagerduty": {"routing_key": settings.alert_pagerduty_routing_key, **posting},
        "apprise": {"urls": settings.alert_apprise_urls},
    }
    return {"type": kind, **options[kind]}


def _opened(spec: ChannelSpec, clock: Clock) -> AlertChannel:
    if isinstance(spec, str):
        spec = {"type": "log"} if spec == "log" else spec_of(spec, load_settings())
    if isinstance(spec, Mapping):
        return _built(read_options(spec), clock)
    return spec


def _built(options: ChannelOptions, clock: Clock) -> AlertChannel:
    name, severities = options.name or options.type, options.severities or ALL_SEVERITIES
    match options:
        case LogOptions():
            return LogChannel(name, severities)
        case AppriseOptions():
            return AppriseChannel(name, options.urls, severities=severities)
        case EmailOptions():
            server, tls = MailServer.from_url(options.smtp_url), tls_context(options.ca_file)
            return EmailChannel(name, server, options.sender, options.to, clock, tls, _patience(options), severities)
        case SlackOptions():
            return SlackChannel(name, _poster(options, options.webhook_url, clock), severities)
        case PagerDutyOptions():
            poster = _poster(options, options.endpoint or SecretStr(ENDPOINT), clock, options.routing_key)
            return PagerDutyChannel(name, poster, options.routing_key, options.severities or URGENT)
        case WebhookOptions():
            hidden = [*options.headers.values(), *([options.secret] if options.secret else [])]
            poster = _poster(options, options.url, clock, *hidden)
            if options.secret is not None:
                signing_key(options.secret)  # a secret that cannot sign is found now, not with the first alert
            return WebhookChannel(name, poster, clock, options.secret, options.headers, severities)


def _poster(
    options: SlackOptions | WebhookOptions | PagerDutyOptions, url: SecretStr, clock: Clock, *hide: SecretStr
) -> Poster:
    return Poster(
        url,
        clock,
        allow_private=options.allow_private_addresses,
        ca_file=options.ca_file,
        hide=hide,
        patience=_patience(options),
    )


def _patience(options: SlackOptions | WebhookOptions | PagerDutyOptions | EmailOptions) -> Patience:
    return Patience(options.connect_timeout_s, options.timeout_s)
