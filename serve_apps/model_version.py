"""One registered model version: `serve run serve_apps.model_version:app model_id=iris version=1.0.0`.

It answers no HTTP requests: other applications on the cluster call `infer` of its handle.
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from streamb.clock import SystemClock
from streamb.cluster.console import signing_key_path
from streamb.cluster.model_version import model_application
from streamb.cluster.ray_token import demand_token_here
from streamb.config import load_settings
from streamb.crypto import SigningKey
from streamb.registry import Registry
from streamb.rollouts.runtime import AppSpec
from streamb.security.platform_key import PlatformKey
from streamb.store import open_database
from streamb.store.state_dir import claim_state_dir


# No `from __future__ import annotations` here: Ray Serve reads the type of `args` and makes `Args` of what was given.
class Args(BaseModel):
    """The version to run, and the state directory with its registry."""

    model_config = ConfigDict(extra="forbid")

    model_id: str = Field(min_length=1, max_length=100)
    version: str = Field("latest", min_length=1, max_length=100, description='a version, an alias or "latest"')
    state_dir: Path = Path(".streamb")


def app(args: Args) -> Any:
    """Return the version as a Serve application."""
    settings = load_settings(state_dir=args.state_dir)
    claim_state_dir(settings.state_dir, strict=settings.environment != "development")
    demand_token_here(settings.environment)
    PlatformKey.create(settings.state_dir)
    database = open_database(settings.resolved_database_url, SystemClock())
    try:
        version = Registry(database.records, database.journal, SystemClock()).resolve(args.model_id, args.version)
    finally:
        database.close()
    name = f"{args.model_id}--{version.version}--manual"
    spec = AppSpec(name, args.model_id, version.version, version.blob, version.environment)
    return model_application(settings, spec, SigningKey.load_or_create(signing_key_path(settings)).public)
