"""The names of streamb's actors and Serve applications on a Ray cluster."""

from __future__ import annotations

from typing import Final

NAMESPACE: Final = "streamb"
CONTROLLER: Final = "streamb-controller"
MONITOR: Final = "streamb-monitor"
GATEWAY_APP: Final = "streamb-gateway"
GATEWAY: Final = "Gateway"
CONSOLE_APP: Final = "streamb-console"
CONSOLE: Final = "Console"
MODEL_VERSION: Final = "ModelVersion"
LINK: Final = "link"
COLLECTOR_PREFIX: Final = "streamb-collector-"


def edge_actor(node_id: str) -> str:
    """The name of the edge actor of a node."""
    return f"streamb-edge-{node_id[:12]}"


def node_collector(node_id: str) -> str:
    """The name of the actor that joins the pushes of a node."""
    return f"{COLLECTOR_PREFIX}{node_id[:12]}"


def is_model_app(app: str) -> bool:
    """Return whether an app runs a model version (`model--version--nonce`); False for our own and foreign apps."""
    return app.count("--") >= 2 and not app.startswith("streamb-")
