"""`streamb config`: the settings in effect, and where each value comes from."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from streamb.cli.command import command
from streamb.cli.options import Presets, StateDir
from streamb.cli.output import Answer, listing, say
from streamb.config import IN_EFFECT, SettingOrigin, explain, load_settings, unenforced

commands = typer.Typer(no_args_is_help=True, help="Show the settings in effect.")


def not_enforced(protections: Iterable[SettingOrigin]) -> str:
    """Return one sentence that names protections that are set and do not protect yet."""
    named = [
        f"{one.variable}={str(one.value).lower()} ({one.effect.removeprefix('accepted; ')})" for one in protections
    ]
    return f"set and not enforced yet: {', '.join(named)}"


@commands.callback()
def _group() -> None:
    """Show the settings in effect."""


@command(commands, "show")
def show(environment: Presets = None, state_dir: StateDir = None) -> Answer:
    """List all settings: variable, value, origin, and effect."""
    from streamb.monitoring.channels import check_channels, explain_channels, settings_warnings

    settings = load_settings(environment=environment, state_dir=state_dir)
    check_channels(settings)
    origins = [*explain(environment=environment, state_dir=state_dir), *explain_channels(settings)]
    for warning in settings_warnings(settings):
        say(f"warning: {warning}")
    if protections := unenforced(settings):
        say(f"warning: {not_enforced(protections)}")
    fields = ("name", "variable", "value", "origin", "effect")
    rows = [
        {**{field: getattr(origin, field) for field in fields}, "enforced": origin.effect == IN_EFFECT}
        for origin in origins
    ]
    columns = {"setting": "name", **{field: field for field in fields[1:]}}
    return listing(rows, columns, empty="there are no settings")
