"""A platform whose deployments go as the test says; what is asked of them is written down."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from streamb.asking import ONCE
from streamb.control.verbs import Control
from streamb.errors import NotFound, SelfApproval
from streamb.rollouts.controller import Rollouts
from tests.api.fakes import InProcess


@dataclass(frozen=True)
class Seen:
    """What the Controller hands out, with the names of the real one."""

    state: str = "pending"
    weight: float = 0.0
    step: int = 0
    reason: str = "waiting for the controller"
    phase: str = "capacity"
    waiting_for: str = ""
    findings: tuple[Any, ...] = ()
    approvals: tuple[Any, ...] = ()
    created_by: str = "grace"
    strategy: str = "canary"
    options: Mapping[str, Any] = field(default_factory=dict)
    id: str = "dep-1"
    model_id: str = "churn"
    target_version: str = "1.1.0"
    previous_version: str | None = "1.0.0"
    needs: str = ""
    approval_expires_at: float | None = None
    watched_until: float | None = None
    created_at: float = 1.0
    updated_at: float = 2.0
    steps: tuple[Any, ...] = tuple(
        SimpleNamespace(weight=weight, min_time_s=10.0, max_time_s=600.0, min_samples=100, gate=gate, analyse=True)
        for weight, gate in ((10.0, False), (25.0, False), (100.0, True))
    )


FINDING = SimpleNamespace(
    criterion="error_rate",
    verdict="fail",
    detail="5 % of 812 requests failed",
    value=0.05,
    limit=0.02,
    samples=812,
    asks=False,
)
APPROVAL = SimpleNamespace(by="ada", at=3.0, gate="before 100 %", reason="looks good")


class SteeredDeployments:
    """Stands where the real deployments would be.

    Attributes:
        orders: what every `Control.create_deployment` asked for.
        steered: verb and arguments of every order to a deployment.
        story: what `Rollouts.get` answers, one after the other; the last one again and again.
    """

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []
        self.steered: list[tuple[str, dict[str, Any]]] = []
        self.story: list[Seen | Exception] = [Seen()]

    def answer(self, verb: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Seen:
        """Take in what the real verb would be called with."""
        asked = {name: value for name, value in kwargs.items() if name != ONCE}
        given = dict(inspect.signature(verb).bind(None, *args, **asked).arguments)
        del given["self"]
        if verb is Control.create_deployment:
            self.orders.append(given)
            first = next(one for one in self.story if isinstance(one, Seen))
            made = {"strategy": given["strategy"], "options": given["options"], "created_by": given["actor"]}
            return replace(first, **made)
        if verb is Rollouts.get:
            return self._now(**given)
        self.steered.append((verb.__name__, given))
        now = self._now(given["deployment_id"])
        if verb is Rollouts.approve and given["by"] == now.created_by:
            raise SelfApproval("whoever began a deployment may not approve it")
        return replace(now, reason=f"{verb.__name__} by {given['by']}: {given['reason']}")

    def _now(self, deployment_id: str) -> Seen:
        now = self.story.pop(0) if len(self.story) > 1 else self.story[0]
        if isinstance(now, Exception):
            raise now
        if deployment_id != now.id:
            raise NotFound(f"no deployment {deployment_id}")
        return now


_STEERED = {
    verb.__qualname__: verb
    for verb in (
        Control.create_deployment,
        Rollouts.get,
        Rollouts.approve,
        Rollouts.pause,
        Rollouts.resume,
        Rollouts.promote,
        Rollouts.abort,
        Rollouts.rollback,
    )
}


class SteeredPlatform(InProcess):
    """`InProcess` with `SteeredDeployments`; the other verbs are the real ones."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.steering = SteeredDeployments()

    async def control(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if name in _STEERED:
            return self.steering.answer(_STEERED[name], args, kwargs)
        return await super().control(name, args, kwargs)
