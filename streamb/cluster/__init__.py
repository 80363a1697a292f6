"""Ray: actors, Serve deployments, handles, jobs. The only package that imports it."""

from streamb.cluster.platform import RunningPlatform, start_platform

__all__ = ["RunningPlatform", "start_platform"]
