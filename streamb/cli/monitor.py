"""`streamb monitor`: health, drift, baselines, thresholds and alerts of a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from streamb.cli.alerts import alerts_of
from streamb.cli.command import command
from streamb.cli.models import ModelId
from streamb.cli.options import FieldsOf, Limit, Where
from streamb.cli.output import Answer, Columns, Facts, Table, as_text, at, listing
from streamb.errors import InvalidInput
from streamb.metrics.limits import Limits
from streamb.options import LONGEST_WINDOW_MINUTES
from streamb.sdk.http import HttpClient
from streamb.sdk.model_monitoring import ModelMonitoring

commands = typer.Typer(no_args_is_help=True, help="Watch models in production: health, drift, baselines.")

OfVersion = Annotated[
    str | None, typer.Option("--version", help="Version, alias, or latest. By default the version that serves.")
]
Minutes = Annotated[
    int | None,
    typer.Option("--minutes", min=1, max=LONGEST_WINDOW_MINUTES, help="Compare the traffic of this many minutes."),
]

_MEDIA_TYPES: Final = {".parquet": "application/vnd.apache.parquet", ".pq": "application/vnd.apache.parquet"}


@command(commands, "health")
def health(client: HttpClient, model_id: ModelId, version: OfVersion = None) -> Answer:
    """Show a model's health and its reasons. Exit code 1 if degraded or unhealthy."""
    found = ModelMonitoring(client, model_id).health(version)
    bad = found["status"] in {"degraded", "unhealthy"}
    return Answer(found, found["status"], Facts(_health_facts(found)), exit_code=1 if bad else 0)


@command(commands, "drift")
def drift(client: HttpClient, model_id: ModelId, version: OfVersion = None, minutes: Minutes = None) -> Answer:
    """Show how far each column has drifted from the baseline."""
    found = ModelMonitoring(client, model_id).drift(version, minutes=minutes)
    columns: Columns = {
        "column": "name",
        "kind": "kind",
        "score": lambda one: None if one["score"] is None else f"{one['score']:.3f}",
        "status": lambda one: as_text(one["status"]).replace("_", " "),
        "shift (sd)": lambda one: None if one["shift"] is None else f"{one['shift']:.2f}",
        "rows": "rows",
        "in words": "detail",
    }
    return Answer(found, found["summary"], Table(columns, _columns_of(found), empty="no columns were compared"))


@command(commands, "baseline")
def baseline(
    where: Where,
    model_id: ModelId,
    table: Annotated[
        Path | None, typer.Argument(exists=True, dir_okay=False, help="A Parquet or CSV file with the features.")
    ] = None,
    version: OfVersion = None,
    predictions: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Column with the predictions. Repeatable.")
    ] = None,
    labels: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with the true labels.")] = None,
    confidence: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with confidences, 0 to 1.")] = None,
    probability: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Column with a class probability. Repeat for each class."),
    ] = None,
    from_window: Annotated[
        int | None,
        typer.Option(
            metavar="MINUTES", min=1, max=LONGEST_WINDOW_MINUTES, help="Use recent traffic instead of a file."
        ),
    ] = None,
) -> Answer:
    """Set the baseline that later traffic is compared with."""
    if (table is None) == (from_window is None):
        raise typer.BadParameter("give either a table (Parquet or CSV) or --from-window MINUTES")
    roles = {"predictions": predictions, "labels": labels, "confidence": confidence, "probabilities": probability}
    named = {name: value for name, value in roles.items() if value}
    about = {"model_id": model_id, "version": version}
    with where.connect() as client:
        path = "/api/monitoring/baseline"
        if table is None:
            if named:
                raise InvalidInput("options that name columns need a table; leave them out with --from-window")
            made = client.change("POST", path, {**about, "from_window_minutes": from_window})
        else:
            media_type = _MEDIA_TYPES.get(table.suffix.lower(), "text/csv")
            made = client.upload(path, table, {**about, **named}, part="table", media_type=media_type)
    state = "is being learned" if made["learning"] else f"{made['rows']} rows, {len(made['columns'])} columns"
    return Answer(made, f"baseline {made['number']} of {model_id} {made['version']}: {state}")


@command(commands, "baselines")
def baselines(client: HttpClient, model_id: ModelId) -> Answer:
    """List the baselines of a model, newest first."""
    columns: Columns = {
        "version": "version",
        "number": "number",
        "": _standing,
        "rows": "rows",
        "columns": lambda one: len(one["columns"]),
        "made of": "origin",
        "by": "author",
        "at": at("created_at"),
    }
    found = ModelMonitoring(client, model_id).baselines()
    return listing(found, columns, empty=f"{model_id} has no baseline: streamb monitor baseline {model_id} TABLE")


@command(commands, "thresholds")
def thresholds(
    client: HttpClient, model_id: ModelId, told: Annotated[dict[str, Any], FieldsOf(Limits, tuple(Limits.model_fields))]
) -> Answer:
    """Set the limits that health is judged by. Limits that are not given are removed."""
    made = ModelMonitoring(client, model_id).set_thresholds(**told)
    return Answer(
        made, Facts({"model": model_id, **{name: made["thresholds"].get(name) for name in Limits.model_fields}})
    )


@command(commands, "alerts")
def alerts(client: HttpClient, model_id: ModelId, limit: Limit = 100) -> Answer:
    """List the alerts of a model; firing ones come first."""
    return alerts_of(client, limit, model=model_id)


def _standing(baseline: Mapping[str, Any]) -> str:
    if not baseline["active"]:
        return ""
    return "being learned" if baseline["learning"] else "in force"


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
    """Return the columns of a drift report: drifted ones first, then by score."""
    together = [found["multivariate"]] if found.get("multivariate") else []
    columns = [*found["features"].values(), *found["outputs"].values(), *together]
    return sorted(columns, key=lambda one: (not one["drifted"], -(one["score"] or 0.0), one["name"]))
