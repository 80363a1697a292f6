"""The gateway behind Serve's own HTTP proxy: `serve run serve_apps.gateway:app state_dir=/data/streamb`.

It starts the Controller as well. It is slower than `streamb up`, where clients reach the gateway's own listener, but it
works on any cluster whose only open port is Serve's.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from streamb.cluster.controller import start_controller
from streamb.cluster.gateway import gateway_application
from streamb.cluster.ray_token import demand_token_here
from streamb.config import load_settings
from streamb.store.state_dir import claim_state_dir


# No `from __future__ import annotations` here: Ray Serve reads the type of `args` and makes `Args` of what was given.
class Args(BaseModel):
    """The arguments of the gateway; all other settings come from `ML_*` variables."""

    model_config = ConfigDict(extra="forbid")

    state_dir: Path = Field(Path(".streamb"), description="folder for the database, artifacts and keys")
    environment: Literal["development", "staging", "production"] = "development"
    gateway_replicas: int = Field(1, ge=1, le=100)


def app(args: Args) -> Any:
    """Start (or find) the Controller, and return the gateway as a Serve application."""
    settings = load_settings(
        state_dir=args.state_dir,
        environment=args.environment,
        gateway_replicas=args.gateway_replicas,
        ray_address="auto",  # `serve run` is on a cluster already, whose nodes must reach each other
    )
    claim_state_dir(settings.state_dir, strict=settings.environment != "development")
    demand_token_here(settings.environment)
    start_controller(settings, with_edge=False)
    return gateway_application(settings)
