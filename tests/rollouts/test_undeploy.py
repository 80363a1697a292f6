"""A model is taken out of traffic: gateways forget it, its last requests are answered, and then its apps stop."""

import pytest

from streamb.errors import Conflict, NotFound
from streamb.rollouts.caretaker import GRACE_S, PATIENCE_S
from streamb.rollouts.strategies import Strategy
from tests.rollouts.fakes import House
from tests.rollouts.test_crashes import QUICK, Fuse, MortalHouse


def undeploy(house: House):
    return house.rollouts.undeploy("m", "ada", "retired")


def test_gateways_forget_it_before_its_app_stops(house):
    app = house.serve().app
    epoch = house.rollouts.table.epoch
    house.runtime.busy[app] = 1
    answer = undeploy(house)
    assert (answer.version, answer.apps, answer.by) == ("1.0.0", (app,), "ada")
    assert (house.route(), house.rollouts.table.epoch) == (None, epoch + 1)
    house.rollouts.tick()
    house.clock.advance(GRACE_S)
    house.rollouts.tick()
    assert house.runtime.stopped == [], "no gateway has the new table"
    house.runtime.acknowledged_epoch = epoch + 1
    house.rollouts.tick()
    assert house.runtime.stopped == [], "a request is still being answered"
    house.runtime.busy.clear()
    house.rollouts.tick()
    assert house.runtime.stopped == [app]


def test_it_stops_in_any_case_after_the_longest_wait(house):
    app = house.serve().app
    house.runtime.busy[app] = 1
    undeploy(house)
    house.rollouts.tick()
    house.clock.advance(PATIENCE_S)
    house.rollouts.tick()
    assert house.runtime.stopped == [app]


def test_the_history_says_who_and_why_and_when_it_was_done(house):
    house.serve()
    undeploy(house)
    assert house.rollouts.busy
    house.settle(10)
    assert not house.rollouts.busy
    told = [event for event in house.rollouts.history(10, None, "m").items if not event.deployment_id]
    assert [(event.kind, event.actor, event.detail) for event in reversed(told)] == [
        ("undeploying", "ada", "version 1.0.0 is taken out of traffic: retired"),
        ("undeployed", "controller", "every app of version 1.0.0 has stopped"),
    ]


def test_versions_that_are_kept_warm_stop_too(house):
    house.serve()
    house.until(house.create("2.0.0", Strategy.BLUE_GREEN, step_seconds=1, hold_seconds=1000).id, "completed")
    assert len(house.runtime.state) == 2
    assert len(undeploy(house).apps) == 2
    house.settle(10)
    assert house.runtime.state == {}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("options", [{"approval_required": True}, {}])
def test_a_deployment_that_has_not_ended_is_aborted_first(house, first, options):
    if not first:
        house.serve()
    deployment = house.create("2.0.0", Strategy.CANARY, **options)
    house.settle(1)
    table = house.rollouts.table
    with pytest.raises(Conflict, match=f"{deployment.id}.*abort it, and then undeploy"):
        undeploy(house)
    assert house.rollouts.table is table
    house.rollouts.abort(deployment.id, "ada")
    house.settle(10)
    if first:
        with pytest.raises(Conflict, match="not deployed"):
            undeploy(house)
    else:
        undeploy(house)
    house.settle(10)
    assert (house.route(), house.runtime.state) == (None, {})


def test_what_is_not_deployed_cannot_be_undeployed(house):
    with pytest.raises(Conflict, match="not deployed"):
        undeploy(house)
    with pytest.raises(NotFound):
        house.rollouts.undeploy("unknown", "ada")
    house.serve()
    undeploy(house)
    house.settle(10)
    with pytest.raises(Conflict, match="not deployed"):
        undeploy(house)


def test_the_order_may_be_repeated_until_all_is_done(house):
    house.serve()
    first = undeploy(house)
    house.settle(1)
    assert house.rollouts.undeploy("m", "bob") == first
    house.settle(10)
    assert house.kinds().count("undeploying") == house.kinds().count("undeployed") == 1


def test_the_next_deployment_is_like_a_models_first_one(house):
    earlier = house.serve()
    undeploy(house)
    deployment = house.create("1.0.0", Strategy.CANARY)
    assert (deployment.previous_version, len(deployment.steps)) == (None, 1)
    assert deployment.app != earlier.app, "an app that stops is not used again"
    house.until(deployment.id, "completed")
    house.settle(10)
    assert (house.serving(), list(house.runtime.state)) == ("1.0.0", [deployment.app])
    assert house.kinds().count("undeployed") == 1


def test_undeployed_twice_it_waits_for_the_apps_of_both(house):
    first = house.serve()
    house.runtime.busy[first.app] = 1
    undeploy(house)
    second = house.serve("2.0.0")
    assert undeploy(house).apps == tuple(sorted((first.app, second.app)))
    house.settle(10)
    assert list(house.runtime.state) == [first.app]
    house.runtime.busy.clear()
    house.settle(10)
    assert house.runtime.state == {}
    assert house.kinds()[-1] == "undeployed"


def test_a_completed_deployment_cannot_be_rolled_back_afterwards(house):
    house.serve()
    second = house.serve("2.0.0")
    undeploy(house)
    with pytest.raises(Conflict, match="no version serves now"):
        house.rollouts.rollback(second.id, "ada")


def test_a_lost_cluster_ends_it(house):
    house.serve()
    undeploy(house)
    house.runtime.state.clear()
    house.restart()
    house.rollouts.tick()
    assert house.kinds()[-1] == "undeployed"
    assert house.runtime.state == {}


def test_dying_at_any_moment_changes_nothing_in_the_end():
    def story(house: MortalHouse) -> tuple:
        house.alive(lambda: undeploy(house))
        house.settle(10)
        undeployed = house.runtime.apps(), house.route(), house.rollouts.routes
        house.until(house.deploy("2.0.0", Strategy.CANARY, **QUICK), "completed")
        told = [kind for kind in house.kinds() if kind.startswith("undeploy")]
        return undeployed, told, house.serving(), [spec.version for spec in house.runtime.specs.values()]

    whole = MortalHouse(Fuse())
    expected = story(whole)
    assert expected == (({}, None, {}), ["undeploying", "undeployed"], "2.0.0", ["1.0.0", "2.0.0"])
    for moment in range(1, whole.fuse.moments + 1):
        house = MortalHouse(Fuse(moment))
        assert (story(house), house.deaths) == (expected, 1), f"died at moment {moment}"
