"""What the routes work with: the verbs of other processes, the artifact store, settings, and a limit on every wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Concatenate, Final, ParamSpec, TypeVar

from fastapi import Depends, Request

from streamb.asking import Transport
from streamb.clock import Clock
from streamb.config import Settings
from streamb.errors import DeadlineExceeded, Overloaded, Unavailable
from streamb.registry import ArtifactStore

P = ParamSpec("P")
R = TypeVar("R")

PATIENCE_S: Final = 3.0
"""How long an answer waits for the Monitor that is useful without it."""

MOST_UPLOADS: Final = 8
"""As many artifacts are taken in at once: each may need twice its size of the disk, and a thread."""


@dataclass(frozen=True, slots=True)
class Console:
    """Everything a route may use.

    Attributes:
        control, monitor: carry calls to the Controller and to the Monitor.
        keys_in_use: idempotency keys whose first request is being worked on in this process.
        learning: held while a baseline is learnt: a large table takes memory, so one at a time.
        uploads: held while an artifact is taken in.
    """

    control: Transport
    monitor: Transport
    artifacts: ArtifactStore
    settings: Settings
    clock: Clock
    keys_in_use: set[str] = field(default_factory=set)
    learning: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_UPLOADS))

    @property
    def scratch(self) -> Path:
        """Where uploads land before they are checked."""
        return self.settings.state_dir / "scratch"

    @asynccontextmanager
    async def upload_slot(self) -> AsyncIterator[None]:
        """Wait for a turn to take in an artifact; its body stays with the sender meanwhile.

        Raises:
            Overloaded: no turn came in `request_timeout_s`.
        """
        limit = self.settings.request_timeout_s
        try:
            async with asyncio.timeout(limit):
                await self.uploads.acquire()
        except TimeoutError:
            busy = f"{MOST_UPLOADS} uploads are under way, the most that may be, for {limit:g} s; try again later"
            raise Overloaded(busy, retry_after_s=limit) from None
        try:
            yield
        finally:
            self.uploads.release()

    async def ask(self, verb: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a verb of the control side: `await console.ask(Registry.get_model, "iris")`.

        Raises:
            DeadlineExceeded: the answer did not come in `request_timeout_s`.
            StreambError: whatever the verb raised.
        """
        answer: R = await self._wait(self.control(verb.__qualname__, args, kwargs), "the Controller")
        return answer

    async def ask_monitor(self, verb: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a verb of the Monitor, as `ask` does one of the control side."""
        answer: R = await self._wait(self.monitor(verb.__qualname__, args, kwargs), "the Monitor")
        return answer

    async def glance(self, verb: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a verb of the Monitor, but wait only as long as an answer can that is useful without it, too.

        Raises:
            Unavailable: the Monitor does not answer so soon.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer: R = await self.monitor(verb.__qualname__, args, kwargs)
                return answer
        except TimeoutError:
            raise Unavailable(f"the monitor does not answer within {PATIENCE_S:g} s") from None

    async def _wait(self, answer: Awaitable[Any], who: str) -> Any:
        limit = self.settings.request_timeout_s
        try:
            async with asyncio.timeout(limit):
                return await answer
        except TimeoutError:
            raise DeadlineExceeded(
                f"{who} did not answer within {limit:g} s; whether the change was made is not known: "
                "read the state, or repeat the request with the same Idempotency-Key",
                timeout_s=limit,
            ) from None


def _console(request: Request) -> Console:
    console: Console = request.app.state.console
    return console


ConsoleDep = Annotated[Console, Depends(_console)]
