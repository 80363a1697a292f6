"""A platform whose deployments go as the test says; what is asked of them is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from streamb.errors import Forbidden, NotFound
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
    created_by: str = "operator"
    strategy: str = "canary"
    options: Mapping[str, Any] = field(default_factory=dict)
    id: str = "dep-1"
    model_id: str = "churn"
    target_version: str = "1.1.0"
    previous_version: str | None = "1.0.0"
    created_at: float = 1.0
    updated_at: float = 2.0
    steps: tuple[Any, ...] = tuple(
        SimpleNamespace(weight=weight, min_time_s=10.0, max_time_s=600.0, min_samples=100, gate=gate, analyse=True)
        for weight, gate in ((1_000, False), (2_500, False), (10_000, True))
    )


FINDING = SimpleNamespace(
    criterion="error_rate", verdict="fail", detail="5 % of 812 requests failed", value=0.05, limit=0.02, samples=812
)
APPROVAL = SimpleNamespace(by="ada", at=3.0, gate="before 100 %", reason="looks good")


class SteeredControl:
    """The verbs of deployments; the others are the real ones.

    Attributes:
        orders: arguments of every `create_deployment`.
        steered: verb and arguments of every order to a deployment.
        story: what `get_deployment` answers, one after the other; the last one again and again.
    """

    def __init__(self, others: Any) -> None:
        self._others = others
        self.orders: list[dict[str, Any]] = []
        self.steered: list[tuple[str, dict[str, Any]]] = []
        self.story: list[Seen | Exception] = [Seen()]

    def __getattr__(self, verb: str) -> Any:
        name, _, of = verb.partition("_")
        if of != "deployment" or name not in {"approve", "pause", "resume", "promote", "abort", "rollback"}:
            return getattr(self._others, verb)

        async def steer(**arguments: Any) -> Seen:
            self.steered.append((name, arguments))
            now = await self.get_deployment(deployment_id=arguments["deployment_id"])
            if name == "approve" and arguments["by"] == now.created_by:
                raise Forbidden("whoever began a deployment may not approve it")
            return replace(now, reason=f"{name} by {arguments['by']}: {arguments['reason']}")

        return steer

    async def create_deployment(self, **order: Any) -> Seen:
        self.orders.append(order)
        strategy, options, actor = order["strategy"], order["options"], order["actor"]
        return replace(self._first(), strategy=strategy, options=options, created_by=actor)

    async def get_deployment(self, *, deployment_id: str) -> Seen:
        now = self.story.pop(0) if len(self.story) > 1 else self.story[0]
        if isinstance(now, Exception):
            raise now
        if deployment_id != now.id:
            raise NotFound(f"no deployment {deployment_id}")
        return now

    def _first(self) -> Seen:
        return next(one for one in self.story if isinstance(one, Seen))


class SteeredPlatform(InProcess):
    """`InProcess` with a `SteeredControl`."""

    control: SteeredControl

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.control = SteeredControl(self.control)
