"""Reach the Controller from any process on the cluster: the transport under `wiring.ControlClient`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from streamb.cluster.names import CONTROLLER, NAMESPACE
from streamb.errors import DeadlineExceeded, StreambError, Unavailable
from streamb.wiring.client import ControlClient


def connect(timeout_s: float) -> ControlClient:
    """A client whose every call is bounded by `timeout_s`."""
    return ControlClient(_ActorTransport(timeout_s))


class _ActorTransport:
    """Calls the Controller actor by name; looks it up again after it has died."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._actor: Any = None

    async def __call__(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        try:
            if self._actor is None:
                self._actor = await asyncio.to_thread(ray.get_actor, CONTROLLER, NAMESPACE)
            return await asyncio.wait_for(self._ask(verb, arguments), self._timeout_s)
        except StreambError:
            raise
        except RayTaskError as error:
            if isinstance(error.cause, StreambError):
                raise error.cause from None
            raise
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"the controller did not answer {verb} in {self._timeout_s:g} s; try again"
            ) from error
        except (RayActorError, ValueError) as error:  # ValueError: no actor of that name
            self._actor = None
            raise Unavailable(
                "the controller is not there (it may be restarting); try again", retry_after_s=2
            ) from error

    async def _ask(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        return await self._actor.invoke.remote(verb, dict(arguments))
