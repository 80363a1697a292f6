"""A runtime and outcomes in memory, and a house that holds all that rollouts need."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

from streamb.clock import ManualClock
from streamb.metrics import LatencyHistogram, Snapshot
from streamb.metrics.histogram import bucket_of
from streamb.registry import Artifact, Registry
from streamb.rollouts.controller import Rollouts
from streamb.rollouts.decide import Limits
from streamb.rollouts.deployment import Deployment
from streamb.rollouts.runtime import AppPhase, AppSpec, AppStatus
from streamb.rollouts.strategies import Strategy
from streamb.store import Database
from streamb.traffic import ModelRoute
from tests.store.memory import memory_database

VERSIONS = ("1.0.0", "2.0.0", "3.0.0")


class FakeRuntime:
    """Apps start when the test says so.

    Attributes:
        born_with: replicas of an app that has just come up.
        cannot_start: versions whose apps never come up.
        scaled: every order to scale.
    """

    def __init__(self) -> None:
        self.state: dict[str, AppStatus] = {}
        self.specs: dict[str, AppSpec] = {}
        self.stopped: list[str] = []
        self.scaled: list[tuple[str, int]] = []
        self.wanted: dict[str, int] = {}
        self.acknowledged_epoch = 0
        self.busy: dict[str, int] = {}
        self.born_with = 1
        self.cannot_start: set[str] = set()

    def start(self, spec: AppSpec) -> None:
        assert spec.app not in self.stopped, "a name is never used twice"
        self.specs[spec.app] = spec
        self.state.setdefault(spec.app, AppStatus(AppPhase.STARTING))

    def scale(self, app: str, replicas: int) -> None:
        self.scaled.append((app, replicas))
        if app in self.state:
            self.wanted[app] = replicas

    def stop(self, app: str) -> None:
        self.stopped.append(app)
        self.state.pop(app, None)

    def apps(self) -> dict[str, AppStatus]:
        return dict(self.state)

    def acknowledged(self, epoch: int) -> bool:
        return self.acknowledged_epoch >= epoch

    def in_flight(self, app: str) -> int:
        return self.busy.get(app, 0)

    def become(self, phase: AppPhase, reason: str = "") -> None:
        """Every app that is starting becomes this, or fails when its version cannot start."""
        for app, status in self.state.items():
            if status.phase is AppPhase.STARTING and self.specs[app].version in self.cannot_start:
                self.state[app] = AppStatus(AppPhase.FAILED, 0, "it cannot start")
            elif status.phase is AppPhase.STARTING:
                self.state[app] = AppStatus(phase, self.born_with if phase is AppPhase.RUNNING else 0, reason)

    def grow(self) -> None:
        """Every app gets the replicas that were asked for."""
        for app, replicas in self.wanted.items():
            if app in self.state and self.state[app].phase is AppPhase.RUNNING:
                self.state[app] = replace(self.state[app], replicas=replicas)
        self.wanted.clear()


class FakeOutcomes:
    """Counts that the test adds to."""

    def __init__(self) -> None:
        self.copies: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.ok: defaultdict[str, int] = defaultdict(int)
        self.failed: defaultdict[str, int] = defaultdict(int)

    def add(self, version: str, ok: int = 0, failed: int = 0) -> None:
        self.ok[version] += ok
        self.failed[version] += failed

    def total(self, model_id: str, version: str) -> Snapshot:
        ok, failed = self.ok[version], self.failed[version]
        counts = {name: count for name, count in (("ok", ok), ("model_error", failed)) if count}
        copied = self.copies[version]
        all_alike = LatencyHistogram(((bucket_of(0.01), ok + failed),), 10_000_000 * (ok + failed))
        return Snapshot(model_id, version, counts=counts, latency=all_alike, rows=ok, shadow=dict(copied))

    def recent(self, model_id: str, version: str, now: float, seconds: int) -> Snapshot:
        return Snapshot(model_id, version)


class House:
    """A store, a registry with three versions of one model, and rollouts that can be started again."""

    def __init__(self) -> None:
        self.clock = ManualClock(1000.0)
        self.database: Database = memory_database(self.clock)
        self.registry = Registry(self.database.records, self.database.journal, self.clock)
        self.runtime = FakeRuntime()
        self.outcomes = FakeOutcomes()
        self.failing: set[str] = set()
        self.rate = 500
        self.registry.create_model("m", name="m", description="", owner="", tags={})
        for number in VERSIONS:
            self.clock.advance(1)
            artifact = Artifact(number * 8, f"blob-{number}", 1, "scikit-learn", "other", {}, carries_code=False)
            self.registry.register_version("m", number, artifact)
        self.restart()

    def restart(self, records: Any = None, runtime: Any = None, **rules: Any) -> None:
        self.rollouts = Rollouts(
            records or self.database.records,
            self.database.journal,
            self.registry,
            runtime or self.runtime,
            self.clock,
            limits=Limits(start_s=120, acknowledge_s=15),
            outcomes=self.outcomes,
            **rules,
        )

    def create(self, version: str = "1.0.0", strategy: Strategy = Strategy.IMMEDIATE, **options: Any) -> Deployment:
        return self.rollouts.create("m", version, strategy, options, "author")

    def serve(self, version: str = "1.0.0") -> Deployment:
        """The version answers."""
        deployment = self.create(version)
        self.settle()
        assert self.serving() == version
        return deployment

    def settle(self, ticks: int = 8) -> None:
        """Everything that starts comes up, gateways follow at once, requests are answered, time passes."""
        for _ in range(ticks):
            self.rollouts.tick()
            self.world()

    def until(self, deployment_id: str, *states: str, ticks: int = 400) -> Deployment:
        """Let time pass until the deployment is in one of the states."""
        for _ in range(ticks):
            if self.rollouts.get(deployment_id).state in states:
                break
            self.settle(1)
        found = self.rollouts.get(deployment_id)
        assert found.state in states, (found.state, found.phase, found.reason)
        return found

    def at(self, deployment_id: str, weight: float, ticks: int = 400) -> Deployment:
        """Let time pass until the deployment is watched at this percentage."""
        for _ in range(ticks):
            found = self.rollouts.get(deployment_id)
            if found.weight == weight and found.phase == "observe":
                return found
            self.settle(1)
        raise AssertionError((found.state, found.phase, found.weight, found.reason))

    def world(self) -> None:
        """What happens outside, in a second."""
        self.runtime.become(AppPhase.RUNNING)
        self.runtime.grow()
        self.runtime.acknowledged_epoch = self.rollouts.table.epoch
        for version, share in self.shares().items():
            count = self.rate * share // 10_000
            bad = version in self.failing
            self.outcomes.add(version, ok=0 if bad else count, failed=count if bad else 0)
        self.copy()
        self.clock.advance(1)

    def copy(self) -> None:
        """One gateway copies what stable answers to the target, as the table says."""
        route = self.route()
        if route is None or route.shadow is None:
            return
        target, asked = route.shadow.version, route.shadow
        answered = sum(self.rate * share // 10_000 for one, share in self.shares().items() if one != target)
        sent = min(answered * asked.share // 10_000, asked.per_second or answered)
        self.outcomes.copies[target]["sent"] += sent
        self.outcomes.copies[target]["failed" if target in self.failing else "compared"] += sent

    def route(self) -> ModelRoute | None:
        return self.rollouts.table.models.get("m")

    def shares(self) -> dict[str, int]:
        """Ten-thousandths of the traffic, by version."""
        route = self.route()
        if route is None:
            return {}
        bounds = (0, *route.split.bounds)
        shares = [after - before for before, after in pairwise(bounds)]
        return dict(zip(route.split.versions, shares, strict=True))

    def serving(self) -> str | None:
        """The version that has all the traffic."""
        whole = [version for version, share in self.shares().items() if share == 10_000]
        return whole[0] if whole else None

    def kinds(self) -> list[str]:
        """The history, oldest first."""
        return [event.kind for event in reversed(self.rollouts.history(1000, None).items)]
