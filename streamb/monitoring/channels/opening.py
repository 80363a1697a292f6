"""Opens channels from specifications or settings, and reports wrong or suspicious settings of channels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from streamb.clock import Clock, SystemClock
from streamb.config import (
    HIDDEN,
    NO_CHANNELS,
    GivenSetting,
    SettingOrigin,
    Settings,
    chosen_channels,
    config_error,
    config_warnings,
    is_reference,
    load_settings,
    resolve_secret,
    shown_secret,
    unknown_setting,
    variable_of,
)
from streamb.errors import ConfigError, InvalidInput
from streamb.monitoring.channels.channel import AlertChannel
from streamb.monitoring.channels.options import Variable, channel_types, read_options

ChannelSpec = str | Mapping[str, Any] | AlertChannel
"""The name of a type that the settings describe ("slack"), a mapping of options, or the user's own channel."""


def open_channels(source: Settings | Iterable[ChannelSpec], *, clock: Clock | None = None) -> list[AlertChannel]:
    """Open the channels that `source` describes, in its order.

    Args:
        source: settings (their `alert_channels`), or a list of specifications.
        clock: for dates and signatures; by default the machine's.

    Raises:
        InvalidInput: a specification is wrong, or two channels have the same name.
        ConfigError: a secret cannot be read, or a package or a variable is missing.
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
            raise InvalidInput(f"two alert channels have the name {channel.name!r}; give one of them another name")
        channels[channel.name] = channel
    return list(channels.values())


def _opened(spec: ChannelSpec, clock: Clock) -> AlertChannel:
    if isinstance(spec, str):
        spec = {"type": "log"} if spec == "log" else spec_of(spec, load_settings())
    if isinstance(spec, Mapping):
        return read_options(spec).open(clock)
    return spec


def channel_variables() -> dict[str, Variable]:
    """Return every setting that a type of channel declares, by its name."""
    return {one.name: one for kind in channel_types().values() for one in kind.variables().values()}


def check_channels(settings: Settings) -> None:
    """Check the settings of all channels before any of them is opened.

    Raises:
        ConfigError: names every missing variable, every value that is not allowed, and every reference that cannot be
            resolved (`details["problems"]` lists them); it contains no secret.
    """
    if problems := list(_problems(settings)):
        raise config_error(problems)


def settings_warnings(settings: Settings) -> list[str]:
    """Return warnings about settings of the platform and its channels that are allowed but probably mistakes."""
    untold = [nobody] if (nobody := nobody_is_told(settings)) else []
    return [*config_warnings(settings, channel_variables()), *_warnings(settings), *untold]


def nobody_is_told(settings: Settings) -> str:
    """Return a sentence if nobody is told of alerts and of deployments that need somebody; "" if somebody is."""
    if not settings.monitoring_enabled:
        why = f"monitoring is disabled ({variable_of('monitoring_enabled')})"
    elif not chosen_channels(settings):
        why = f"there is no alert channel ({variable_of('alert_channels')} is {NO_CHANNELS})"
    else:
        return ""
    return f"{why}: nobody is told when a deployment needs an approval, is rolled back or fails"


def explain_channels(settings: Settings) -> list[SettingOrigin]:
    """Return every setting that a channel declares, with its origin; secrets are masked, references are shown."""
    return [_explained(variable, settings.channel_settings.get(name)) for name, variable in channel_variables().items()]


def spec_of(kind: str, settings: Settings) -> Mapping[str, Any]:
    """Return the specification of a type of channel from the settings; references to secrets are not resolved.

    Raises:
        InvalidInput: there is no such type.
        ConfigError: a required variable is missing; the message names it.
    """
    types = channel_types()
    if kind not in types:
        raise InvalidInput(f"there is no type of alert channel {kind!r}; the types are {', '.join(types)}")
    options = types[kind]
    if missing := _missing(kind, settings):
        raise ConfigError(f"the alert channel {kind} needs {' and '.join(missing)}")
    given = settings.channel_settings
    shared = {"ca_file": settings.alert_ca_file, "allow_private_addresses": settings.alert_allow_private_addresses}
    return {
        "type": kind,
        **{option: given[one.name].value for option, one in options.variables().items() if one.name in given},
        **{option: value for option, value in shared.items() if option in options.model_fields},
    }


def _missing(kind: str, settings: Settings) -> list[str]:
    given = settings.channel_settings
    return [variable_of(name) for name in channel_types()[kind].needed() if name not in given or not given[name].value]


def _problems(settings: Settings) -> Iterator[str]:
    types, known = channel_types(), channel_variables()
    chosen = chosen_channels(settings)
    if set(chosen) - types.keys():
        yield (
            f"{variable_of('alert_channels')} is {settings.alert_channels!r}; allowed: a list, with commas, of "
            f"{', '.join(types)}; or {NO_CHANNELS}"
        )
    for kind in chosen:
        if kind in types and (missing := _missing(kind, settings)):
            yield (
                f"ML_ALERT_CHANNELS names {kind}, which needs {' and '.join(missing)}; set it, or take {kind} from "
                "the list"
            )
    for name, given in settings.channel_settings.items():
        if name in known:
            yield from _problems_of(known[name], given)
        elif given.origin == "argument":  # an unknown environment variable is only a warning
            yield unknown_setting(name, [*Settings.model_fields, *known])


def _problems_of(variable: Variable, given: GivenSetting) -> Iterator[str]:
    if variable.secret and is_reference(given.value):
        try:
            resolve_secret(given.value)
        except ConfigError as error:
            yield f"{variable_of(variable.name)}: {error.message}"
    elif not variable.fits(given.value):
        place = f"the argument {variable.name}" if given.origin == "argument" else variable_of(variable.name)
        shown = HIDDEN if variable.secret else repr(given.value)
        yield f"{place} is {shown}; allowed: {variable.allowed}"


def _warnings(settings: Settings) -> Iterator[str]:
    """Warnings about channels that were set up but not chosen, and about settings that a chosen channel lacks."""
    chosen, given = chosen_channels(settings), settings.channel_settings
    for kind, options in channel_types().items():
        if kind not in chosen:
            if found := [variable_of(name) for name in options.needed() if name in given]:
                yield f"{found[0]} is set, but ML_ALERT_CHANNELS does not name {kind}: no alert is sent there"
            continue
        for variable in options.variables().values():
            if variable.if_missing and variable.name not in given:
                yield f"{variable_of(variable.name)} is not set: {variable.if_missing}"


def _explained(variable: Variable, given: GivenSetting | None) -> SettingOrigin:
    value, origin = None, "default"
    if given is not None:
        value, origin = shown_secret(given.value) if variable.secret else given.value, given.origin
    return SettingOrigin(variable.name, variable_of(variable.name), value, origin, "in effect")
