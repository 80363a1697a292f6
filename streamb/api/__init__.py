"""The Console: the control plane over HTTP. The only package that imports a web framework."""

from streamb.api.app import create_app

__all__ = ["create_app"]
