"""The version of streamb."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Return the version of the installed distribution; "0+unknown" if the source runs without being installed."""
    try:
        return version("streamb")
    except PackageNotFoundError:
        return "0+unknown"
