"""`streamb status`, `health` and `metrics`: the state of the platform."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streamb.cli.options import AsJson
from streamb.cli.output import Answer, Columns, Facts, Row, Table, when
from streamb.sdk.http import HttpClient


def status(client: HttpClient) -> Answer:
    """Show what runs: gateways, models and versions."""
    found = client.get("/api/status")
    facts = {
        "url": found["url"],
        "version": found["version"],
        "environment": found["environment"],
        "up since": when(found["started_at"]),
        "gateways": len(found["gateways"]),
        "routing table": found["epoch"],
    }
    return Answer(found, Facts(facts), "", running_versions(found["models"]))


def health(client: HttpClient) -> Answer:
    """Show the health of each part of the platform. Exit code 1 unless all are healthy."""
    found = client.get("/api/monitoring/system-health")
    named = {**found["components"], **{f"model {name}": part for name, part in found["models"].items()}}
    parts = [{"part": name, "detail": None, **part} for name, part in named.items()]
    columns = {"part": "part", "status": "status", "detail": "detail"}
    table = Table(columns, parts, empty="no part has reported")
    return Answer(found, found["status"], table, exit_code=0 if found["status"] == "healthy" else 1)


def metrics(client: HttpClient, as_json: AsJson = False) -> Answer:
    """Print all metrics in Prometheus format."""
    text = client.text("/metrics")
    return Answer(_families(text) if as_json else None, text.removesuffix("\n"))


def running_versions(models: Iterable[Row]) -> Table:
    """Make a table of the versions that run for each model."""
    columns: Columns = {
        "model": "model_id",
        "version": "version",
        "state": "state",
        "replicas": "replicas",
        "": lambda one: "all traffic" if one["version"] == one["serving_version"] else one["reason"],
    }
    rows = [{**model, **running} for model in models for running in model["versions"]]
    return Table(columns, rows, empty="no model is deployed")


def _families(text: str) -> list[dict[str, Any]]:
    from prometheus_client.parser import text_string_to_metric_families

    return [
        {
            "name": family.name,
            "type": family.type,
            "help": family.documentation,
            "samples": [{"name": s.name, "labels": s.labels, "value": s.value} for s in family.samples],
        }
        for family in text_string_to_metric_families(text)
    ]
