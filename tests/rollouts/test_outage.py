"""The store goes away and comes back: nothing is decided meanwhile, nothing is lost, and the same step goes on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest

from streamb.errors import StorageFailed
from streamb.rollouts.deployment import Phase
from streamb.rollouts.runtime import AppPhase, AppStatus
from streamb.rollouts.strategies import Strategy
from tests.rollouts.fakes import House

AWAY_S = 600
QUICK = {"step_seconds": 20, "min_samples": 20, "step_max_seconds": 60, "steps": [10, 50]}


class FragileRecords:
    """Records that can be away."""

    def __init__(self, records: Any) -> None:
        self._records = records
        self.away = False

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise StorageFailed("the database failed: connection refused")
        return getattr(self._records, name)


class StoreHouse(House):
    """A house whose store can be away, for whoever writes and whoever reads."""

    def restart(self, records: Any = None, runtime: Any = None) -> None:
        self.store = FragileRecords(self.database.records)
        super().restart(self.store, runtime)

    @contextmanager
    def outage(self):
        """Let time pass in which every tick tries and nothing can be stored; it begins after the block."""
        self.store.away = True
        yield
        for _ in range(AWAY_S):
            self.tick()
            self.world()
        self.store.away = False

    def tick(self) -> None:
        try:
            self.rollouts.tick()
        except StorageFailed:
            assert self.store.away

    def seen(self) -> tuple[Any, ...]:
        return self.rollouts.table, self.database.records.list("deployments").items


@pytest.fixture
def house() -> StoreHouse:
    house = StoreHouse()
    house.serve("1.0.0")
    return house


@pytest.mark.parametrize("phase", [Phase.GATE, Phase.CAPACITY, Phase.SHIFT, Phase.OBSERVE])
@pytest.mark.parametrize("share", [0, 1_000, 5_000])
def test_nothing_is_decided_meanwhile_and_the_same_step_goes_on(house, phase, share):
    deployment = house.create("2.0.0", Strategy.CANARY, **QUICK)
    for _ in range(400):
        found = house.rollouts.get(deployment.id)
        if (found.phase, found.share) == (phase, share):
            break
        house.rollouts.tick()
        if house.rollouts.get(deployment.id) == found:
            house.world()
    else:
        pytest.skip("this canary has no such moment")
    before = house.seen()
    with house.outage():
        assert house.rollouts.table.epoch == before[0].epoch
    assert house.seen() == before
    weights = []
    for _ in range(300):
        house.settle(1)
        weights.append(house.rollouts.get(deployment.id).weight)
    assert house.rollouts.get(deployment.id).state == "completed"
    following = {0: 10, 1_000: 50, 5_000: 100}[share]
    assert weights[0] <= (share / 100 if phase is Phase.OBSERVE else following), "not past the step in which it was"
    assert weights == sorted(weights)


def test_an_outage_is_no_observation_time(house):
    """Ten minutes of good answers while the store was away are evidence, but the step lasts as long as it should."""
    deployment = house.create("2.0.0", Strategy.CANARY, **QUICK)
    while house.rollouts.get(deployment.id).share != 1_000:
        house.settle(1)
    with house.outage():
        pass
    back = house.clock.monotonic()
    while house.rollouts.get(deployment.id).share == 1_000:
        house.settle(1)
    assert house.clock.monotonic() - back >= 15, "20 s, less what had been observed before"


def test_a_version_that_fails_meanwhile_is_taken_out_when_the_store_is_back(house):
    deployment = house.create("2.0.0", Strategy.CANARY, **QUICK)
    while house.rollouts.get(deployment.id).share != 1_000:
        house.settle(1)
    house.failing.add("2.0.0")
    with house.outage():
        pass
    house.settle(3)
    assert house.rollouts.get(deployment.id).share == 0
    assert house.until(deployment.id, "rolled_back").state == "rolled_back"
    assert house.serving() == "1.0.0"


@pytest.mark.parametrize("order", ["approve", "pause", "promote", "abort", "rollback"])
def test_an_order_meanwhile_is_refused_as_a_whole_and_works_afterwards(house, order):
    deployment = house.create("2.0.0", Strategy.CANARY, **QUICK, approval_required=order == "approve")
    house.settle(3)
    if order == "approve":
        house.until(deployment.id, "awaiting_approval")
    before = house.seen()
    with house.outage(), pytest.raises(StorageFailed) as refusal:
        getattr(house.rollouts, order)(deployment.id, "operator")
    assert refusal.value.status == 503
    assert house.seen() == before
    getattr(house.rollouts, order)(deployment.id, "operator")
    house.settle(3)
    assert house.seen() != before


def test_new_deployments_are_refused_meanwhile_and_what_failed_is_started_afterwards(house):
    with house.outage():
        with pytest.raises(StorageFailed):
            house.create("2.0.0", Strategy.CANARY)
        app = house.rollouts.routes["m"].app
        house.runtime.state[app] = AppStatus(AppPhase.FAILED, 0, "it died")
    assert house.rollouts.current == ()
    house.settle(3)
    assert house.serving() == "1.0.0"
    assert house.rollouts.routes["m"].app != app
    assert house.runtime.state[house.rollouts.routes["m"].app].phase is AppPhase.RUNNING, "it was started again"


def test_an_app_that_is_lost_meanwhile_is_started_although_nothing_can_be_stored(house):
    deployment = house.create("2.0.0", Strategy.BLUE_GREEN, step_seconds=1, min_samples=20, hold_seconds=30)
    house.until(deployment.id, "completed")
    with house.outage():
        app = house.rollouts.routes["m"].app
        del house.runtime.state[app]
    assert house.runtime.state[app].phase is AppPhase.RUNNING
    assert house.serving() == "2.0.0"
    house.settle(3)
    assert house.rollouts.routes["m"].standby == (), "the time of the version before it ended meanwhile"


def test_a_new_controller_finds_all_that_was_accepted(house):
    deployment = house.create("2.0.0", Strategy.CANARY, **QUICK)
    house.settle(4)
    with house.outage():
        pass
    house.restart()
    assert house.until(deployment.id, "completed").state == "completed"
