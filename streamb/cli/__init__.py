"""The command line: a thin face over the SDK and the HTTP API."""

from __future__ import annotations


def main() -> None:
    """Run `streamb` with the arguments of this process."""
    from streamb.cli.app import app

    app(prog_name="streamb")


__all__ = ["main"]
