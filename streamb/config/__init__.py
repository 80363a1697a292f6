"""Settings: the one place that reads the environment.

A value comes from the first of: an argument, an `ML_*` variable, the preset of the environment (development, staging,
production). `load_settings` is the door: a wrong value becomes a `ConfigError` that names the variable, the value and
what is allowed. `explain` tells where each value came from and whether this build already enforces it.
"""

from streamb.config.alerting import NEEDED_BY_CHANNEL, SMTP_SCHEMES, alert_options, chosen_channels
from streamb.config.environment import child_environment, default_environment, temporary_environment, variable_of
from streamb.config.explaining import VARIABLES_OF_JOBS, SettingOrigin, config_warnings, explain
from streamb.config.loading import load_settings, mask_secrets
from streamb.config.secrets import resolve_secret
from streamb.config.settings import ENVIRONMENTS, Environment, Settings

__all__ = [
    "ENVIRONMENTS",
    "NEEDED_BY_CHANNEL",
    "SMTP_SCHEMES",
    "VARIABLES_OF_JOBS",
    "Environment",
    "SettingOrigin",
    "Settings",
    "alert_options",
    "child_environment",
    "chosen_channels",
    "config_warnings",
    "default_environment",
    "explain",
    "load_settings",
    "mask_secrets",
    "resolve_secret",
    "temporary_environment",
    "variable_of",
]
