"""Reach the Monitor from any process on the cluster: the transport under `control.MonitorClient`."""

from __future__ import annotations

from streamb.cluster.actor_transport import ActorTransport
from streamb.cluster.names import MONITOR
from streamb.control.monitor_client import MonitorClient


def connect_monitor(timeout_s: float) -> MonitorClient:
    """A client whose every call is bounded by `timeout_s`."""
    gone = "the monitor is being restarted; try again in a few seconds"
    return MonitorClient(ActorTransport(MONITOR, "the monitor", timeout_s, when_gone=gone, back_in_s=2))
