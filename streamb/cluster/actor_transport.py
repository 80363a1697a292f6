"""Calls to a named actor from any process on the cluster, with a time limit and with streamb's own errors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import PendingCallsLimitExceeded, RayActorError, RayTaskError

from streamb.cluster.names import NAMESPACE
from streamb.errors import DeadlineExceeded, Overloaded, StreambError, Unavailable


class ActorTransport:
    """A `Transport` of verbs: calls `invoke` of a named actor, and looks the actor up again after it has died.

    Args:
        name: the actor's name, in streamb's namespace.
        who: the actor's name in messages.
        timeout_s: longest wait for one answer, in seconds.
        when_gone: the error message while there is no such actor, or while it is being restarted.
        back_in_s: seconds after which clients should try again then.
    """

    def __init__(self, name: str, who: str, timeout_s: float, *, when_gone: str, back_in_s: float) -> None:
        self._name = name
        self._who = who
        self._timeout_s = timeout_s
        self._when_gone = when_gone
        self._back_in_s = back_in_s
        self._actor: Any = None
        self._finding: asyncio.Future[Any] | None = None

    async def __call__(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        try:
            return await asyncio.wait_for(self._ask(name, args, kwargs), self._timeout_s)
        except StreambError:
            raise
        except RayTaskError as error:
            if isinstance(error.cause, StreambError):
                raise error.cause from None
            raise
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self._who} did not answer {name} in {self._timeout_s:g} s; try again") from error
        except PendingCallsLimitExceeded as error:
            raise Overloaded(f"too many calls wait for {self._who}; try again", retry_after_s=2) from error
        except (RayActorError, ValueError) as error:  # ValueError: no actor of that name
            self._actor = None
            raise Unavailable(self._when_gone, retry_after_s=self._back_in_s) from error

    async def _ask(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if self._actor is None:
            self._actor = await asyncio.shield(self._find())
        return await self._actor.invoke.remote(name, args, dict(kwargs))

    def _find(self) -> asyncio.Future[Any]:
        """One look-up shared by all waiting calls: it blocks a thread, for a minute if the cluster's head is silent."""
        if self._finding is None or self._finding.done():
            self._finding = asyncio.ensure_future(asyncio.to_thread(ray.get_actor, self._name, NAMESPACE))
            self._finding.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        return self._finding
