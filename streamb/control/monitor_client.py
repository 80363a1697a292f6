"""The Monitor's verbs from another process: the same names as `MonitorCore`, asynchronous."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from streamb.control.client import Invoke
from streamb.errors import Unavailable
from streamb.monitoring.monitor import MonitorCore

_NOT_ASKED: Final = frozenset({"receive", "tick", "start", "close"})
"""The Monitor's own life, and what only sources tell it."""


class MonitorClient:
    """`await client.health(model_id="m", version=None)` runs `MonitorCore.health` wherever that lives."""

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        if verb not in VERBS:
            raise AttributeError(f"{verb!r} is not a verb of the Monitor; there are {', '.join(sorted(VERBS))}")

        def call(**arguments: Any) -> Awaitable[Any]:
            return self._invoke(verb, arguments)

        return call


VERBS: Final = frozenset(name for name in vars(MonitorCore) if not name.startswith("_")) - _NOT_ASKED
"""Every public method of `MonitorCore` that may be called from another process."""


async def no_monitor(verb: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ARG001 - the protocol of a transport
    """The transport where there is no Monitor."""
    raise Unavailable("monitoring is not enabled on this platform (ML_MONITORING_ENABLED)", retry_after_s=60)
