"""Reach the Controller from any process on the cluster: the transport under `control.ControlClient`."""

from __future__ import annotations

from streamb.cluster.actor_transport import ActorTransport
from streamb.cluster.names import CONTROLLER
from streamb.control.client import ControlClient


def connect(timeout_s: float) -> ControlClient:
    """A client whose every call is bounded by `timeout_s`."""
    gone = "the controller is not there (it may be restarting); try again"
    return ControlClient(ActorTransport(CONTROLLER, "the controller", timeout_s, when_gone=gone, back_in_s=2))
