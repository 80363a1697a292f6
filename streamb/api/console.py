"""What the routes use: calls to other processes with a limit on every wait, the artifact store, and settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Concatenate, Final, ParamSpec, TypeVar

from fastapi import Depends, Request

from streamb.asking import ONCE, Once, Told, Transport, changes
from streamb.clock import Clock
from streamb.config import Settings
from streamb.errors import DeadlineExceeded, Overloaded, Unavailable
from streamb.registry import ArtifactStore

P = ParamSpec("P")
R = TypeVar("R")

PATIENCE_S: Final = 3.0
"""How long a request waits for the Monitor if its answer is useful without the Monitor's part."""

MOST_UPLOADS: Final = 8
"""How many artifacts may be uploaded at once: each may need twice its size on disk, and a thread."""


@dataclass(slots=True)
class InChange:
    """A change that its caller named.

    Attributes:
        once: its name, under which the answers of its verbs are kept.
        told: whether the last of them was made before.
    """

    once: Once
    told: bool = False


in_change: ContextVar[InChange | None] = ContextVar("in_change", default=None)
"""The change that this task makes, if its caller named it."""


@dataclass(frozen=True, slots=True)
class Console:
    """Everything that a route may use.

    Attributes:
        control, monitor: carry calls to the Controller and to the Monitor.
        keys_in_use: idempotency keys whose first request is being worked on in this process.
        learning: held while a baseline is learnt; one at a time, because a large table takes much memory.
        uploads: held while an artifact is uploaded.
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
        """The folder for uploads that are not checked yet."""
        return self.settings.state_dir / "scratch"

    @asynccontextmanager
    async def upload_slot(self) -> AsyncIterator[None]:
        """Hold one of the upload slots, waiting for it if necessary; the body is not read while waiting.

        Raises:
            Overloaded: no slot became free within `request_timeout_s`.
        """
        limit = self.settings.request_timeout_s
        try:
            async with asyncio.timeout(limit):
                await self.uploads.acquire()
        except TimeoutError:
            busy = f"no upload slot became free within {limit:g} s ({MOST_UPLOADS} may run at once); try again later"
            raise Overloaded(busy, retry_after_s=limit) from None
        try:
            yield
        finally:
            self.uploads.release()

    async def ask(self, verb: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a verb of the control side: `await console.ask(Registry.get_model, "iris")`.

        A change that is made under an `Idempotency-Key` is done once: the Controller tells its answer again.

        Raises:
            DeadlineExceeded: no answer came within `request_timeout_s`.
            StreambError: the error that the verb raised.
        """
        answer: R = await self._once(verb, self.control, args, kwargs, "the Controller")
        return answer

    async def ask_monitor(self, verb: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a verb of the Monitor; otherwise like `ask`."""
        answer: R = await self._once(verb, self.monitor, args, kwargs, "the Monitor")
        return answer

    async def glance(self, verb: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a verb of the Monitor, but wait at most `PATIENCE_S`, for answers that are useful without it.

        Raises:
            Unavailable: the Monitor did not answer in that time.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer: R = await self.monitor(verb.__qualname__, args, kwargs)
                return answer
        except TimeoutError:
            raise Unavailable(f"the Monitor did not answer within {PATIENCE_S:g} s") from None

    async def _once(
        self, verb: Callable[..., Any], transport: Transport, args: tuple[Any, ...], kwargs: Mapping[str, Any], who: str
    ) -> Any:
        """Ask for a verb; if it is a change that its caller named, under that name."""
        within = in_change.get() if changes(verb) else None
        named = kwargs if within is None else {**kwargs, ONCE: within.once}
        answer = await self._wait(transport(verb.__qualname__, args, named), who)
        if within is None:
            return answer
        within.told = isinstance(answer, Told)
        return answer.answer if isinstance(answer, Told) else answer

    async def _wait(self, answer: Awaitable[Any], who: str) -> Any:
        limit = self.settings.request_timeout_s
        try:
            async with asyncio.timeout(limit):
                return await answer
        except TimeoutError:
            raise DeadlineExceeded(
                f"{who} did not answer within {limit:g} s, so it is not known whether the change was made: "
                "read the state, or repeat the request with the same Idempotency-Key",
                timeout_s=limit,
            ) from None


def _console(request: Request) -> Console:
    console: Console = request.app.state.console
    return console


ConsoleDep = Annotated[Console, Depends(_console)]
