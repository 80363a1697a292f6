"""Time counts only while the Controller works and can write; what does not start for ever has failed."""

import pytest

from streamb.clock import ManualClock
from streamb.errors import StorageFailed
from streamb.rollouts.deployment import Phase
from streamb.rollouts.patience import Patience
from streamb.rollouts.runtime import AppPhase, AppStatus
from streamb.rollouts.strategies import Strategy
from tests.rollouts.fakes import House
from tests.rollouts.test_decide import canary
from tests.rollouts.test_outage import StoreHouse


@pytest.fixture
def house(house: House) -> House:
    house.serve("1.0.0")
    return house


class TestCounting:
    def test_a_tick_counts_for_two_seconds_at_most(self):
        clock = ManualClock(1000.0)
        patience = Patience(clock, 120)
        counted = []
        for seconds in (0, 0.1, 1, 2, 10, 1):
            clock.advance(seconds)
            patience.tick()
            counted.append(patience.passed(canary()))
        passed, lasted = zip(*counted, strict=True)
        assert [round(one, 3) for one in passed] == [0, 0.1, 1, 2, 2, 1]
        assert [round(one, 3) for one in lasted] == [0, 0.1, 1.1, 3.1, 5.1, 6.1]

    def test_a_tick_after_one_that_failed_counts_for_nothing_and_only_for_whom_it_failed(self):
        clock = ManualClock(1000.0)
        patience = Patience(clock, 120)
        other = canary(id="dep-2")
        for one in (canary(), other):
            patience.passed(one)
        patience.interrupt("dep-1")
        clock.advance(1)
        patience.tick()
        assert [patience.passed(one)[1] for one in (canary(), other)] == [0, 1]
        clock.advance(1)
        patience.tick()
        assert patience.passed(canary())[1] == 1

    def test_each_phase_begins_at_nothing(self):
        clock = ManualClock(1000.0)
        patience = Patience(clock, 120)
        for phase, expected in ((Phase.SHIFT, 0), (Phase.SHIFT, 1), (Phase.OBSERVE, 0), (Phase.OBSERVE, 1)):
            assert patience.passed(canary(phase))[1] == expected
            clock.advance(1)
            patience.tick()


class TestStoppedController:
    def test_ten_seconds_of_a_stopped_process_are_no_observation(self, house):
        made = house.create("2.0.0", Strategy.CANARY, steps=[50], step_seconds=15, hold_seconds=0)
        house.at(made.id, 50)
        house.settle(3)
        for _ in range(10):
            house.world()
        house.rollouts.tick()
        assert house.rollouts.get(made.id).weight == 50
        house.settle(8)
        assert house.rollouts.get(made.id).weight == 50
        house.until(made.id, "completed", ticks=40)

    def test_nor_do_they_use_up_the_time_for_evidence(self, house):
        house.rate = 0
        made = house.create("2.0.0", Strategy.CANARY, steps=[50], step_seconds=1, step_max_seconds=60)
        house.at(made.id, 50)
        house.clock.advance(300)
        house.settle(30)
        assert house.rollouts.get(made.id).state == "progressing"
        house.until(made.id, "awaiting_approval", ticks=40)

    def test_nor_the_time_for_a_start(self, house):
        made = house.create("2.0.0", Strategy.CANARY)
        house.rollouts.tick()
        house.rollouts.tick()
        house.clock.advance(3600)
        house.rollouts.tick()
        assert house.rollouts.get(made.id).phase == "capacity"
        for _ in range(125):
            house.clock.advance(1)
            house.rollouts.tick()
        assert house.rollouts.get(made.id).state == "failed"


def test_an_outage_uses_up_no_time_for_a_start():
    house = StoreHouse()
    house.serve("1.0.0")
    made = house.create("2.0.0", Strategy.CANARY, step_seconds=0)
    house.rollouts.tick()
    house.store.away = True
    house.runtime.become(AppPhase.RUNNING)
    for _ in range(300):
        house.clock.advance(1)
        with pytest.raises(StorageFailed):
            house.rollouts.tick()
    house.store.away = False
    house.rollouts.tick()
    assert house.rollouts.get(made.id).phase in {"shift", "observe"}


class TestNeverStarting:
    def test_an_app_that_served_and_starts_for_ever_is_replaced(self, house):
        old = house.rollouts.routes["m"].app
        house.runtime.state[old] = AppStatus(AppPhase.STARTING)
        for _ in range(250):
            house.rollouts.tick()
            house.clock.advance(1)
            if house.rollouts.routes["m"].replacement:
                break
        house.settle(4)
        assert house.rollouts.routes["m"].app != old
        assert house.serving() == "1.0.0"
        house.settle(10)
        assert old in house.runtime.stopped

    def test_so_is_a_replacement(self, house):
        house.runtime.state[house.rollouts.routes["m"].app] = AppStatus(AppPhase.FAILED, 0, "gone")
        house.rollouts.tick()
        first = house.rollouts.routes["m"].replacement
        for _ in range(400):
            house.rollouts.tick()
            house.clock.advance(1)
        assert len(house.runtime.specs) >= 3
        house.settle(10)
        assert house.rollouts.routes["m"].app != first
        assert house.runtime.apps().keys() == {house.rollouts.routes["m"].app}

    @pytest.mark.parametrize("paused", [False, True])
    def test_a_target_that_vanished_and_starts_for_ever_fails(self, house, paused):
        made = house.create("2.0.0", Strategy.CANARY)
        house.at(made.id, 1)
        if paused:
            house.rollouts.pause(made.id, "ada")
        house.runtime.state[made.app] = AppStatus(AppPhase.STARTING)
        for _ in range(250):
            house.rollouts.tick()
            house.runtime.acknowledged_epoch = house.rollouts.table.epoch
            house.clock.advance(1)
        found = house.rollouts.get(made.id)
        assert (found.state, house.serving()) == ("rolled_back", "1.0.0")
        assert "its app failed: it has not started in 240 s" in found.reason
