"""`streamb deploy`, `undeploy` and `deployments`: bring versions into traffic, control it, see how it went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from streamb.cli import strategies as how
from streamb.cli.command import command
from streamb.cli.options import Limit, Where
from streamb.cli.output import Answer, Columns, Facts, Waiting, as_text, at, listing, say, when
from streamb.clock import SystemClock
from streamb.sdk.deployment import Deployment, DeploymentStatus, wait_until_stopped
from streamb.sdk.http import HttpClient

commands = typer.Typer(no_args_is_help=True, help="Show and control deployments.")

OfModel = Annotated[str | None, typer.Option("--model", help="Only deployments of this model.")]
DeploymentId = Annotated[str, typer.Argument(metavar="ID", help="Id of the deployment.")]
By = Annotated[str | None, typer.Option("--by", help="A comment on who decided this; the history names the caller.")]
Force = Annotated[
    bool, typer.Option("--force", help="Do it though no step has judged the version; needs an administrator's key.")
]
Why = Annotated[str | None, typer.Option("--reason", help="Why; recorded in the history.")]

_UNDER_WAY: Final = frozenset({"pending", "awaiting_approval", "progressing", "paused"})
_LONG_S: Final = 7_200.0
_VERBS: Final[Mapping[str, str]] = {
    "approve": "Approve a deployment that awaits approval. Its author cannot.",
    "pause": "Keep the current traffic weight until the deployment is resumed.",
    "resume": "Continue a paused deployment.",
    "abort": "Stop the deployment and send all traffic to the previous version.",
}


def deploy(
    where: Where,
    model_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the model.")],
    version: Annotated[str, typer.Argument(help="A version number, an alias, or latest.")],
    strategy: how.Strategy = "immediate",
    percent: how.Percent = None,
    steps: how.Steps = None,
    *,
    declared: how.Declared,
    limits: how.Limited,
    criterion: how.Criteria = None,
    approval: how.Approval = False,
    approval_before: how.ApprovalBefore = None,
    no_fallback: how.NoFallback = False,
    no_rollback: how.NoRollback = False,
    accept_change: how.AcceptChanges = None,
    batching: how.Batching = None,
    resource: how.Resources = None,
    request_timeout: how.RequestTimeout = None,
    isolation: how.Isolation = None,
    option: how.OtherOptions = None,
    force: Annotated[
        bool, typer.Option("--force", help="Deploy even if the environment forbids it, or it does not fit.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the deployment has ended.")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Maximum wait, in seconds.")] = 600.0,
) -> Answer:
    """Deploy a version: send traffic to it. Exit code 1 if it does not complete."""
    criteria = how.united("--criterion", criterion, **limits)
    options = how.united(
        "--option",
        option,
        traffic_split_percentage=percent,
        steps=how.percents(steps),
        health_check_criteria=criteria or None,
        approval_required=approval or None,
        approval_before=how.gates(approval_before),
        fallback_to_stable=False if no_fallback else None,
        rollback_on_failure=False if no_rollback else None,
        accept_changes=accept_change or None,
        batching=how.united("--batching", batching) or None,
        resources=how.united("--resource", resource) or None,
        timeout_s=request_timeout,
        isolation=isolation,
        **declared,
    )
    body = {"model_id": model_id, "target_version": version, "strategy": strategy, "options": options, "force": force}
    with where.connect() as client:
        made = client.change("POST", "/api/deployments", body, patient=True)
        if made.get("notice"):
            say(f"note: {made['notice']}")
        if wait:
            made = _follow(client, made, timeout)
    return _one_line(made, exit_code=1 if wait and made["state"] != "completed" else 0)


def undeploy(
    client: HttpClient,
    model_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the model.")],
    by: By = None,
    reason: Why = None,
    *,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until its versions have stopped.")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Maximum wait, in seconds.")] = 120.0,
) -> Answer:
    """Take a model out of traffic and stop its versions, which stay registered."""
    ordered = client.change("POST", f"/api/models/{model_id}/undeploy", _said(by=by, reason=reason))
    if wait:
        with Waiting() as waiting:
            waiting.for_(f"{model_id} {ordered['version']} to stop")
            wait_until_stopped(client, ordered, timeout)
    line = f"{model_id}: version {ordered['version']} {'has stopped' if wait else 'leaves traffic and stops'}"
    return Answer(ordered, line)


@command(commands, "list")
def list_deployments(client: HttpClient, model_id: OfModel = None, limit: Limit = 20) -> Answer:
    """List deployments, newest first; the column "needs" shows where somebody must decide."""
    columns: Columns = {
        "deployment": "id",
        "model": "model_id",
        "version": "target_version",
        "strategy": "strategy",
        "state": "state",
        "weight": lambda one: f"{one['weight']:g} %",
        "needs": lambda one: one.get("needs", ""),
        "reason": "reason",
    }
    found = list(client.pages("/api/deployments", limit=limit, model_id=model_id))
    return listing(found, columns, empty="there are no deployments yet")


@command(commands, "show")
def show(client: HttpClient, deployment_id: DeploymentId) -> Answer:
    """Show one deployment: state, steps, and judgements."""
    found = client.get(f"/api/deployments/{deployment_id}")
    shown = {name: value for name, value in found.items() if name != "notice"}  # only an order has one
    return Answer(found, Facts({**shown, **_readable(found, SystemClock().now())}))


@command(commands, "history")
def history(client: HttpClient, model_id: OfModel = None, limit: Limit = 50) -> Answer:
    """List the events of deployments, newest first."""
    columns = {
        "when": at("at"),
        "deployment": "deployment_id",
        "model": "model_id",
        "what": "kind",
        "detail": "detail",
        "by": "actor",
    }
    found = list(client.pages("/api/deployments/history", limit=limit, model_id=model_id))
    return listing(found, columns, empty="there are no events yet")


def _verb(name: str, sentence: str) -> None:
    def steer(client: HttpClient, deployment_id: DeploymentId, by: By = None, reason: Why = None) -> Answer:
        return _steer(client, deployment_id, name, by=by, reason=reason)

    steer.__doc__ = sentence
    command(commands, name)(steer)


for _name, _sentence in _VERBS.items():
    _verb(_name, _sentence)


@command(commands, "promote")
def promote(
    client: HttpClient, deployment_id: DeploymentId, by: By = None, reason: Why = None, *, force: Force = False
) -> Answer:
    """Skip the remaining steps and send all traffic to the new version."""
    return _steer(client, deployment_id, "promote", by=by, reason=reason, force=force or None)


@command(commands, "rollback")
def rollback(
    client: HttpClient,
    deployment_id: DeploymentId,
    to_version: Annotated[
        str | None, typer.Option("--to-version", help="The version to go back to. By default the previous one.")
    ] = None,
    by: By = None,
    reason: Why = None,
    *,
    force: Force = False,
) -> Answer:
    """Send all traffic to an earlier version. Also after completion."""
    return _steer(client, deployment_id, "rollback", by=by, reason=reason, to_version=to_version, force=force or None)


def _steer(client: HttpClient, deployment_id: str, verb: str, **said: str | bool | None) -> Answer:
    return _one_line(client.change("POST", f"/api/deployments/{deployment_id}/{verb}", _said(**said)))


def _said(**said: str | bool | None) -> dict[str, str | bool]:
    return {name: value for name, value in said.items() if value is not None}


def _follow(client: HttpClient, made: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """Wait until the deployment ends; print each change to stderr. Returns the deployment."""
    with Waiting() as waiting:
        waiting.for_(f"{made['model_id']} {made['target_version']}")
        Deployment(client, made["id"]).wait(timeout, on_change=lambda status: waiting.note(_progress(status)))
    return client.get(f"/api/deployments/{made['id']}")


def _progress(status: DeploymentStatus) -> str:
    step = f", step {status.step + 1} of {len(status.steps)}" if status.steps else ""
    line = f"{status.state}{step}, {status.weight:g} % of the traffic: {status.reason}"
    if status.state != "awaiting_approval":
        return line
    gate = f" ({status.waiting_for})" if status.waiting_for and status.waiting_for not in status.reason else ""
    return f"{line}{gate}\n  to approve: streamb deployments approve {status.id} --by WHO"


def _one_line(found: Mapping[str, Any], exit_code: int = 0) -> Answer:
    line = f"{found['id']}: {found['model_id']} {found['target_version']} {found['state']}: {found['reason']}"
    return Answer(found, line, exit_code=exit_code)


def _readable(found: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the fields of a deployment that people read better as text, and what is unknown of it."""
    findings = (
        f"{one['criterion']}: {one['verdict']}{' (somebody decides)' if one.get('asks') else ''}, {one['detail']}"
        for one in found["findings"]
    )
    unknown = (f"{one['criterion']}: {one['detail']}" for one in found["findings"] if one["verdict"] == "inconclusive")
    approvals = (f"{one['gate']}: {one['by']}, {when(one['at'])} {one['reason']}" for one in found["approvals"])
    plan = (f"{one['weight']:g} %{' after approval' if one['gate'] else ''}" for one in found["steps"])
    return {
        **{name: when(found[name]) for name in ("created_at", "updated_at")},
        "state": f"{found['state']}{_left(', watched for {} more', found.get('watched_until'), now)}",
        "waiting_for": f"{found['waiting_for']}{_left(' (aborted in {})', found.get('approval_expires_at'), now)}",
        **{name: when(found.get(name)) for name in ("approval_expires_at", "watched_until")},
        "weight": f"{found['weight']:g} %",
        "steps": " → ".join(plan),
        "findings": "\n".join(findings),
        "unknown": "\n".join(unknown) if found["state"] in _UNDER_WAY else "",
        "approvals": "\n".join(line.rstrip() for line in approvals),
        "options": {name: _joined(value) for name, value in found["options"].items()},
    }


def _left(words: str, until: float | None, now: float) -> str:
    """Return `words` with the time from now to `until`; "" if there is no such time."""
    if until is None:
        return ""
    seconds = max(0.0, until - now)
    return words.format(f"{seconds:.0f} s" if seconds < _LONG_S else f"{seconds / 3_600:.1f} h")


def _joined(value: Any) -> Any:
    return " ".join(as_text(one) for one in value) if isinstance(value, list) else value
