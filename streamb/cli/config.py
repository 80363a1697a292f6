"""`streamb config`: which settings are in effect, and why."""

from __future__ import annotations

import typer

from streamb.cli.command import command
from streamb.cli.options import Presets, StateDir
from streamb.cli.output import Answer, listing, say
from streamb.config import config_warnings, explain, load_settings

commands = typer.Typer(no_args_is_help=True, help="The settings in effect.")


@commands.callback()
def _group() -> None:
    """The settings in effect."""


@command(commands, "show")
def show(environment: Presets = None, state_dir: StateDir = None) -> Answer:
    """Print every setting: its variable, its value, where the value comes from, and whether it has an effect yet."""
    for warning in config_warnings(load_settings(environment=environment, state_dir=state_dir)):
        say(f"warning: {warning}")
    fields = ("name", "variable", "value", "origin", "effect")
    origins = explain(environment=environment, state_dir=state_dir)
    rows = [{field: getattr(origin, field) for field in fields} for origin in origins]
    columns = {"setting": "name", **{field: field for field in fields[1:]}}
    return listing(rows, columns, empty="there are no settings")
