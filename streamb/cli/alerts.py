"""`streamb alerts`: what fires, what is silenced, and what channels deliver."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import typer

from streamb.cli.options import Address, ApiKey, AsJson, Limit, StateDir, connect
from streamb.cli.output import print_facts, print_json, print_table
from streamb.errors import InvalidInput

commands = typer.Typer(no_args_is_help=True, help="Alerts: what fires, silences, channels.")

_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


@commands.command("list")
def list_alerts(
    state: Annotated[str | None, typer.Option(help="pending, firing or resolved.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only those of this model.")] = None,
    severity: Annotated[str | None, typer.Option(help="low, medium, high or critical.")] = None,
    limit: Limit = 100,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Alerts, those that fire first."""
    with connect(state_dir, address, api_key) as client:
        found = list(client.pages("/api/alerts", limit=limit, state=state, model=model, severity=severity))
    if as_json:
        print_json(found)
    else:
        print_alerts(found)


@commands.command("silence")
def silence(
    matchers: Annotated[list[str], typer.Argument(metavar="MATCHER", help="Labels, model=iris severity!=critical.")],
    comment: Annotated[str, typer.Option(help="Why, in words.")],
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 30m, 2h, 1d.")] = "2h",
    by: Annotated[str, typer.Option("--by", help="Who says so; by default the name of the API key.")] = "",
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Tell nobody of alerts that match, for a while."""
    body = {"matchers": matchers, "duration_s": _seconds(duration), "comment": comment, "author": by}
    with connect(state_dir, address, api_key) as client:
        made = client.change("POST", "/api/alerts/silences", body)
    if as_json:
        print_json(made)
    else:
        print(f"{made['id']}: silent until {made['ends_at']}; to end it: streamb alerts unsilence {made['id']}")


@commands.command("silences")
def silences(
    state_dir: StateDir = None, address: Address = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Silences, those that hold first."""
    with connect(state_dir, address, api_key) as client:
        found = client.get("/api/alerts/silences")["items"]
    if as_json:
        print_json(found)
        return
    rows = [(s["id"], s["state"], " ".join(s["matchers"]), s["ends_at"], s["author"], s["comment"]) for s in found]
    print_table(("silence", "state", "matches", "until", "by", "why"), rows, empty="nothing is silenced")


@commands.command("unsilence")
def unsilence(
    silence_id: Annotated[str, typer.Argument(metavar="ID", help="The silence.")],
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """End a silence now."""
    with connect(state_dir, address, api_key) as client:
        ended = client.change("DELETE", f"/api/alerts/silences/{silence_id}")
    if as_json:
        print_json(ended)
    else:
        print(f"{ended['id']}: {ended['state']}")


@commands.command("channels")
def channels(
    state_dir: StateDir = None, address: Address = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """How each channel does."""
    with connect(state_dir, address, api_key) as client:
        found = client.get("/api/alerts/channels")["items"]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            c["name"],
            "left alone" if c["left_alone"] else "in use",
            c["waiting"],
            c["last_delivered_at"],
            c["last_error"],
        )
        for c in found
    ]
    print_table(("channel", "state", "waiting", "last delivered", "last error"), rows, empty="no channel is set up")


@commands.command("deliveries")
def deliveries(
    limit: Limit = 100,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """What became of notifications, the newest first."""
    with connect(state_dir, address, api_key) as client:
        found = list(client.pages("/api/alerts/deliveries", limit=limit))
    if as_json:
        print_json(found)
        return
    rows = [(d["at"], d["channel"], d["outcome"], d["title"], d["reason"]) for d in found]
    print_table(("at", "channel", "outcome", "notification", "why"), rows, empty="nothing was sent")


@commands.command("test")
def try_channel(
    channel: Annotated[str, typer.Argument(help="slack, webhook, email, pagerduty, log, …: one that is set up.")],
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Send a test alert to one channel, and say what became of it. Exit code 1 when it did not arrive."""
    with connect(state_dir, address, api_key) as client:
        found = client.change("POST", "/api/alerts/test", {"channel": channel})
    if as_json:
        print_json(found)
    else:
        print_facts(found)
    if not found["delivered"]:
        raise typer.Exit(1)


def print_alerts(found: Iterable[Mapping[str, Any]]) -> None:
    """A table of alerts."""
    rows = [
        (
            one["state"],
            one["labels"].get("severity"),
            one["labels"].get("alertname"),
            " ".join(filter(None, (one["labels"].get("model"), one["labels"].get("version")))),
            one["starts_at"] or one["active_since"],
            one["annotations"].get("summary"),
        )
        for one in found
    ]
    print_table(("state", "severity", "alert", "of", "since", "summary"), rows, empty="no alert")


def _seconds(text: str) -> float:
    """30m, 2h, 1d, or several together: 1h30m.

    >>> _seconds("1h30m")
    5400.0
    """
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidInput(f"--for takes a time like 30m, 2h or 1d, not {text!r}")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
