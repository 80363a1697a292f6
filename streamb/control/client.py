"""The control verbs from another process: the same names as `Control`, asynchronous."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from streamb.control.verbs import Control


class Invoke(Protocol):
    """Carries one call to where the `Control` lives and brings back what it returned or raised."""

    def __call__(self, verb: str, arguments: Mapping[str, Any]) -> Awaitable[Any]: ...


class ControlClient:
    """`await client.get_model(model_id="m")` runs `Control.get_model(model_id="m")` wherever that lives."""

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        if verb not in VERBS:
            raise AttributeError(f"{verb!r} is not a control verb; there are {', '.join(sorted(VERBS))}")

        def call(**arguments: Any) -> Awaitable[Any]:
            return self._invoke(verb, arguments)

        return call


VERBS = frozenset(name for name in vars(Control) if not name.startswith("_"))
"""Every public method of `Control`; nothing else can be called from another process."""
