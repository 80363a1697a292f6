"""Explains the settings for `streamb config show`: their values, where each came from, and probable mistakes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from streamb.config.environment import our_variables, variable_of
from streamb.config.loading import Origins, json_ready, load_settings
from streamb.config.settings import Settings, extra_of

VARIABLES_OF_JOBS: Final = ("ML_URL", "ML_API_KEY", "ML_JOB_ID")
"""Variables that a job in `tune_jobs` reads to find a platform; they are not settings."""


IN_EFFECT: Final = "in effect"


@dataclass(frozen=True, slots=True)
class SettingOrigin:
    """One effective setting and why it has this value.

    Attributes:
        value: the value as JSON, with secrets masked.
        origin: "argument", "variable NAME", "preset ENVIRONMENT", "implied by NAME" or "default".
        effect: "in effect", or why it has no effect yet, so that nobody relies on a setting that is not enforced.
    """

    name: str
    variable: str
    value: Any
    origin: str
    effect: str


def explain(**overrides: Any) -> list[SettingOrigin]:
    """Return every setting with its origin and effect, in the order of `Settings`; raises like `load_settings`."""
    settings = load_settings(**overrides)
    origins = Origins({name: value for name, value in overrides.items() if value is not None})
    shown = json_ready(settings)
    return [
        SettingOrigin(name, variable_of(name), shown[name], origins.of(name), _effect(settings, name))
        for name in Settings.model_fields
    ]


def config_warnings(settings: Settings, of_channels: Iterable[str] = ()) -> list[str]:
    """Return warnings of probable mistakes: `ML_*` variables that no setting reads, an issuer but no roles.

    Args:
        settings: the effective settings.
        of_channels: names of the settings that alert channels declare.
    """
    known = [variable_of(name) for name in (*Settings.model_fields, *of_channels)]
    warnings = []
    for variable in sorted(our_variables()):
        if variable.upper() not in known and variable.upper() not in VARIABLES_OF_JOBS:
            close = difflib.get_close_matches(variable.upper(), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            warnings.append(f"{variable} is set, but no setting has that name{hint}")
    if settings.oidc_issuer and not settings.roles_of_groups:
        warnings.append(
            "ML_OIDC_ISSUER is set, but ML_OIDC_ROLES gives no group a role: people with tokens may do nothing"
        )
    return warnings


def unenforced(settings: Settings) -> list[SettingOrigin]:
    """Return the protections that are set and do not protect yet: nobody should rely on them.

    Args:
        settings: the effective settings.
    """
    values = json_ready(settings)
    origins = Origins({})
    return [
        SettingOrigin(name, variable_of(name), values[name], origins.of(name), effect)
        for name in Settings.model_fields
        if (effect := _effect(settings, name)) != IN_EFFECT and (values[name] is True or origins.is_explicit(name))
    ]


def _effect(settings: Settings, name: str) -> str:
    later = extra_of(name).get("later")
    if later is not None:
        return f"accepted; takes effect with {later}"
    if name == "encrypt_in_transit" and settings.encrypt_in_transit and not settings.tls_enabled:
        return "no certificate is set: plain HTTP, on this machine only"
    return IN_EFFECT
