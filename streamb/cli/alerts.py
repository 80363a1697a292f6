"""`streamb alerts`: alerts, silences, and the channels that deliver notifications."""

from __future__ import annotations

from typing import Annotated

import typer

from streamb.cli.command import command
from streamb.cli.options import Limit, read_duration
from streamb.cli.output import Answer, Columns, Facts, listing
from streamb.sdk.http import HttpClient

commands = typer.Typer(no_args_is_help=True, help="Show alerts, silence them, and check alert channels.")


@command(commands, "list")
def list_alerts(
    client: HttpClient,
    state: Annotated[str | None, typer.Option(help="Only alerts in this state: pending, firing or resolved.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only alerts of this model.")] = None,
    severity: Annotated[str | None, typer.Option(help="Only this severity: low, medium, high or critical.")] = None,
    limit: Limit = 100,
) -> Answer:
    """List alerts; firing ones come first."""
    return alerts_of(client, limit, state=state, model=model, severity=severity)


@command(commands, "silence")
def silence(
    client: HttpClient,
    matchers: Annotated[
        list[str], typer.Argument(metavar="MATCHER", help="Label conditions: model=iris severity!=critical.")
    ],
    comment: Annotated[str, typer.Option(help="Why the alerts are silenced.")],
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="For how long: 30m, 2h, 1d.")] = "2h",
    by: Annotated[str, typer.Option("--by", help="A comment on who wanted it; the author is the caller.")] = "",
) -> Answer:
    """Stop notifications of matching alerts for a while."""
    body = {"matchers": matchers, "duration_s": read_duration(duration, "--for"), "comment": comment, "author": by}
    made = client.change("POST", "/api/alerts/silences", body)
    line = f"{made['id']}: silent until {made['ends_at']}; to end it earlier: streamb alerts unsilence {made['id']}"
    return Answer(made, line)


@command(commands, "silences")
def silences(client: HttpClient) -> Answer:
    """List silences; active ones come first."""
    columns: Columns = {
        "silence": "id",
        "state": "state",
        "matches": lambda silence: " ".join(silence["matchers"]),
        "until": "ends_at",
        "by": "author",
        "why": "comment",
    }
    return listing(client.get("/api/alerts/silences")["items"], columns, empty="there are no silences")


@command(commands, "unsilence")
def unsilence(
    client: HttpClient, silence_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the silence.")]
) -> Answer:
    """End a silence now."""
    ended = client.change("DELETE", f"/api/alerts/silences/{silence_id}")
    return Answer(ended, f"{ended['id']}: {ended['state']}")


@command(commands, "channels")
def channels(client: HttpClient) -> Answer:
    """Show the state of each alert channel."""
    columns: Columns = {
        "channel": "name",
        "state": lambda channel: "left alone" if channel["left_alone"] else "in use",
        "waiting": "waiting",
        "last delivered": "last_delivered_at",
        "last error": "last_error",
    }
    return listing(client.get("/api/alerts/channels")["items"], columns, empty="no alert channel is set up")


@command(commands, "deliveries")
def deliveries(client: HttpClient, limit: Limit = 100) -> Answer:
    """List notifications and their outcome, newest first."""
    columns = {"at": "at", "channel": "channel", "outcome": "outcome", "notification": "title", "why": "reason"}
    return listing(list(client.pages("/api/alerts/deliveries", limit=limit)), columns, empty="no notification was sent")


@command(commands, "test")
def try_channel(
    client: HttpClient,
    channel: Annotated[str, typer.Argument(help="A channel that is set up, such as slack or email.")],
) -> Answer:
    """Send a test alert to one channel. Exit code 1 if it was not delivered."""
    found = client.change("POST", "/api/alerts/test", {"channel": channel})
    return Answer(found, Facts(found), exit_code=0 if found["delivered"] else 1)


def alerts_of(client: HttpClient, limit: int, **filters: str | None) -> Answer:
    """List at most `limit` alerts that pass the filters `state`, `model` and `severity`; None filters nothing."""
    columns: Columns = {
        "state": "state",
        "severity": lambda alert: alert["labels"].get("severity"),
        "alert": lambda alert: alert["labels"].get("alertname"),
        "of": lambda alert: " ".join(filter(None, (alert["labels"].get("model"), alert["labels"].get("version")))),
        "since": lambda alert: alert["starts_at"] or alert["active_since"],
        "summary": lambda alert: alert["annotations"].get("summary"),
    }
    return listing(list(client.pages("/api/alerts", limit=limit, **filters)), columns, empty="there are no alerts")
