"""The Console: the control plane over HTTP. The only package that imports a web framework."""

from streamb.api.app import create_app
from streamb.api.ports import ControlPlane

__all__ = ["ControlPlane", "create_app"]
