"""`streamb config`: which settings are in effect, and why."""

from __future__ import annotations

import typer

from streamb.cli.options import AsJson, Presets, StateDir
from streamb.cli.output import print_json, print_table, say
from streamb.config import config_warnings, explain, load_settings

commands = typer.Typer(no_args_is_help=True, help="The settings in effect.")


@commands.callback()
def _group() -> None:
    """The settings in effect."""


@commands.command("show")
def show(
    environment: Presets = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Print every setting: its variable, its value, where the value comes from, and whether it has an effect yet."""
    origins = explain(environment=environment, state_dir=state_dir)
    for warning in config_warnings(load_settings(environment=environment, state_dir=state_dir)):
        say(f"warning: {warning}")
    if as_json:
        fields = ("name", "variable", "value", "origin", "effect")
        print_json([{field: getattr(origin, field) for field in fields} for origin in origins])
        return
    rows = [(o.name, o.variable, o.value, o.origin, o.effect) for o in origins]
    print_table(("setting", "variable", "value", "origin", "effect"), rows, empty="there are no settings")
