"""Which streamb this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """The version of the installed distribution; "0+unknown" where the source runs without being installed."""
    try:
        return version("streamb")
    except PackageNotFoundError:
        return "0+unknown"
