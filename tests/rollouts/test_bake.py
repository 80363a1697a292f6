"""Completed, and still judged: a version that fails with all traffic leaves by itself, to the one that is kept warm."""

import pytest

from streamb.rollouts.deployment import Phase
from streamb.rollouts.runtime import AppPhase, AppStatus, Fault
from streamb.rollouts.strategies import Strategy
from tests.rollouts.fakes import House

CANARY, BLUE_GREEN, ROLLING = Strategy.CANARY, Strategy.BLUE_GREEN, Strategy.ROLLING


@pytest.fixture
def house(house: House) -> House:
    house.serve("1.0.0")
    return house


def baking(house: House, strategy: Strategy = CANARY, **options):
    made = house.create("2.0.0", strategy, **{"steps": [50], **options} if strategy is CANARY else options)
    found = house.until(made.id, "completed")
    assert found.phase == "bake"
    return found


class TestGood:
    @pytest.mark.parametrize(("strategy", "hold"), [(CANARY, 60), (ROLLING, 60), (BLUE_GREEN, 300)])
    def test_it_is_completed_at_once_and_judged_for_its_time(self, house, strategy, hold):
        made = baking(house, strategy)
        house.settle(hold - 2)
        assert house.rollouts.get(made.id).phase == "bake"
        assert len(house.rollouts.routes["m"].standby) == 1
        house.settle(4)
        found = house.rollouts.get(made.id)
        assert (found.state, found.phase, house.rollouts.routes["m"].standby) == ("completed", "done", ())
        assert f"in {hold} s with all traffic nothing spoke against it" in found.reason
        assert (house.kinds().count("completed"), house.kinds()[-1]) == (2, "baked"), "one is of 1.0.0"

    def test_without_a_hold_the_last_step_is_watched_before_it_is_completed(self, house):
        made = house.create("2.0.0", CANARY, steps=[50], hold_seconds=0)
        house.at(made.id, 100)
        assert house.rollouts.get(made.id).state == "progressing"
        assert house.until(made.id, "completed").phase == "done"

    def test_what_it_fails_meanwhile_the_version_before_answers(self, house):
        baking(house)
        assert house.route().fallback == "1.0.0"
        house.settle(63)
        assert house.route().fallback == ""

    def test_a_first_version_and_an_immediate_one_do_not_bake(self):
        house = House()
        assert house.until(house.create("1.0.0", CANARY).id, "completed").phase == "done"
        assert house.until(house.create("2.0.0").id, "completed").phase == "done"


class TestBad:
    @pytest.mark.parametrize("strategy", [CANARY, ROLLING, BLUE_GREEN])
    def test_one_that_fails_goes_back_by_itself_and_says_why(self, house, strategy):
        old = house.rollouts.routes["m"].app
        made = baking(house, strategy)
        house.settle(20)
        started = len(house.runtime.specs)
        house.failing.add("2.0.0")
        ended = house.until(made.id, "rolled_back", ticks=10)
        assert house.serving() == "1.0.0"
        assert (house.rollouts.routes["m"].app, len(house.runtime.specs)) == (old, started), "nothing had to start"
        assert ended.reason.startswith("rolled back to 1.0.0: version 2.0.0 failed at 100 %: error_rate_against_usual")
        assert house.kinds()[-3:] == ["completed", "rolling_back", "rolled_back"]
        house.settle(10)
        assert made.app in house.runtime.stopped

    def test_until_it_has_no_more_requests_the_version_before_answers_what_it_fails(self, house):
        made = baking(house)
        house.failing.add("2.0.0")
        phases = set()
        while (found := house.rollouts.get(made.id)).state != "rolled_back":
            phases.add(found.phase)
            assert house.serving() == "1.0.0" or house.route().fallback == "1.0.0", found.phase
            house.settle(1)
        assert phases >= {"bake", "restore"}

    def test_an_app_that_fails_goes_back_too(self, house):
        made = baking(house)
        house.runtime.state[made.app] = AppStatus(AppPhase.FAILED, 0, "it exits on load", Fault.VERSION)
        assert "it exits on load" in house.until(made.id, "rolled_back", ticks=10).reason
        assert house.serving() == "1.0.0"

    def test_an_app_that_the_infrastructure_took_is_started_again(self, house):
        made = baking(house)
        house.runtime.state[made.app] = AppStatus(AppPhase.FAILED, 0, "node n1 was lost", Fault.INFRASTRUCTURE)
        house.settle(6)
        found = house.rollouts.get(made.id)
        assert (found.state, found.phase, house.serving()) == ("completed", "bake", "2.0.0")
        assert found.app == house.rollouts.routes["m"].app != made.app
        house.failing.add("2.0.0")
        house.until(made.id, "rolled_back", ticks=30)

    def test_the_version_before_starts_anew_if_it_is_not_warm_any_more(self, house):
        old = house.rollouts.routes["m"].app
        made = baking(house)
        house.runtime.state[old] = AppStatus(AppPhase.FAILED, 0, "gone")
        house.settle(2)
        house.failing.add("2.0.0")
        house.until(made.id, "rolled_back", ticks=30)
        assert (house.serving(), house.rollouts.routes["m"].app == old) == ("1.0.0", False)

    def test_without_rollback_it_stays_and_says_so_once(self, house):
        made = baking(house, rollback_on_failure=False)
        house.failing.add("2.0.0")
        house.settle(70)
        found = house.rollouts.get(made.id)
        assert (found.state, found.phase, house.serving()) == ("completed", "done", "2.0.0")
        assert "failed at 100 %" in found.reason
        assert house.kinds()[-2:] == ["failing", "baked"]

    def test_half_of_the_replicas_are_enough_for_a_beginning(self, house):
        old = house.rollouts.routes["m"].app
        house.runtime.state[old] = AppStatus(AppPhase.RUNNING, 4)
        made = baking(house, ROLLING)
        assert house.runtime.apps()[old].replicas == 2
        house.failing.add("2.0.0")
        for _ in range(6):
            house.rollouts.tick()
            if house.serving() == "1.0.0":
                break
            house.world()
        assert house.runtime.apps()[old].replicas == 2
        house.until(made.id, "rolled_back")
        assert house.runtime.apps()[old].replicas == 4


class TestEnds:
    def test_a_new_deployment_is_never_refused_and_ends_it(self, house):
        made = baking(house)
        house.failing.add("2.0.0")
        fix = house.create("3.0.0", CANARY, steps=[50])
        house.settle(2)
        found = house.rollouts.get(made.id)
        assert (found.state, found.phase) == ("completed", "done")
        assert "version 3.0.0 is being deployed" in found.reason
        house.until(fix.id, "completed")

    def test_an_undeployment_ends_it(self, house):
        made = baking(house)
        house.rollouts.undeploy("m", "ada")
        house.settle(8)
        assert house.rollouts.get(made.id).phase == "done"
        assert house.runtime.apps() == {}

    def test_a_rollback_is_instant(self, house):
        made = baking(house)
        house.rollouts.rollback(made.id, "ada", "second thoughts")
        house.settle(3)
        assert (house.rollouts.get(made.id).state, house.serving()) == ("rolled_back", "1.0.0")

    def test_a_controller_that_starts_meanwhile_goes_on(self, house):
        made = baking(house)
        house.settle(30)
        house.restart()
        house.settle(40)
        assert house.rollouts.get(made.id).phase == "bake", "what it did not see does not count"
        house.failing.add("2.0.0")
        house.until(made.id, "rolled_back", ticks=10)

    def test_time_in_which_nobody_watched_does_not_count(self, house):
        made = baking(house)
        house.clock.advance(3600)
        house.settle(30)
        assert house.rollouts.get(made.id).phase is Phase.BAKE
        assert len(house.rollouts.routes["m"].standby) == 1, "it can still go back"
        house.settle(31)
        assert house.rollouts.get(made.id).phase == "done"

    def test_it_is_known_with_its_findings_and_makes_nobody_tick_often(self, house):
        made = baking(house)
        house.settle(3)
        (known,) = house.rollouts.current
        assert (known.id, bool(known.findings), house.rollouts.busy) == (made.id, True, False)
