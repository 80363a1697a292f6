"""What people tell a deployment: once or twice, it is the same; and all of it is written down."""

import dataclasses

import pytest

from streamb.errors import Conflict, Forbidden, InvalidTransition
from streamb.rollouts.strategies import Strategy
from tests.rollouts.fakes import House

VERBS = ("approve", "pause", "resume", "promote", "abort", "rollback")


@pytest.fixture
def house(house: House) -> House:
    house.serve("1.0.0")
    return house


def at(house: House, where: str):
    """A canary that stands somewhere."""
    made = house.create("2.0.0", Strategy.CANARY, **({"approval_required": True} if where == "gate" else {}))
    if where == "gate":
        return house.until(made.id, "awaiting_approval")
    if where in {"observing", "paused", "reverting"}:
        house.at(made.id, 1)
    if where == "paused":
        house.rollouts.pause(made.id, "ben")
    if where == "completed":
        house.until(made.id, "completed")
    if where == "reverting":
        house.rollouts.abort(made.id, "ben")
    return house.rollouts.get(made.id)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("where", ["pending", "gate", "observing", "paused", "completed", "reverting"])
def test_every_verb_twice_is_once(house, where, verb):
    made = at(house, where)
    tell = getattr(house.rollouts, verb)
    try:
        first = tell(made.id, "ada", "because")
    except Conflict:
        with pytest.raises(Conflict):
            tell(made.id, "ada", "because")
        assert house.rollouts.get(made.id) == made
        return
    told = house.kinds()
    assert tell(made.id, "ada", "because") == first
    assert house.kinds() == told


@pytest.mark.parametrize(
    ("where", "verb", "kind"),
    [
        ("gate", "approve", "approved"),
        ("observing", "pause", "paused"),
        ("paused", "resume", "resumed"),
        ("observing", "promote", "promoted"),
        ("observing", "abort", "aborting"),
        ("gate", "abort", "aborted"),
        ("observing", "rollback", "rolling_back"),
        ("gate", "rollback", "rolled_back"),
        ("completed", "rollback", "rolling_back"),
    ],
)
def test_who_and_why_are_in_the_history(house, where, verb, kind):
    made = at(house, where)
    getattr(house.rollouts, verb)(made.id, "ada", "because")
    event = house.rollouts.history(1, None, "m").items[0]
    assert (event.kind, event.actor, event.deployment_id) == (kind, "ada", made.id)
    assert event.detail.endswith("because")


class TestApprove:
    def test_not_by_the_author(self, house):
        with pytest.raises(Forbidden, match="somebody other than its author"):
            house.rollouts.approve(at(house, "gate").id, "author")

    def test_not_what_waits_for_nothing(self, house):
        with pytest.raises(InvalidTransition, match="does not wait"):
            house.rollouts.approve(at(house, "observing").id, "ada")

    def test_twice_opens_one_gate_only(self, house):
        made = house.create("2.0.0", Strategy.CANARY, approval_before=["start", 1])
        house.until(made.id, "awaiting_approval")
        house.rollouts.approve(made.id, "ada")
        house.rollouts.approve(made.id, "ada")
        house.settle(12)
        assert house.rollouts.get(made.id).waiting_for == "1 %"


class TestPause:
    def test_the_weight_stays_until_resumed(self, house):
        made = at(house, "paused")
        house.settle(100)
        assert house.shares()["2.0.0"] == 100
        house.rollouts.resume(made.id, "ada")
        house.until(made.id, "completed")

    def test_before_anything_has_begun(self, house):
        made = house.create("2.0.0", Strategy.CANARY)
        house.rollouts.pause(made.id, "ada")
        house.settle(5)
        assert made.app not in house.runtime.specs
        house.rollouts.resume(made.id, "ada")
        house.until(made.id, "completed")


class TestPromote:
    def test_goes_to_all_traffic_with_capacity_first(self, house):
        made = at(house, "observing")
        house.rollouts.promote(made.id, "ada")
        house.settle(2)
        assert house.shares()["2.0.0"] == 10_000
        house.until(made.id, "completed")

    @pytest.mark.parametrize("where", ["pending", "paused"])
    def test_from_elsewhere(self, house, where):
        made = at(house, where)
        house.rollouts.promote(made.id, "ada")
        house.until(made.id, "completed")

    def test_opens_no_gate(self, house):
        made = house.create("2.0.0", Strategy.CANARY, approval_before=[50])
        house.settle(5)
        house.rollouts.promote(made.id, "author")
        assert house.until(made.id, "awaiting_approval").waiting_for == "100 %"
        house.rollouts.approve(made.id, "ada")
        house.until(made.id, "completed")

    def test_a_failing_version_is_rolled_back_nevertheless(self, house):
        made = at(house, "observing")
        house.failing.add("2.0.0")
        house.rollouts.promote(made.id, "ada")
        house.until(made.id, "rolled_back")


class TestAbort:
    def test_the_share_goes_back_before_it_is_over(self, house):
        made = at(house, "observing")
        house.runtime.acknowledged_epoch = 0
        aborting = house.rollouts.abort(made.id, "ada")
        assert (aborting.state, aborting.weight, house.serving()) == ("progressing", 0, "1.0.0")
        house.until(made.id, "aborted")

    def test_of_a_first_version_leaves_nothing(self):
        house = House()
        made = house.create("1.0.0")
        house.rollouts.tick()
        house.world()
        house.rollouts.tick()
        assert house.serving() == "1.0.0"
        house.rollouts.abort(made.id, "ada")
        house.until(made.id, "aborted")
        assert house.route() is None


def test_rolling_back_under_way_goes_to_the_stable_version_only(house):
    made = at(house, "observing")
    with pytest.raises(Conflict, match="only a completed"):
        house.rollouts.rollback(made.id, "ada", to_version="3.0.0")
    house.rollouts.rollback(made.id, "ada", to_version="1.0.0")
    house.until(made.id, "rolled_back")


def test_a_judgement_is_kept_when_it_changes_and_shown_as_it_is(house):
    made = at(house, "observing")
    house.settle(3)
    stored = house.rollouts._ledger.get(made.id)
    shown = house.rollouts.get(made.id)
    assert [one.verdict for one in stored.findings] == [one.verdict for one in shown.findings]
    assert shown.findings[0].samples > stored.findings[0].samples
    assert dataclasses.replace(stored, findings=()) == dataclasses.replace(shown, findings=())


def test_after_deploying_an_older_version_the_way_back_leads_to_the_newer_one(house):
    house.serve("1.0.0")
    house.clock.advance(10)
    house.serve("2.0.0")
    older = house.serve("1.0.0")
    house.rollouts.rollback(older.id, "ada")
    house.until(older.id, "rolled_back")
    assert house.serving() == "2.0.0"
