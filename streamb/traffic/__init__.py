"""Weights over versions, and the routing table that the control side hands to the request side."""

from streamb.traffic.split import Split
from streamb.traffic.table import (
    BreakerPolicy,
    GatewayPolicy,
    ModelRoute,
    Override,
    RoutingTable,
    Shadow,
    VersionTarget,
)

__all__ = [
    "BreakerPolicy",
    "GatewayPolicy",
    "ModelRoute",
    "Override",
    "RoutingTable",
    "Shadow",
    "Split",
    "VersionTarget",
]
