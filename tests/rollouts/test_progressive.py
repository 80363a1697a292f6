"""Whole deployments over a real (in-memory) store and registry: strategies, gates, failure, and the way back."""

from itertools import pairwise

import pytest

from streamb.errors import Conflict, InvalidInput
from streamb.rollouts.caretaker import GRACE_S
from streamb.rollouts.runtime import AppPhase, AppStatus
from streamb.rollouts.strategies import Strategy
from streamb.traffic.table import Shadow
from tests.rollouts.fakes import House

CANARY, BLUE_GREEN, ROLLING = Strategy.CANARY, Strategy.BLUE_GREEN, Strategy.ROLLING


@pytest.fixture
def house(house: House) -> House:
    house.serve("1.0.0")
    return house


def weights_seen(house: House, deployment_id: str, ticks: int = 300) -> list[int]:
    """The target's share at every tick until the deployment has ended, repetitions left out."""
    seen = [0]
    target = house.rollouts.get(deployment_id).target_version
    for _ in range(ticks):
        house.settle(1)
        share = house.shares().get(target, 0)
        if share != seen[-1]:
            seen.append(share)
        if not house.rollouts.get(deployment_id).active:
            break
    return seen


class TestForward:
    def test_a_healthy_canary_climbs_its_steps_and_completes(self, house):
        made = house.create("2.0.0", CANARY, traffic_split_percentage=10)
        started = house.clock.now()
        assert weights_seen(house, made.id) == [0, 1000, 2500, 5000, 10_000]
        done = house.rollouts.get(made.id)
        assert (done.state, done.weight, house.serving()) == ("completed", 100, "2.0.0")
        assert house.clock.now() - started < 120
        assert house.kinds()[4:] == ["created", "progressing", *["step"] * 5, "completed"]
        assert {finding.verdict for finding in done.findings} <= {"pass", "inconclusive"}

    def test_blue_green_shows_itself_by_header_switches_at_once_and_keeps_the_old_one_warm(self, house):
        made = house.create("2.0.0", BLUE_GREEN, step_seconds=5)
        assert weights_seen(house, made.id) == [0, 10_000]
        (standby,) = house.rollouts.routes["m"].standby
        assert standby.version == "1.0.0"
        house.settle(290)
        assert house.runtime.apps().keys() == {made.app, standby.app}
        house.settle(20)
        assert house.runtime.apps().keys() == {made.app}

    def test_rolling_goes_replica_by_replica(self, house):
        old = house.rollouts.routes["m"].app
        house.runtime.state[old] = AppStatus(AppPhase.RUNNING, 4)
        made = house.create("2.0.0", ROLLING)
        assert weights_seen(house, made.id) == [0, 2500, 5000, 7500, 10_000]
        assert [order for order in house.runtime.scaled if order[0] == made.app] == [(made.app, n) for n in (2, 3, 4)]
        assert [order for order in house.runtime.scaled if order[0] == old] == [(old, n) for n in (3, 2)]

    def test_a_first_version_goes_straight_to_all_traffic(self):
        house = House()
        made = house.create("1.0.0", CANARY, traffic_split_percentage=10)
        assert weights_seen(house, made.id) == [0, 10_000]
        assert house.rollouts.get(made.id).state == "completed"

    def test_without_traffic_a_canary_asks_for_approval_and_never_promotes(self, house):
        house.rate = 0
        made = house.create("2.0.0", CANARY, step_max_seconds=60)
        waiting = house.until(made.id, "awaiting_approval", "completed")
        assert (waiting.state, waiting.weight, waiting.waiting_for) == ("awaiting_approval", 1, "evidence at 1 %")
        house.settle(500)
        assert house.rollouts.get(made.id).weight == 1
        house.rollouts.approve(made.id, "other")
        house.settle(3)
        assert house.rollouts.get(made.id).weight == 5

    def test_the_same_version_again_completes_and_starts_nothing(self, house):
        started = list(house.runtime.specs)
        made = house.create("1.0.0", CANARY)
        house.until(made.id, "completed")
        assert list(house.runtime.specs) == started

    def test_while_it_runs_users_and_header_get_it_and_stable_answers_for_it(self, house):
        made = house.create("2.0.0", CANARY, overrides={"users": ["ada"]}, shadow_percent=50, step_seconds=4)
        house.settle(3)
        route = house.route()
        assert route.shadow.version == "2.0.0"
        assert [(one.version, set(one.users)) for one in route.overrides] == [("2.0.0", {"ada"})]
        assert route.fallback == "1.0.0"
        assert route.shadow == Shadow("2.0.0", 5000)
        house.at(made.id, 1)
        assert house.route().shadow == Shadow("2.0.0", 5000, 20), "it has requests of its own to answer"
        house.until(made.id, "completed")
        assert (house.route().overrides, house.route().fallback) == ((), "1.0.0"), "what is kept warm answers for it"
        house.settle(61)
        assert house.route().fallback == ""

    def test_units_move_to_the_target_only(self, house):
        made = house.create("2.0.0", CANARY)
        units = [f"user-{index}" for index in range(2000)]
        chosen = []
        while house.rollouts.get(made.id).active:
            house.settle(1)
            route = house.route()
            chosen.append([route.split.choose(unit, salt=route.salt) for unit in units])
        for before, after in pairwise(chosen):
            assert all(new == "2.0.0" for old, new in zip(before, after, strict=True) if old != new)


class TestFailure:
    def test_a_failing_canary_is_rolled_back_and_taken_down(self, house):
        house.failing.add("2.0.0")
        made = house.create("2.0.0", CANARY, traffic_split_percentage=10)
        ended = house.until(made.id, "rolled_back", "completed")
        assert (ended.state, house.serving(), ended.step) == ("rolled_back", "1.0.0", 0)
        assert "fast_abort" in ended.reason
        assert "at 0 %" in ended.reason, "it failed on copies, and hurt nobody"
        assert house.kinds()[-2:] == ["step", "rolled_back"]
        house.settle(int(GRACE_S) + 2)
        assert made.app in house.runtime.stopped

    def test_a_canary_that_fails_later_goes_back_from_there(self, house):
        made = house.create("2.0.0", CANARY, traffic_split_percentage=10)
        while house.rollouts.get(made.id).weight < 50:
            house.settle(1)
        house.failing.add("2.0.0")
        assert house.until(made.id, "rolled_back", "completed").state == "rolled_back"
        assert house.serving() == "1.0.0"

    def test_without_rollback_it_is_paused_and_can_be_promoted_all_the_same(self, house):
        house.failing.add("2.0.0")
        made = house.create("2.0.0", CANARY, rollback_on_failure=False)
        house.until(made.id, "paused")
        assert house.shares()["2.0.0"] == 0
        house.rollouts.promote(made.id, "other", "we know")
        house.until(made.id, "completed")

    def test_a_version_that_does_not_start_never_gets_traffic(self, house):
        table = house.rollouts.table
        made = house.create("2.0.0", CANARY)
        house.rollouts.tick()
        house.runtime.become(AppPhase.FAILED, "no module named x")
        house.rollouts.tick()
        failed = house.rollouts.get(made.id)
        assert (failed.state, "no module named x" in failed.reason) == ("failed", True)
        assert house.rollouts.table is table

    def test_trouble_with_one_model_does_not_hold_up_the_others(self, house, monkeypatch):
        house.create("2.0.0", CANARY)
        monkeypatch.setattr(house.rollouts._observation, "look", lambda *_: 1 / 0)
        house.runtime.state.clear()
        with pytest.raises(ZeroDivisionError):
            house.rollouts.tick()
        assert house.rollouts.routes["m"].app in house.runtime.apps(), "what answers was started again"

    def test_a_paused_canary_that_fails_leaves_traffic(self, house):
        made = house.create("2.0.0", CANARY)
        house.at(made.id, 1)
        house.rollouts.pause(made.id, "other")
        house.failing.add("2.0.0")
        house.until(made.id, "rolled_back")


class TestGates:
    def test_blue_green_waits_for_somebody_else(self, house):
        made = house.create("2.0.0", BLUE_GREEN, approval_required=True)
        waiting = house.until(made.id, "awaiting_approval")
        assert (waiting.weight, waiting.waiting_for) == (0, "100 %")
        assert "2.0.0" in house.route().targets, "it can be looked at meanwhile"
        house.rollouts.approve(made.id, "other", "looks good")
        done = house.until(made.id, "completed")
        assert [(one.by, one.gate, one.reason) for one in done.approvals] == [("other", "100 %", "looks good")]

    def test_nothing_starts_before_the_start_gate(self, house):
        made = house.create("2.0.0", CANARY, approval_before=["start", 50])
        assert house.until(made.id, "awaiting_approval").waiting_for == "start"
        assert made.app not in house.runtime.specs
        house.rollouts.approve(made.id, "other")
        house.settle(3)
        assert house.until(made.id, "awaiting_approval").waiting_for == "50 %"
        assert house.shares()["2.0.0"] == 2500

    def test_what_nobody_approves_in_time_is_aborted(self, house):
        made = house.create("2.0.0", CANARY, approval_required=True, approval_timeout_s=30)
        house.until(made.id, "awaiting_approval")
        ended = house.until(made.id, "aborted")
        assert "nobody approved" in ended.reason
        assert house.serving() == "1.0.0"

    def test_a_first_version_with_a_gate_waits_too(self):
        house = House()
        made = house.create("1.0.0", CANARY, approval_required=True)
        assert house.until(made.id, "awaiting_approval").waiting_for == "start"
        house.rollouts.approve(made.id, "other")
        house.until(made.id, "completed")


class TestBack:
    def complete(self, house: House, version: str = "2.0.0", **options):
        made = house.create(version, BLUE_GREEN, step_seconds=0, **options)
        house.until(made.id, "completed")
        return made

    def test_back_to_a_warm_version_at_once(self, house):
        made = self.complete(house)
        started = len(house.runtime.specs)
        back = house.rollouts.rollback(made.id, "other", "slow")
        assert (back.state, back.reason) == ("progressing", "rolling back to 1.0.0, asked by other: slow")
        house.rollouts.tick()
        assert house.serving() == "1.0.0"
        assert house.rollouts.get(made.id).state == "progressing", "not every gateway knows"
        house.settle(2)
        assert house.rollouts.get(made.id).state == "rolled_back"
        assert len(house.runtime.specs) == started
        assert house.kinds()[-2:] == ["rolling_back", "rolled_back"]
        house.settle(10)
        assert made.app in house.runtime.stopped

    def test_back_to_a_cold_version_brings_it_up_first(self, house):
        made = self.complete(house, hold_seconds=0)
        house.settle(10)
        house.rollouts.rollback(made.id, "other")
        house.rollouts.tick()
        assert house.serving() == "2.0.0"
        house.until(made.id, "rolled_back")
        assert house.serving() == "1.0.0"

    def test_back_to_any_earlier_version(self, house):
        self.complete(house)
        house.clock.advance(400)
        made = self.complete(house, "3.0.0")
        house.rollouts.rollback(made.id, "other", to_version="1.0.0")
        house.until(made.id, "rolled_back")
        assert house.serving() == "1.0.0"

    def test_a_version_that_does_not_come_up_again_leaves_the_present_one(self, house):
        made = self.complete(house, hold_seconds=0)
        house.settle(10)
        back = house.rollouts.rollback(made.id, "other")
        house.rollouts.tick()
        house.runtime.become(AppPhase.FAILED, "gone")
        house.rollouts.tick()
        found = house.rollouts.get(made.id)
        assert (found.state, house.serving(), "gone" in found.reason) == ("completed", "2.0.0", True)
        house.settle(5)
        assert back.back_app in house.runtime.stopped

    def test_what_cannot_be_gone_back_to_is_refused(self, house):
        first = house.rollouts.latest("m")
        with pytest.raises(Conflict, match="no version before"):
            house.rollouts.rollback(first.id, "other")
        made = self.complete(house)
        with pytest.raises(Conflict, match=r"2\.0\.0 serves now"):
            house.rollouts.rollback(first.id, "other")
        with pytest.raises(InvalidInput, match="another"):
            house.rollouts.rollback(made.id, "other", to_version="2.0.0")
        house.create("3.0.0", CANARY)
        with pytest.raises(Conflict, match="being deployed"):
            house.rollouts.rollback(made.id, "other")

    def test_a_version_that_is_kept_warm_is_deployed_without_a_start(self, house):
        self.complete(house)
        started = list(house.runtime.specs)
        made = house.create("1.0.0", CANARY)
        house.until(made.id, "completed")
        assert (list(house.runtime.specs), house.serving()) == (started, "1.0.0")

    def test_what_is_kept_warm_makes_room_for_the_next_deployment(self, house):
        self.complete(house)
        old = house.rollouts.routes["m"].standby[0].app
        house.create("3.0.0", CANARY)
        house.settle(6)
        assert old in house.runtime.stopped


class TestUpkeep:
    def test_a_failed_app_is_replaced_under_a_new_name(self, house):
        old = house.rollouts.routes["m"].app
        house.runtime.state[old] = AppStatus(AppPhase.FAILED, 0, "out of memory")
        house.settle(4)
        new = house.rollouts.routes["m"].app
        assert new != old
        assert house.runtime.stopped == [old]
        assert house.route().targets["1.0.0"].app == new

    def test_survivors_answer_until_the_replacement_runs(self, house):
        old = house.rollouts.routes["m"].app
        house.runtime.state[old] = AppStatus(AppPhase.FAILED, 1, "one replica left")
        house.rollouts.tick()
        house.rollouts.tick()
        assert house.route().targets["1.0.0"].app == old
        assert house.runtime.stopped == []
        house.settle(6)
        assert house.runtime.stopped == [old]

    def test_one_that_keeps_failing_is_tried_less_and_less_often(self, house):
        app = house.rollouts.routes["m"].app
        house.runtime.state[app] = AppStatus(AppPhase.FAILED, 0, "broken")
        times = []
        for _ in range(400):
            before = len(house.runtime.specs)
            house.rollouts.tick()
            house.runtime.become(AppPhase.FAILED, "broken")
            house.clock.advance(1)
            if len(house.runtime.specs) > before:
                times.append(house.clock.now())
        pauses = [round(after - before) for before, after in pairwise(times)]
        assert pauses[:4] == [5, 10, 20, 40]
        assert len(house.runtime.apps()) == 1

    def test_a_replacement_is_known_after_a_restart(self, house):
        house.runtime.state[house.rollouts.routes["m"].app] = AppStatus(AppPhase.FAILED)
        house.rollouts.tick()
        house.restart()
        house.settle(4)
        assert len(house.runtime.specs) == 2

    def test_a_deployment_under_way_learns_the_new_name(self, house):
        made = house.create("2.0.0", CANARY)
        house.settle(5)
        house.runtime.state[house.rollouts.routes["m"].app] = AppStatus(AppPhase.FAILED)
        house.settle(4)
        assert house.rollouts.get(made.id).stable_app == house.rollouts.routes["m"].app
        house.until(made.id, "completed")
