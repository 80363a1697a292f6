"""`streamb deploy` and `streamb deployments`: bring versions into traffic, and see what became of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from streamb.cli.options import Address, ApiKey, AsJson, Limit, StateDir, connect
from streamb.cli.output import Waiting, print_facts, print_json, print_table, when
from streamb.sdk.deployment import Deployment

commands = typer.Typer(no_args_is_help=True, help="Versions on their way into traffic.")

OfModel = Annotated[str | None, typer.Option("--model", help="Only those of this model.")]


def deploy(
    model_id: Annotated[str, typer.Argument(metavar="ID", help="The model.")],
    version: Annotated[str, typer.Argument(help="A version, an alias, or latest.")],
    strategy: Annotated[str, typer.Option(help="How it takes over the traffic.")] = "immediate",
    percent: Annotated[
        float | None, typer.Option(min=0, max=100, help="Traffic of the first step, for a strategy that has steps.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Do it although the environment refuses it.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has ended.")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Longest wait, in seconds.")] = 600.0,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Bring a version into traffic. Exit code 1 when it does not get there."""
    options = {} if percent is None else {"traffic_split_percentage": percent}
    body = {"model_id": model_id, "target_version": version, "strategy": strategy, "options": options, "force": force}
    with connect(state_dir, address, api_key) as client:
        made = client.change("POST", "/api/deployments", body)
        if wait:
            with Waiting() as waiting:
                waiting.for_(f"{model_id} {made['target_version']}")
                Deployment(client, made["id"]).wait(timeout)
            made = client.get(f"/api/deployments/{made['id']}")
    if as_json:
        print_json(made)
    else:
        print(f"{made['id']}: {model_id} {made['target_version']} {made['state']}: {made['reason']}")
    if wait and made["state"] != "completed":
        raise typer.Exit(1)


@commands.command("list")
def list_deployments(
    model_id: OfModel = None,
    limit: Limit = 20,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Deployments, the newest first."""
    with connect(state_dir, address, api_key) as client:
        found = list(client.pages("/api/deployments", limit=limit, model_id=model_id))
    if as_json:
        print_json(found)
        return
    rows = [
        (d["id"], d["model_id"], d["target_version"], d["strategy"], d["state"], f"{d['weight']:g} %", d["reason"])
        for d in found
    ]
    columns = ("deployment", "model", "version", "strategy", "state", "weight", "reason")
    print_table(columns, rows, empty="nothing was deployed yet")


@commands.command("show")
def show(
    deployment_id: Annotated[str, typer.Argument(metavar="ID", help="The deployment.")],
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """One deployment."""
    with connect(state_dir, address, api_key) as client:
        found: dict[str, Any] = client.get(f"/api/deployments/{deployment_id}")
    if as_json:
        print_json(found)
    else:
        times = {name: when(found[name]) for name in ("created_at", "updated_at")}
        print_facts({**found, **times, "weight": f"{found['weight']:g} %"})


@commands.command("history")
def history(
    model_id: OfModel = None,
    limit: Limit = 50,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """What happened to deployments, the newest first."""
    with connect(state_dir, address, api_key) as client:
        found = list(client.pages("/api/deployments/history", limit=limit, model_id=model_id))
    if as_json:
        print_json(found)
        return
    rows = [(when(e["at"]), e["deployment_id"], e["model_id"], e["kind"], e["detail"], e["actor"]) for e in found]
    columns = ("when", "deployment", "model", "what", "detail", "by")
    print_table(columns, rows, empty="nothing has happened yet")
