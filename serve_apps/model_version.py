"""One registered model version: `serve run serve_apps.model_version:app model_id=iris version=1.0.0`.

It answers no HTTP, whatever the route: other applications on the cluster call its handle's `infer`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from streamb.clock import SystemClock
from streamb.cluster.console import signing_key_path
from streamb.cluster.model_version import model_application
from streamb.config import load_settings
from streamb.crypto import SigningKey
from streamb.registry import Registry
from streamb.rollouts.runtime import AppSpec
from streamb.store import open_database


class Args(BaseModel):
    """Which version to run, and where the registry is."""

    model_config = ConfigDict(extra="forbid")

    model_id: str = Field(min_length=1, max_length=100)
    version: str = Field("latest", min_length=1, max_length=100, description='a version, an alias or "latest"')
    state_dir: Path = Path(".streamb")


def app(args: Args) -> Any:
    """The version as a Serve application."""
    settings = load_settings(state_dir=args.state_dir)
    database = open_database(settings.resolved_database_url, SystemClock())
    try:
        version = Registry(database.records, database.journal, SystemClock()).resolve(args.model_id, args.version)
    finally:
        database.close()
    spec = AppSpec(f"{args.model_id}--{version.version}--manual", args.model_id, version.version, version.blob)
    return model_application(settings, spec, SigningKey.load_or_create(signing_key_path(settings)).public)
