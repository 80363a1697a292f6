"""What the infrastructure breaks is no failure of the version: it waits, starts elsewhere, and names the cause."""

import dataclasses
from itertools import pairwise

import pytest

from streamb.rollouts.decide import StartApp, decide
from streamb.rollouts.deployment import DeploymentState, Phase
from streamb.rollouts.runtime import AppPhase, AppStatus, Fault
from streamb.rollouts.strategies import Strategy
from tests.rollouts.fakes import House
from tests.rollouts.test_decide import LIMITS, F, canary, judged

LOST = AppStatus(AppPhase.FAILED, 0, "node n1 was lost", Fault.INFRASTRUCTURE)


@pytest.fixture
def house(house: House) -> House:
    house.serve("1.0.0")
    return house


def lose(house: House, app: str, status: AppStatus = LOST) -> None:
    house.runtime.state[app] = status


class TestStart:
    def test_it_starts_elsewhere_after_growing_pauses_and_then_gives_up_with_the_cause(self, house):
        made = house.create("2.0.0", Strategy.CANARY)
        times, apps = [], []
        for _ in range(200):
            house.rollouts.tick()
            found = house.rollouts.get(made.id)
            if found.app not in apps:
                apps.append(found.app)
                times.append(house.clock.now())
            if not found.active:
                break
            lose(house, found.app)
            house.clock.advance(1)
        assert [round(after - before) for before, after in pairwise(times)][1:] == [5, 10, 20, 40]
        assert found.state == "failed"
        assert found.reason == (
            "version 2.0.0 did not start: not its fault but the infrastructure's (node n1 was lost), "
            "also after 5 other starts"
        )
        house.settle(10)
        assert set(apps) - {apps[-1]} <= set(house.runtime.stopped), "what failed is taken down"

    def test_it_goes_on_where_a_start_succeeds(self, house):
        made = house.create("2.0.0", Strategy.CANARY)
        house.rollouts.tick()
        lose(house, made.app)
        house.rollouts.tick()
        again = house.rollouts.get(made.id)
        assert again.app != made.app
        assert again.reason == "not the version's fault: node n1 was lost; starting it elsewhere"
        assert house.kinds()[-1] == "starting_again"
        house.until(made.id, "completed")

    @pytest.mark.parametrize("fault", [Fault.UNKNOWN, Fault.VERSION])
    def test_any_other_failure_ends_it_at_once(self, house, fault):
        made = house.create("2.0.0", Strategy.CANARY)
        house.rollouts.tick()
        lose(house, made.app, AppStatus(AppPhase.FAILED, 0, "no module named x", fault))
        house.rollouts.tick()
        failed = house.rollouts.get(made.id)
        assert (failed.state, failed.reason) == ("failed", "version 2.0.0 did not start: no module named x")

    def test_no_room_is_named_as_what_it_is(self):
        starting = AppStatus(AppPhase.STARTING, 0, "no node has room", Fault.INFRASTRUCTURE)
        late = dataclasses.replace(judged(), app=starting)
        after, _ = decide(canary(Phase.CAPACITY, observed_since=0.0, share=0), late, 61, LIMITS)
        assert after.state == "failed"
        assert "it is starting (not its fault but the infrastructure's (no node has room))" in after.reason


class TestUnderTraffic:
    @pytest.mark.parametrize("state", ["progressing", "awaiting_approval"])
    @pytest.mark.parametrize(("phase", "step"), [(Phase.GATE, 1), *((one, 2) for one in list(Phase)[1:4])])
    def test_it_loses_its_share_and_begins_the_same_step_again(self, state, phase, step):
        lost = dataclasses.replace(judged(F), app=LOST)
        deployment = canary(phase, step=2, state=DeploymentState(state), waiting_for="x")
        after, actions = decide(deployment, lost, 20, LIMITS)
        assert (after.state, after.phase, after.step, after.share) == ("progressing", "capacity", step, 0)
        assert (after.shown, after.waiting_for, actions) == (False, "", ())
        assert "not the version's fault: node n1 was lost" in after.reason
        again, actions = decide(after, lost, 20.1, LIMITS)
        assert actions == (StartApp(again.app, "1.0.0"),)
        assert again.app != deployment.app

    def test_one_that_is_paused_stays_paused_and_goes_on_when_resumed(self, house):
        made = house.create("2.0.0", Strategy.CANARY)
        house.at(made.id, 1)
        house.rollouts.pause(made.id, "ada")
        lose(house, made.app)
        house.settle(5)
        found = house.rollouts.get(made.id)
        assert (found.state, found.weight, house.serving()) == ("paused", 0, "1.0.0")
        house.rollouts.resume(made.id, "ada")
        house.until(made.id, "completed")

    def test_a_node_lost_in_mid_rollout_costs_time_only(self, house):
        made = house.create("2.0.0", Strategy.CANARY, steps=[10, 50])
        house.at(made.id, 50)
        lose(house, made.app)
        house.rollouts.tick()
        assert house.serving() == "1.0.0", "nobody waits for what is gone"
        done = house.until(made.id, "completed")
        assert (done.restarts, made.app in house.runtime.stopped) == (1, True)
        assert house.kinds().count("rolling_back") == 0

    def test_a_replica_that_is_being_replaced_is_waited_for_without_traffic(self):
        starting = AppStatus(AppPhase.STARTING, 0, "node n1 was lost", Fault.INFRASTRUCTURE)
        lost = dataclasses.replace(judged(F), app=starting)
        after, _ = decide(canary(), lost, 20, LIMITS)
        assert (after.phase, after.app) == ("capacity", canary().app)
        again, _ = decide(after, dataclasses.replace(lost, app=AppStatus(AppPhase.RUNNING, 1)), 25, LIMITS)
        assert (again.phase, again.share) == ("shift", 1000)

    def test_one_of_two_replicas_is_no_reason(self):
        half = AppStatus(AppPhase.STARTING, 1, "node n1 was lost", Fault.INFRASTRUCTURE)
        assert decide(canary(), dataclasses.replace(judged(), app=half), 5, LIMITS)[0] == canary()


class TestWayBack:
    def test_the_version_to_return_to_starts_elsewhere(self, house):
        made = house.create("2.0.0")
        house.until(made.id, "completed")
        house.settle(10)
        back = house.rollouts.rollback(made.id, "ada")
        house.rollouts.tick()
        lose(house, back.back_app)
        house.rollouts.tick()
        assert house.rollouts.get(made.id).back_app != back.back_app
        house.until(made.id, "rolled_back")
        assert house.serving() == "1.0.0"

    def test_it_gives_up_with_the_cause(self, house):
        made = house.create("2.0.0")
        house.until(made.id, "completed")
        house.settle(10)
        house.rollouts.rollback(made.id, "ada")
        for _ in range(130):
            house.rollouts.tick()
            lose(house, house.rollouts.get(made.id).back_app)
            house.runtime.acknowledged_epoch = house.rollouts.table.epoch
            house.clock.advance(1)
        found = house.rollouts.get(made.id)
        assert (found.state, house.serving()) == ("completed", "2.0.0")
        assert "not its fault but the infrastructure's (node n1 was lost)" in found.reason

    def test_a_way_back_to_a_version_that_answers_nothing_says_so(self):
        down = dataclasses.replace(judged(F), stable=AppStatus(AppPhase.FAILED))
        after, _ = decide(canary(), down, 5, LIMITS)
        assert after.reason.endswith("version 0.9.0, to which the traffic goes back, answers nothing either")
