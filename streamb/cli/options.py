"""Options that many commands share, and the platform that they describe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from streamb.config import ENVIRONMENTS, load_settings
from streamb.sdk.discovery import read_api_key, require_platform
from streamb.sdk.http import HttpClient

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def _one_of_the_presets(name: str | None) -> str | None:
    if name is not None and name not in ENVIRONMENTS:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(ENVIRONMENTS)}")
    return name


Presets = Annotated[
    str | None,
    typer.Option("--environment", "--env", callback=_one_of_the_presets, help="development, staging or production."),
]
StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="The platform's folder; by default ML_STATE_DIR, else .streamb.")
]
Address = Annotated[str | None, typer.Option("--address", help="http://HOST:PORT of a platform elsewhere.")]
ApiKey = Annotated[str | None, typer.Option("--api-key", help="The key for --address.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Most lines to show.")]


@dataclass(frozen=True, slots=True)
class Where:
    """Which platform is meant, as the options `--state-dir`, `--address` and `--api-key` say it."""

    state_dir: Path | None
    address: str | None
    api_key: str | None

    def connect(self) -> HttpClient:
        """A client of the platform at `address`, or of the one that runs on the state directory.

        Raises:
            NotRunning: no platform runs on the state directory.
        """
        if self.address is not None:
            return HttpClient(self.address, self.api_key)
        folder = load_settings(state_dir=self.state_dir).state_dir
        return HttpClient(require_platform(folder).url, self.api_key or read_api_key(folder))


def read_pairs(pairs: Iterable[str] | None, option: str) -> dict[str, str]:
    """`NAME=VALUE` options as a dict; a usage error when one of them has no `=`."""
    found: dict[str, str] = {}
    for pair in pairs or ():
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"{option} takes NAME=VALUE, got {pair!r}")
        found[name] = value
    return found
