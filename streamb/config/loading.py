"""Loads `Settings` from arguments, variables and presets; errors name the variable, the value and what is allowed."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from streamb.config.alerting import alert_options
from streamb.config.environment import PREFIX, our_variables, read_variable, variable_of
from streamb.config.settings import ENVIRONMENTS, GivenSetting, Settings, extra_of, implied
from streamb.errors import ConfigError

_OF_ALERTS: Final = "alert_"
# Up to the last @: drivers accept a password that contains slashes or an @.
_SECRET_IN_URL: Final = re.compile(r"(?<=://)([^/@:]*):(.*)@", re.DOTALL)
_SECRET_IN_QUERY: Final = re.compile(r"(?i)([?&][a-z_]*(?:password|secret|token|key)=)[^&]*")


def load_settings(**overrides: Any) -> Settings:
    """Return the effective settings: argument > variable > preset of the environment.

    Settings of single alert channels are not checked here, but by `streamb.monitoring.channels.check_channels`.

    Args:
        overrides: settings by attribute name; None means "not given".

    Raises:
        ConfigError: names every wrong variable, its value and what is allowed (`details["problems"]` lists them).
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    for_channels = _given_to_channels(given)
    given = {name: value for name, value in given.items() if name not in for_channels}
    origins = Origins(given)
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise config_error([_problem(origins, found) for found in error.errors()]) from None
    if problems := list(_contradictions(settings, origins)):
        raise config_error(problems)
    return settings.with_channel_settings(for_channels)


def mask_secrets(url: str) -> str:
    """Return the URL with its password and secret query values replaced, so that it may be shown.

    >>> mask_secrets("postgresql://ml:pa55@db.example.com/streamb?sslmode=require")
    'postgresql://ml:***@db.example.com/streamb?sslmode=require'
    """
    return _SECRET_IN_QUERY.sub(r"\1***", _SECRET_IN_URL.sub(r"\1:***@", url))


class Origins:
    """The origin of each setting's value, with the same precedence as the sources of `Settings`."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        spelled = {variable.upper(): (variable, value) for variable, value in our_variables().items()}
        self._arguments = frozenset(given)
        self._variables: dict[str, str] = {}
        explicit = dict(given)
        for name in Settings.model_fields.keys() - self._arguments:
            if found := spelled.get(variable_of(name)):
                self._variables[name], explicit[name] = found
        self._implied = implied(explicit)
        if "environment" not in explicit and (environment := read_variable("NODE_ENV")):
            self._variables["environment"], explicit["environment"] = "NODE_ENV", environment
        self._environment = explicit.get("environment", ENVIRONMENTS[0])

    def subject(self, name: str) -> str:
        """Return the argument or variable to correct if the setting `name` is wrong."""
        return f"the argument {name}" if name in self._arguments else self._variables.get(name, variable_of(name))

    def is_explicit(self, name: str) -> bool:
        """Return True if an argument or a variable sets it."""
        return name in self._arguments or name in self._variables

    def of(self, name: str) -> str:
        """Return the origin as in `SettingOrigin.origin`."""
        if name in self._arguments:
            return "argument"
        if name in self._variables:
            return f"variable {self._variables[name]}"
        if name in self._implied:
            return f"implied by {variable_of(self._implied[name][1])}"
        return f"preset {self._environment}" if "presets" in extra_of(name) else "default"


def _contradictions(settings: Settings, origins: Origins) -> Iterator[str]:
    """Yield a message for each combination of values that is not allowed."""

    def shown(name: str) -> str:
        value = json_ready(settings)[name]
        return f"{variable_of(name)}={str(value).lower() if isinstance(value, bool) else value} ({origins.of(name)})"

    if settings.min_instances > settings.max_instances:
        yield f"{shown('min_instances')} is more than {shown('max_instances')}; raise the maximum or lower the minimum"
    for name in ("api_key_required", "enable_authorization"):
        if getattr(settings, name) and not settings.enable_authentication:
            yield f"{shown(name)} contradicts {shown('enable_authentication')}: keys protect only if they are checked"
    if (settings.tls_cert_file is None) != (settings.tls_key_file is None):
        yield "ML_TLS_CERT_FILE and ML_TLS_KEY_FILE belong together: set both, or neither"
    for name in ("tls_cert_file", "tls_key_file", "alert_ca_file"):
        file: Path | None = getattr(settings, name)
        if file is not None and not (file.is_file() and os.access(file, os.R_OK)):
            yield f"{shown(name)} is not a readable file; allowed: a PEM file"
    yield from _open_doors(settings, origins, shown)
    try:
        alert_options(settings)
    except ConfigError as error:
        yield error.message


def _open_doors(settings: Settings, origins: Origins, shown: Callable[[str], str]) -> Iterator[str]:
    """Yield a message for each way in which others could reach the platform, or pass for somebody, unchecked."""
    if not settings.loopback_only and not settings.api_key_required:
        yield (
            f"{shown('host')} can be reached from other machines, and {shown('api_key_required')}: anybody there could "
            "deploy models; set ML_API_KEY_REQUIRED=true, or listen on 127.0.0.1"
        )
    demanded = origins.is_explicit("encrypt_in_transit") or not settings.loopback_only
    if settings.encrypt_in_transit and not settings.tls_enabled and demanded:
        yield (
            f"{shown('encrypt_in_transit')} needs a certificate to listen on {settings.host}: set ML_TLS_CERT_FILE and "
            "ML_TLS_KEY_FILE, or ML_ENCRYPT_IN_TRANSIT=false when a proxy in front ends TLS"
        )
    if settings.oidc_issuer and not settings.oidc_audience:
        yield (
            f"{shown('oidc_issuer')} needs ML_OIDC_AUDIENCE, the audience of this platform's tokens: without it, one "
            "that the issuer made for any other service would be accepted"
        )


def _given_to_channels(given: Mapping[str, Any]) -> dict[str, GivenSetting]:
    """Return the arguments and variables that start with `alert_` but are not settings of `Settings`."""
    found = {
        variable.upper().removeprefix(PREFIX).lower(): GivenSetting(value, f"variable {variable}")
        for variable, value in our_variables().items()
    }
    found |= {name: GivenSetting(str(value), "argument") for name, value in given.items()}
    return {
        name: one for name, one in found.items() if name.startswith(_OF_ALERTS) and name not in Settings.model_fields
    }


def json_ready(settings: Settings) -> dict[str, Any]:
    """Return every setting as a JSON value, with the secrets in URLs masked."""
    values = settings.model_dump(mode="json")
    for name in ("database_url", "artifact_url"):
        values[name] = mask_secrets(values[name]) if values[name] else values[name]
    return values


def config_error(problems: list[str]) -> ConfigError:
    """Return one error for all problems."""
    return ConfigError("; ".join(problems), problems=problems)


def unknown_setting(name: str, known: Iterable[str]) -> str:
    """Return a message for an argument that is not a setting, with the name that was probably meant."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"no setting is named {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")


def _problem(origins: Origins, found: Any) -> str:
    """Return one validation error as a sentence."""
    name = str(found["loc"][0])
    if name not in Settings.model_fields:
        return unknown_setting(name, Settings.model_fields)
    own_words = found.get("ctx", {}).get("error")
    allowed = (
        str(own_words) if isinstance(own_words, ValueError) else f"allowed: {_allowed(Settings.model_fields[name])}"
    )
    given = repr(mask_secrets(str(found["input"])))
    return f"{origins.subject(name)} is {given}; {allowed}"


def _allowed(field: FieldInfo) -> str:
    """Describe the allowed values of a setting, from its type and limits."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(get_args(field.annotation))
    if field.annotation is bool:
        return "true, false"
    if field.annotation not in {int, float}:
        return "a path" if "Path" in str(field.annotation) else "text that is not empty"
    kind = "a whole number" if field.annotation is int else "a number"
    limits = {key: getattr(rule, key) for rule in field.metadata for key in ("ge", "gt", "le") if hasattr(rule, key)}
    words = {"ge": "at least", "gt": "more than", "le": "at most"}
    return f"{kind}, " + " and ".join(f"{words[key]} {limit:g}" for key, limit in limits.items())
