"""`streamb monitor`: how models do in service, how far their data drifted, and from which baseline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from streamb.cli.alerts import print_alerts
from streamb.cli.models import ModelId
from streamb.cli.options import Address, ApiKey, AsJson, Limit, StateDir, connect
from streamb.cli.output import as_text, print_facts, print_json, print_table, when
from streamb.errors import InvalidInput

commands = typer.Typer(no_args_is_help=True, help="How models do in service: health, drift, baselines.")

OfVersion = Annotated[
    str | None, typer.Option("--version", help="A version, an alias, or latest; by default the one that serves.")
]
Minutes = Annotated[int | None, typer.Option("--minutes", min=1, help="Length of the window that is compared.")]

_MEDIA_TYPES: Final = {".parquet": "application/vnd.apache.parquet", ".pq": "application/vnd.apache.parquet"}


@commands.command("health")
def health(
    model_id: ModelId,
    version: OfVersion = None,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """How a model does, with reasons. Exit code 1 when it is degraded or unhealthy."""
    with connect(state_dir, address, api_key) as client:
        found = client.get(f"/api/monitoring/{model_id}/health", version=version)
    if as_json:
        print_json(found)
    else:
        print(found["status"])
        print_facts(_health_facts(found))
    if found["status"] in {"degraded", "unhealthy"}:
        raise typer.Exit(1)


@commands.command("drift")
def drift(
    model_id: ModelId,
    version: OfVersion = None,
    minutes: Minutes = None,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """How far the newest traffic is from the baseline, column by column."""
    with connect(state_dir, address, api_key) as client:
        found = client.get(f"/api/monitoring/{model_id}/drift", version=version, minutes=minutes)
    if as_json:
        print_json(found)
        return
    print(found["summary"])
    print_table(
        ("column", "kind", "score", "status", "shift (sd)", "rows", "in words"),
        [_drift_line(one) for one in _columns_of(found)],
        empty="no column is compared",
    )


@commands.command("baseline")
def baseline(
    model_id: ModelId,
    table: Annotated[
        Path | None, typer.Argument(exists=True, dir_okay=False, help="A Parquet or CSV file with the features.")
    ] = None,
    version: OfVersion = None,
    predictions: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="The column of predictions; repeatable.")
    ] = None,
    labels: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of the truth.")] = None,
    confidence: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of the predictions, 0 to 1.")] = None,
    probability: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Of a class; repeatable, one for each class.")
    ] = None,
    from_window: Annotated[
        int | None, typer.Option(metavar="MINUTES", min=1, help="Instead of a file: the live traffic of these minutes.")
    ] = None,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Say what is usual: from a table, or from live traffic."""
    if (table is None) == (from_window is None):
        raise typer.BadParameter("give a table (Parquet or CSV), or --from-window MINUTES")
    roles = {"predictions": predictions, "labels": labels, "confidence": confidence, "probabilities": probability}
    named = {name: value for name, value in roles.items() if value}
    about = {"model_id": model_id, "version": version}
    with connect(state_dir, address, api_key) as client:
        path = "/api/monitoring/baseline"
        if table is None:
            if named:
                raise InvalidInput("columns are those of a table; live traffic has none to name")
            made = client.change("POST", path, {**about, "from_window_minutes": from_window})
        else:
            media_type = _MEDIA_TYPES.get(table.suffix.lower(), "text/csv")
            made = client.upload(path, table, {**about, **named}, part="table", media_type=media_type)
    if as_json:
        print_json(made)
    else:
        state = "is being learnt" if made["learning"] else f"{made['rows']} rows, {len(made['columns'])} columns"
        print(f"baseline {made['number']} of {model_id} {made['version']}: {state}")


@commands.command("baselines")
def baselines(
    model_id: ModelId,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """The baselines of a model's versions, the newest first."""
    with connect(state_dir, address, api_key) as client:
        found = client.get(f"/api/monitoring/{model_id}/baselines")["items"]
    if as_json:
        print_json(found)
        return
    rows = [
        (b["version"], b["number"], _standing(b), b["rows"], len(b["columns"]), b["origin"],
         b["author"], when(b["created_at"]))
        for b in found
    ]  # fmt: skip
    columns = ("version", "number", "", "rows", "columns", "made of", "by", "at")
    print_table(columns, rows, empty=f"{model_id} has no baseline: streamb monitor baseline {model_id} TABLE")


@commands.command("thresholds")
def thresholds(
    model_id: ModelId,
    max_latency_ms: Annotated[float | None, typer.Option(min=0, help="Of the 95th percentile.")] = None,
    max_error_rate: Annotated[float | None, typer.Option(min=0, max=1, help="Share of requests.")] = None,
    min_accuracy: Annotated[float | None, typer.Option(min=0, max=1, help="Share of right labels.")] = None,
    min_throughput: Annotated[float | None, typer.Option(min=0, help="Requests per second.")] = None,
    max_drift_score: Annotated[float | None, typer.Option(min=0, max=1, help="0 to 1.")] = None,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Say what health is judged by; what is not named is not judged."""
    given = {
        "max_latency_ms": max_latency_ms,
        "max_error_rate": max_error_rate,
        "min_accuracy": min_accuracy,
        "min_throughput": min_throughput,
        "max_drift_score": max_drift_score,
    }
    body = {name: value for name, value in given.items() if value is not None}
    with connect(state_dir, address, api_key) as client:
        made = client.change("POST", f"/api/monitoring/{model_id}/thresholds", body)
    if as_json:
        print_json(made)
    else:
        print_facts({"model": model_id, **{name: made["thresholds"].get(name) for name in given}})


@commands.command("alerts")
def alerts(
    model_id: ModelId,
    limit: Limit = 100,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """A model's alerts, those that fire first."""
    with connect(state_dir, address, api_key) as client:
        found = list(client.pages("/api/alerts", limit=limit, model=model_id))
    if as_json:
        print_json(found)
    else:
        print_alerts(found)


def _standing(baseline: Mapping[str, Any]) -> str:
    if not baseline["active"]:
        return ""
    return "being learnt" if baseline["learning"] else "in force"


def _health_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    metrics, drifted = found["current_metrics"], found["drift_status"]
    milliseconds = {name: metrics.get(f"{name}_latency_ms") for name in ("average", "p50", "p95", "p99")}
    return {
        "model": f"{found['model_id']} {found['version']}",
        "reasons": "\n".join(found["reasons"]),
        "latency": ", ".join(f"{name} {value:.3g} ms" for name, value in milliseconds.items() if value is not None),
        "requests per second": metrics.get("throughput"),
        "error rate": metrics.get("error_rate"),
        "accuracy": metrics.get("accuracy"),
        "accuracy, estimated": _estimate(found["estimated_accuracy"]),
        "rows not counted": ", ".join(
            f"{count:,} {why}" for why, count in found["rows"].items() if count and why != "rows"
        )
        or None,
        "drift": drifted["summary"] if drifted else None,
        "concept drift": found["concept"]["summary"] if found["concept"] else None,
    }


def _estimate(found: Mapping[str, Any] | None) -> str | None:
    if found is None:
        return None
    return found["note"] if found["accuracy"] is None else f"{found['accuracy']:.3f} ({found['note']})"


def _columns_of(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The drifted ones first, then by score."""
    together = [found["multivariate"]] if found.get("multivariate") else []
    columns = [*found["features"].values(), *found["outputs"].values(), *together]
    return sorted(columns, key=lambda one: (not one["drifted"], -(one["score"] or 0.0), one["name"]))


def _drift_line(one: Mapping[str, Any]) -> tuple[Any, ...]:
    score = "-" if one["score"] is None else f"{one['score']:.3f}"
    shift = "-" if one["shift"] is None else f"{one['shift']:.2f}"
    return one["name"], one["kind"], score, as_text(one["status"]).replace("_", " "), shift, one["rows"], one["detail"]
