"""`streamb deploy` and `streamb deployments`: bring versions into traffic, steer them, and see what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer

from streamb.cli import strategies as how
from streamb.cli.options import Address, ApiKey, AsJson, Limit, StateDir, connect
from streamb.cli.output import Waiting, as_text, print_facts, print_json, print_table, when
from streamb.sdk.deployment import Deployment, DeploymentStatus
from streamb.sdk.http import HttpClient

commands = typer.Typer(no_args_is_help=True, help="Versions on their way into traffic.")

OfModel = Annotated[str | None, typer.Option("--model", help="Only those of this model.")]
DeploymentId = Annotated[str, typer.Argument(metavar="ID", help="The deployment.")]
By = Annotated[str | None, typer.Option("--by", help="Who decides this; by default the name of the API key.")]
Why = Annotated[str | None, typer.Option("--reason", help="Why, for the history.")]

_VERBS: Final[Mapping[str, str]] = {
    "approve": "Let a deployment that awaits approval go on. Its author may not.",
    "pause": "Stay at the present weight until resumed.",
    "resume": "Go on after a pause.",
    "promote": "Skip the remaining steps: all traffic to the target version.",
    "abort": "Stop, and give all traffic back to the version before.",
}


def deploy(
    model_id: Annotated[str, typer.Argument(metavar="ID", help="The model.")],
    version: Annotated[str, typer.Argument(help="A version, an alias, or latest.")],
    strategy: how.Strategy = "immediate",
    percent: how.Percent = None,
    steps: how.Steps = None,
    step_seconds: how.StepSeconds = None,
    min_samples: how.MinSamples = None,
    max_error_rate: how.MaxErrorRate = None,
    max_latency_ms: how.MaxLatencyMs = None,
    min_accuracy: how.MinAccuracy = None,
    criterion: how.Criteria = None,
    approval: how.Approval = False,
    approval_before: how.ApprovalBefore = None,
    no_fallback: how.NoFallback = False,
    no_rollback: how.NoRollback = False,
    shadow_percent: how.ShadowPercent = None,
    hold_seconds: how.HoldSeconds = None,
    option: how.OtherOptions = None,
    force: Annotated[bool, typer.Option("--force", help="Do it although the environment refuses it.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has ended.")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Longest wait, in seconds.")] = 600.0,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Bring a version into traffic. Exit code 1 when it does not get there."""
    criteria = how.criteria(
        criterion, max_error_rate=max_error_rate, max_latency_ms=max_latency_ms, min_accuracy=min_accuracy
    )
    options = how.options(
        option,
        traffic_split_percentage=percent,
        steps=how.percents(steps),
        step_seconds=step_seconds,
        min_samples=min_samples,
        health_check_criteria=criteria or None,
        approval_required=approval or None,
        approval_before=how.gates(approval_before),
        fallback_to_stable=False if no_fallback else None,
        rollback_on_failure=False if no_rollback else None,
        shadow_percent=shadow_percent,
        hold_seconds=hold_seconds,
    )
    body = {"model_id": model_id, "target_version": version, "strategy": strategy, "options": options, "force": force}
    with connect(state_dir, address, api_key) as client:
        made = client.change("POST", "/api/deployments", body)
        if wait:
            made = _follow(client, made, timeout)
    _print_one(made, as_json)
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
    deployment_id: DeploymentId,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """One deployment: where it stands, its plan, and what was found of the version."""
    with connect(state_dir, address, api_key) as client:
        found: dict[str, Any] = client.get(f"/api/deployments/{deployment_id}")
    if as_json:
        print_json(found)
    else:
        print_facts({**found, **_readable(found)})


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


def _verb(name: str) -> Callable[..., None]:
    def steer(
        deployment_id: DeploymentId,
        by: By = None,
        reason: Why = None,
        state_dir: StateDir = None,
        address: Address = None,
        api_key: ApiKey = None,
        as_json: AsJson = False,
    ) -> None:
        with connect(state_dir, address, api_key) as client:
            _print_one(_steer(client, deployment_id, name, by=by, reason=reason), as_json)

    return steer


for _name, _help in _VERBS.items():
    commands.command(_name, help=_help)(_verb(_name))


@commands.command("rollback")
def rollback(
    deployment_id: DeploymentId,
    to_version: Annotated[
        str | None, typer.Option("--to-version", help="Back to this one; by default the one that answered before.")
    ] = None,
    by: By = None,
    reason: Why = None,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Give all traffic back to the version before, or to an earlier one; also after completion."""
    with connect(state_dir, address, api_key) as client:
        _print_one(_steer(client, deployment_id, "rollback", by=by, reason=reason, to_version=to_version), as_json)


def _steer(client: HttpClient, deployment_id: str, verb: str, **said: str | None) -> dict[str, Any]:
    body = {name: value for name, value in said.items() if value is not None}
    steered: dict[str, Any] = client.change("POST", f"/api/deployments/{deployment_id}/{verb}", body)
    return steered


def _follow(client: HttpClient, made: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """Wait for the end; one line on stderr for every change on the way."""
    with Waiting() as waiting:
        waiting.for_(f"{made['model_id']} {made['target_version']}")
        Deployment(client, made["id"]).wait(timeout, on_change=lambda status: waiting.note(_progress(status)))
    ended: dict[str, Any] = client.get(f"/api/deployments/{made['id']}")
    return ended


def _progress(status: DeploymentStatus) -> str:
    step = f", step {status.step + 1} of {len(status.steps)}" if status.steps else ""
    line = f"{status.state}{step}, {status.weight:g} % of the traffic: {status.reason}"
    if status.state != "awaiting_approval":
        return line
    gate = f" ({status.waiting_for})" if status.waiting_for and status.waiting_for not in status.reason else ""
    return f"{line}{gate}\n  to let it go on: streamb deployments approve {status.id} --by WHO"


def _print_one(found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        print(f"{found['id']}: {found['model_id']} {found['target_version']} {found['state']}: {found['reason']}")


def _readable(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a person reads instead of the numbers and lists of an answer."""
    findings = (f"{one['criterion']}: {one['verdict']}, {one['detail']}" for one in found["findings"])
    approvals = (f"{one['gate']}: {one['by']}, {when(one['at'])} {one['reason']}" for one in found["approvals"])
    plan = (f"{one['weight']:g} %{' after approval' if one['gate'] else ''}" for one in found["steps"])
    return {
        **{name: when(found[name]) for name in ("created_at", "updated_at")},
        "weight": f"{found['weight']:g} %",
        "steps": " → ".join(plan),
        "findings": "\n".join(findings),
        "approvals": "\n".join(line.rstrip() for line in approvals),
        "options": {name: _joined(value) for name, value in found["options"].items()},
    }


def _joined(value: Any) -> Any:
    return " ".join(as_text(one) for one in value) if isinstance(value, list) else value
