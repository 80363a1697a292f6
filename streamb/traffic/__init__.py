"""The split of traffic over versions, and the routing table that the control side publishes to the gateways."""

from streamb.traffic.policy import BreakerPolicy, GatewayPolicy, KeyGrant, RateLimits
from streamb.traffic.split import Split
from streamb.traffic.table import (
    Batching,
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
    "KeyGrant",
    "ModelRoute",
    "Override",
    "RateLimits",
    "RoutingTable",
    "Shadow",
    "Split",
    "VersionTarget",
]
