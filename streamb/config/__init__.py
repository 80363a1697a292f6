"""Settings: the one place that reads the environment.

A value comes from the first of: an argument, an `ML_*` variable, the preset of the environment (development, staging,
production). Use `load_settings`: a wrong value raises a `ConfigError` that names the variable, the value and
what is allowed. `explain` shows where each value came from and whether this build already enforces it.
"""

from streamb.config.addresses import is_loopback
from streamb.config.alerting import NO_CHANNELS, alert_options, chosen_channels
from streamb.config.environment import (
    bare_environment,
    child_environment,
    default_environment,
    environment_without_secrets,
    mark_role,
    process_role,
    read_variable,
    set_variable,
    temporary_environment,
    this_environment,
    variable_of,
)
from streamb.config.explaining import IN_EFFECT, VARIABLES_OF_JOBS, SettingOrigin, config_warnings, explain, unenforced
from streamb.config.loading import config_error, load_settings, mask_secrets, unknown_setting
from streamb.config.secrets import HIDDEN, is_reference, resolve_secret, shown_secret
from streamb.config.settings import ENVIRONMENTS, Environment, GivenSetting, Settings

__all__ = [
    "ENVIRONMENTS",
    "HIDDEN",
    "IN_EFFECT",
    "NO_CHANNELS",
    "VARIABLES_OF_JOBS",
    "Environment",
    "GivenSetting",
    "SettingOrigin",
    "Settings",
    "alert_options",
    "bare_environment",
    "child_environment",
    "chosen_channels",
    "config_error",
    "config_warnings",
    "default_environment",
    "environment_without_secrets",
    "explain",
    "is_loopback",
    "is_reference",
    "load_settings",
    "mark_role",
    "mask_secrets",
    "process_role",
    "read_variable",
    "resolve_secret",
    "set_variable",
    "shown_secret",
    "temporary_environment",
    "this_environment",
    "unenforced",
    "unknown_setting",
    "variable_of",
]
