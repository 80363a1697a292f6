"""What the routes work with: the control side, the artifact store, settings, and a limit on every wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from streamb.api.ports import ControlPlane
from streamb.clock import Clock
from streamb.config import Settings
from streamb.errors import DeadlineExceeded
from streamb.registry import ArtifactStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Console:
    """Everything a route may use.

    Attributes:
        keys_in_use: idempotency keys whose first request is being worked on in this process.
    """

    control: ControlPlane
    artifacts: ArtifactStore
    settings: Settings
    clock: Clock
    keys_in_use: set[str] = field(default_factory=set)

    @property
    def scratch(self) -> Path:
        """Where uploads land before they are checked."""
        return self.settings.state_dir / "scratch"

    async def ask(self, work: Awaitable[T]) -> T:
        """Wait for the control side, but never longer than a request may take.

        Raises:
            DeadlineExceeded: the answer did not come in `request_timeout_s`.
        """
        limit = self.settings.request_timeout_s
        try:
            async with asyncio.timeout(limit):
                return await work
        except TimeoutError:
            raise DeadlineExceeded(
                f"the Controller did not answer within {limit:g} s; whether the change was made is not known: "
                "read the state, or repeat the request with the same Idempotency-Key",
                timeout_s=limit,
            ) from None


def _console(request: Request) -> Console:
    console: Console = request.app.state.console
    return console


ConsoleDep = Annotated[Console, Depends(_console)]
