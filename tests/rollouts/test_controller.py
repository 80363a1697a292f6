"""Rollouts over a real (in-memory) store and registry, with a runtime that does what the test says."""

import pytest

from streamb.errors import Conflict, NotFound, StorageFailed
from streamb.rollouts.caretaker import GRACE_S
from streamb.rollouts.runtime import AppPhase, AppStatus
from streamb.rollouts.strategies import Strategy
from streamb.traffic import GatewayPolicy
from tests.rollouts.fakes import House


def test_a_deployment_runs_from_created_to_completed(house):
    created = house.create()
    assert created.state == "pending"
    house.settle()
    assert house.rollouts.get(created.id).state == "completed"
    assert house.serving() == "1.0.0"
    kinds = [event.kind for event in house.rollouts.history(10, None).items]
    assert kinds == ["completed", "step", "progressing", "created"]
    assert house.rollouts.history(10, None).items[-1].actor == "author"


def test_capacity_comes_before_traffic(house):
    house.create()
    house.rollouts.tick()
    house.rollouts.tick()
    assert house.serving() is None, "the version is not running yet"
    house.runtime.become(AppPhase.RUNNING)
    house.rollouts.tick()
    assert house.serving() == "1.0.0"


def test_a_second_deployment_waits_for_the_first(house):
    first = house.create()
    with pytest.raises(Conflict, match=first.id):
        house.create("2.0.0")
    house.settle()
    house.create("2.0.0")


def test_unknown_versions_and_deployments_are_not_found(house):
    with pytest.raises(NotFound):
        house.create("9.9.9")
    with pytest.raises(NotFound):
        house.rollouts.get("dep-none")


def test_a_failed_version_leaves_the_old_one_serving_and_is_taken_down(house):
    house.create()
    house.settle()
    table = house.rollouts.table
    second = house.create("2.0.0")
    house.rollouts.tick()
    house.runtime.become(AppPhase.FAILED, "no module named x")
    house.rollouts.tick()
    house.rollouts.tick()
    failed = house.rollouts.get(second.id)
    assert (failed.state, "no module named x" in failed.reason) == ("failed", True)
    assert house.rollouts.table is table
    assert house.runtime.stopped == [second.app]


def test_the_old_version_is_stopped_after_its_last_request_only(house):
    first = house.create()
    house.settle()
    house.create("2.0.0")
    house.runtime.busy[first.app] = 1
    house.settle(10)
    assert house.serving() == "2.0.0"
    assert house.runtime.stopped == [], "a request is still being answered"
    house.runtime.busy.clear()
    house.clock.advance(GRACE_S)
    house.rollouts.tick()
    assert house.runtime.stopped == [first.app]


def test_an_app_that_no_record_knows_is_stopped_after_a_delay_and_its_last_request(house):
    house.serve()
    house.runtime.state["m--0.1.0--orphan"] = AppStatus(AppPhase.RUNNING, 1)
    house.runtime.busy["m--0.1.0--orphan"] = 1
    house.rollouts.tick()
    house.clock.advance(GRACE_S + 1)
    house.rollouts.tick()
    assert house.runtime.stopped == [], "a request is still being answered"
    house.runtime.busy.clear()
    house.restart()
    house.rollouts.tick()
    house.clock.advance(GRACE_S - 0.1)
    house.rollouts.tick()
    assert house.runtime.stopped == [], "a Controller that has just begun waits as long as any other"
    house.clock.advance(0.1)
    house.rollouts.tick()
    assert house.runtime.stopped == [], "a gateway with an older table may still send it requests"
    house.runtime.acknowledged_epoch = house.rollouts.table.epoch
    house.rollouts.tick()
    assert house.runtime.stopped == ["m--0.1.0--orphan"]


def test_deploying_what_already_serves_starts_nothing_new(house):
    first = house.create()
    house.settle()
    again = house.create()
    assert again.app == first.app
    house.settle()
    assert house.rollouts.get(again.id).state == "completed"
    assert list(house.runtime.specs) == [first.app]


def test_a_restart_at_any_moment_ends_in_the_same_place(house):
    for stop_after in range(8):
        house = House()
        deployment = house.create()
        house.settle(stop_after)
        epoch = house.rollouts.table.epoch
        house.restart()
        assert house.rollouts.table.epoch > epoch, "a table from before the restart can never win"
        house.settle(8)
        assert house.rollouts.get(deployment.id).state == "completed"
        assert house.serving() == "1.0.0"
        assert len(house.runtime.specs) == 1, "the app is not started twice under two names"


def test_after_the_whole_cluster_is_gone_what_served_is_started_again(house):
    house.create()
    house.settle()
    house.runtime.state.clear()
    house.restart()
    house.rollouts.tick()
    assert [spec.version for spec in house.runtime.specs.values()] == ["1.0.0"]


class Failing:
    """A record store whose n-th write fails, as on a full disk."""

    def __init__(self, records, fail_at: int) -> None:
        self._records, self._left = records, fail_at

    def put(self, *args, **kwargs):
        self._left -= 1
        if self._left == 0:
            raise StorageFailed("the disk is full")
        return self._records.put(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(self._records, name)


@pytest.mark.parametrize("fail_at", range(1, 9))
def test_a_write_that_fails_is_made_up_for_at_the_next_tick(fail_at):
    house = House()
    deployment = house.create()
    house.rollouts._ledger._records = Failing(house.database.records, fail_at)
    for _ in range(12):
        try:
            house.rollouts.tick()
        except StorageFailed:
            assert house.rollouts.get(deployment.id).weight in (0, 100)
        house.runtime.become(AppPhase.RUNNING)
        house.runtime.acknowledged_epoch = house.rollouts.table.epoch
        house.clock.advance(0.5)
    assert house.rollouts.get(deployment.id).state == "completed"
    assert house.serving() == "1.0.0"


def test_what_autoscaling_is_told_of_a_deployment(house):
    stable = house.serve()
    made = house.create("2.0.0", Strategy.CANARY, steps=[50])

    def told() -> tuple[list[bool], list[bool]]:
        apps = (stable.app, made.app)
        return [house.rollouts.deploying(app) for app in apps], [house.rollouts.analysing(app) for app in apps]

    house.rollouts.tick()
    assert told() == ([True, True], [False, False]), "replicas may still come and go"
    house.settle(4)
    assert told() == ([True, True], [True, True])
    house.rollouts.pause(made.id, "ada")
    assert told() == ([True, True], [True, True]), "it is still being compared"
    house.rollouts.resume(made.id, "ada")
    house.until(made.id, "completed")
    assert told() == ([True, True], [True, True]), "it is judged on, and the other one is kept to return to"
    house.settle(61)
    assert told() == ([False, False], [False, False])
    assert not house.rollouts.deploying("another")


def test_policy_is_published_under_a_new_epoch(house):
    epoch = house.rollouts.table.epoch
    house.rollouts.set_policy(GatewayPolicy(api_key_required=True))
    assert house.rollouts.table.epoch == epoch + 1
    assert house.rollouts.table.policy.api_key_required
