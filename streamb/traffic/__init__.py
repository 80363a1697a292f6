"""Weights over versions, and the routing table that the control side hands to the request side."""

from streamb.traffic.split import Split
from streamb.traffic.table import GatewayPolicy, ModelRoute, RoutingTable, VersionTarget

__all__ = ["GatewayPolicy", "ModelRoute", "RoutingTable", "Split", "VersionTarget"]
