"""Predictors that run in process, and the routing tables that lead to them."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from streamb.errors import StreambError
from streamb.models.schema import FeatureSchema
from streamb.serving import Batch, BatchReply
from streamb.traffic import GatewayPolicy, ModelRoute, RoutingTable, Split, VersionTarget


class SumPredictor:
    """Answers each row with the sum of its values; keeps the batches; waits while it is held."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, Batch]] = []
        self.failures: list[BaseException] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def hold(self) -> None:
        self.gate.clear()

    def let_go(self) -> None:
        self.gate.set()

    def replicas(self, target) -> int:
        return 1

    async def predict(self, target: VersionTarget, batch: Batch) -> BatchReply:
        self.batches.append((target.app, batch))
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        sums = np.array([float(np.sum(row)) for row in batch.rows])
        asked = sum(count for count, asked in zip(batch.counts, batch.probabilities, strict=False) if asked)
        return BatchReply(sums, np.tile([0.25, 0.75], (asked, 1)) if asked else None)


class VersionsPredictor:
    """Answers with the sum of each row plus what is set for its version; versions can fail, and be held, one by one."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.plus: dict[str, float] = {}
        self.errors: dict[str, StreambError] = {}
        self.gates: dict[str, asyncio.Event] = {}

    def hold(self, version: str) -> None:
        self.gates[version] = asyncio.Event()

    def let_go(self, version: str) -> None:
        self.gates.pop(version).set()

    def replicas(self, target) -> int:
        return 1

    async def predict(self, target: VersionTarget, batch: Batch) -> BatchReply:
        self.calls.append(target.version)
        if target.version in self.gates:
            await self.gates[target.version].wait()
        if target.version in self.errors:
            raise copy.copy(self.errors[target.version])  # each failure has a traceback of its own
        return BatchReply(np.array([float(np.sum(row)) for row in batch.rows]) + self.plus.get(target.version, 0.0))


NUMBERS = FeatureSchema.numbers(2).to_json()


def target(version: str = "1.0.0", *, model: str = "m", schema: Mapping[str, Any] = NUMBERS) -> VersionTarget:
    return VersionTarget(version=version, app=f"{model}-{version}", schema=schema, task="regression")


def table(
    *targets: VersionTarget,
    model: str = "m",
    epoch: int = 1,
    split: Split | None = None,
    policy: GatewayPolicy | None = None,
    **route_options: Any,
) -> RoutingTable:
    targets = targets or (target(model=model),)
    route = ModelRoute(
        model_id=model,
        salt="salt",
        split=split or Split.all_to(targets[0].version),
        targets={one.version: one for one in targets},
        **route_options,
    )
    return RoutingTable(epoch=epoch, models={model: route}, policy=policy or GatewayPolicy())
