"""`streamb status`, `health` and `metrics`: how the platform is."""

from __future__ import annotations

from typing import Any

import typer

from streamb.cli.options import Address, ApiKey, AsJson, StateDir, connect
from streamb.cli.output import print_facts, print_json, print_table, when


def status(
    state_dir: StateDir = None, address: Address = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """What runs."""
    with connect(state_dir, address, api_key) as client:
        found = client.get("/api/status")
    if as_json:
        print_json(found)
        return
    print_facts(
        {
            "url": found["url"],
            "version": found["version"],
            "environment": found["environment"],
            "up since": when(found["started_at"]),
            "gateways": len(found["gateways"]),
            "routing table": found["epoch"],
        }
    )
    print()
    print_running(found["models"])


def health(
    state_dir: StateDir = None, address: Address = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Whether the platform is well, part by part. Exit code 1 when it is not."""
    with connect(state_dir, address, api_key) as client:
        found = client.get("/api/monitoring/system-health")
    if as_json:
        print_json(found)
    else:
        parts = [*found["components"].items(), *((f"model {name}", part) for name, part in found["models"].items())]
        print(found["status"])
        print_table(
            ("part", "status", "detail"),
            [(name, part["status"], part.get("detail")) for name, part in parts],
            empty="no part has reported",
        )
    if found["status"] != "healthy":
        raise typer.Exit(1)


def metrics(
    state_dir: StateDir = None, address: Address = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Request counts, durations and more, as Prometheus reads them."""
    with connect(state_dir, address, api_key) as client:
        text = client.text("/metrics")
    if as_json:
        print_json(_families(text))
    else:
        print(text, end="")


def print_running(models: list[dict[str, Any]]) -> None:
    """A table of what runs for each model."""
    rows = [
        (
            model["model_id"],
            running["version"],
            running["state"],
            running["replicas"],
            "all traffic" if running["version"] == model["serving_version"] else running["reason"],
        )
        for model in models
        for running in model["versions"]
    ]
    print_table(("model", "version", "state", "replicas", ""), rows, empty="no model is deployed")


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
