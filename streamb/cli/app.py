"""All commands, put together, and the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from streamb.cli import alerts, config, deployments, down, jobs, keys, logs, models, monitor, platform, tune, up
from streamb.cli.command import command
from streamb.cli.output import say
from streamb.errors import StreambError
from streamb.version import installed_version

_REFUSED = 1


class _Commands(TyperGroup):
    """Turns an error into one line on stderr and exit code 1. Typer itself ends usage errors with exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except StreambError as error:
            say(f"error: {error.message} [{error.code}]")
            raise typer.Exit(_REFUSED) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Register models, bring them into traffic, and see how they are.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(installed_version())
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Register models, bring them into traffic, and see how they are."""


app.command("up")(up.up)
command(app, "down")(down.down)
command(app, "logs")(logs.logs)
command(app, "status")(platform.status)
command(app, "health")(platform.health)
command(app, "metrics")(platform.metrics)
command(app, "deploy")(deployments.deploy)
command(app, "undeploy")(deployments.undeploy)
app.add_typer(models.commands, name="models")
app.add_typer(deployments.commands, name="deployments")
app.add_typer(monitor.commands, name="monitor")
app.add_typer(alerts.commands, name="alerts")
app.add_typer(tune.commands, name="tune")
app.add_typer(jobs.commands, name="jobs")
app.add_typer(keys.commands, name="keys")
app.add_typer(config.commands, name="config")
