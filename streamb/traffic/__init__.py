"""The split of traffic over versions, and the routing table that the control side publishes to the gateways."""

from streamb.traffic.split import Split
from streamb.traffic.table import (
    Batching,
    BreakerPolicy,
    GatewayPolicy,
    ModelRoute,
    Override,
    RoutingTable,
    Shadow,
    VersionTarget,
)

__all__ = [
    "Batching",
    "BreakerPolicy",
    "GatewayPolicy",
    "ModelRoute",
    "Override",
    "RoutingTable",
    "Shadow",
    "Split",
    "VersionTarget",
]
