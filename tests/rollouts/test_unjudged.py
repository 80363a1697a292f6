"""What would give a version much traffic before it was judged counts as immediate, by whatever strategy or verb."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamb.errors import Forbidden, InvalidInput, SelfApproval
from streamb.rollouts.creation import new_deployment
from streamb.rollouts.options import RolloutOptions
from streamb.rollouts.route import ServingRoute
from streamb.rollouts.runtime import AppPhase, AppStatus
from streamb.rollouts.strategies import Strategy
from streamb.rollouts.unjudged import demand_judgement
from tests.rollouts.fakes import House

QUARTER = 2_500
IMMEDIATE, CANARY, ROLLING, BLUE_GREEN = Strategy.IMMEDIATE, Strategy.CANARY, Strategy.ROLLING, Strategy.BLUE_GREEN
ANYTHING = {"max_error_rate": 1.0, "compare_with_stable": False}


def order(strategy, options, *, replicas=1, most=QUARTER, served=("1.0.0",), route=True):
    """Order 2.0.0 where 1.0.0 serves; return the deployment, or raise Forbidden."""
    serving = ServingRoute("m", "1.0.0", "m--1.0.0--a", salt="s") if route else None
    running = {"m--1.0.0--a": AppStatus(AppPhase.RUNNING, replicas)}
    read = RolloutOptions.read(options)
    made = new_deployment("m", "2.0.0", strategy, read, "ada", 1.0, serving, running, most)
    demand_judgement(made, most, frozenset(served))
    return made


@pytest.mark.parametrize(
    ("strategy", "options", "step"),
    [
        (IMMEDIATE, {}, "100 %"),
        (CANARY, {"traffic_split_percentage": 100}, "100 %"),
        (CANARY, {"traffic_split_percentage": 100, "step_seconds": 0}, "100 %"),
        (CANARY, {"steps": [100]}, "100 %"),
        (CANARY, {"traffic_split_percentage": 25.01}, "25.01 %"),
        (CANARY, {"steps": [30, 60]}, "30 %"),
        (CANARY, {"steps": [100], "approval_required": True}, "100 %"),
        (CANARY, {"traffic_split_percentage": 100, "approval_before": "start"}, "100 %"),
        (CANARY, {"traffic_split_percentage": 10, "min_samples": 1}, "50 %"),
        (CANARY, {"steps": [1], "min_samples": 9}, "100 %"),
        (
            CANARY,
            {"min_samples": 50, "health_check_criteria": {"max_error_rate": 0.4, "max_error_increase": 0.4}},
            "50 %",
        ),
        (CANARY, {"steps": [25, 100], "health_check_criteria": ANYTHING}, "100 %"),
        (CANARY, {"health_check_criteria": {**ANYTHING, "max_latency_ms": 1.0}}, "50 %"),
        (CANARY, {"health_check_criteria": {"max_error_rate": 0.5, "max_error_increase": 1.0}}, "50 %"),
        (CANARY, {"overrides": {"users": ["everybody"]}}, "overrides"),
        (ROLLING, {"min_samples": 1}, "50 %"),
        (BLUE_GREEN, {"step_seconds": 0}, "100 %"),
        (BLUE_GREEN, {"shadow_percent": 0}, "100 %"),
        (BLUE_GREEN, {"min_samples": 1}, "100 %"),
        (BLUE_GREEN, {"shadow_percent": 0, "approval_required": True}, "100 %"),
    ],
)
def test_refused(strategy, options, step):
    with pytest.raises(Forbidden, match="counts as immediate") as refusal:
        order(strategy, options)
    assert step in refusal.value.message
    assert order(strategy, options, most=10_000), "as forced, or in development"


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        (CANARY, {}),
        (CANARY, {"traffic_split_percentage": 25}),
        (CANARY, {"steps": [25, 100]}),
        (CANARY, {"steps": [1], "min_samples": 10, "step_seconds": 0}),
        (CANARY, {"min_samples": 200, "health_check_criteria": {"max_error_rate": 0.4, "max_error_increase": 0.4}}),
        (CANARY, {"health_check_criteria": {"max_error_rate": 1.0}}),  # compared with stable
        (CANARY, {"health_check_criteria": {"compare_with_stable": False}}),  # stopped at 5 %
        (ROLLING, {}),
        (BLUE_GREEN, {}),
        (BLUE_GREEN, {"shadow_percent": 5, "rollback_on_failure": False}),
    ],
)
def test_allowed(strategy, options):
    assert order(strategy, options).target_version == "2.0.0"


def test_a_rolling_deployment_of_few_replicas_begins_with_the_share_that_is_allowed():
    assert [step.weight for step in order(ROLLING, {}).steps] == [0, 25, 50, 100]
    assert [step.weight for step in order(ROLLING, {}, replicas=8).steps][:3] == [0, 12.5, 25]
    assert [step.weight for step in order(ROLLING, {}, most=10_000).steps] == [0, 50, 100]
    with pytest.raises(Forbidden):
        order(ROLLING, {}, most=0)


@pytest.mark.parametrize(
    ("served", "route", "allowed"),
    [
        ((), False, True),  # the first version of a model takes traffic from no other
        (("1.0.0",), False, False),  # after an undeployment it would be 1.0.0's
        (("1.0.0", "2.0.0"), False, True),  # it is known
        (("1.0.0", "2.0.0"), True, False),  # not what it does to a version that serves
    ],
)
def test_what_counts_as_known(served, route, allowed):
    if allowed:
        assert order(CANARY, {"traffic_split_percentage": 100}, served=served, route=route)
    else:
        with pytest.raises(Forbidden):
            order(CANARY, {"traffic_split_percentage": 100}, served=served, route=route)


SOME = {
    "traffic_split_percentage": st.floats(1, 100),
    "steps": st.lists(st.floats(1, 100), min_size=1, max_size=4, unique=True).map(sorted),
    "step_seconds": st.floats(0, 60),
    "step_max_seconds": st.floats(0, 60),
    "min_samples": st.integers(1, 300),
    "approval_required": st.booleans(),
    "rollback_on_failure": st.booleans(),
    "fallback_to_stable": st.booleans(),
    "shadow_percent": st.floats(0, 100),
    "hold_seconds": st.floats(0, 60),
    "overrides": st.fixed_dictionaries({"users": st.lists(st.sampled_from("abc"), max_size=2)}),
    "health_check_criteria": st.fixed_dictionaries(
        {},
        optional={
            "max_error_rate": st.floats(0, 1),
            "max_error_increase": st.floats(0, 1),
            "compare_with_stable": st.booleans(),
            "compare_outputs": st.booleans(),
            "max_latency_ms": st.floats(1, 100),
        },
    ),
}


@given(
    st.sampled_from(Strategy),
    st.fixed_dictionaries({}, optional=SOME),
    st.integers(1, 12),
    st.sampled_from([100, 2_500, 6_000]),
)
@settings(max_examples=600, deadline=None)
def test_whatever_is_allowed_is_judged_before_it_gets_more(strategy, options, replicas, most):
    try:
        made = order(strategy, options, replicas=replicas, most=most)
    except (InvalidInput, ValidationError, Forbidden):
        return
    criteria = made.criteria
    assert not made.users
    before = next(index for index, step in enumerate(made.steps) if step.share > most)
    judged = [step for step in made.steps[:before] if step.analyse and step.min_samples >= 10]
    assert judged
    assert strategy is BLUE_GREEN or any(step.share for step in judged)
    bounded = criteria.max_error_rate is None or criteria.max_error_rate < 0.5
    assert bounded or (criteria.compare_with_stable and criteria.max_error_increase < 0.5)


class TestOtherWays:
    """Verbs that move traffic have the same effect as a deployment, so the same guard."""

    @pytest.fixture
    def house(self, house: House) -> House:
        house.serve("1.0.0")
        house.restart(four_eyes=True, most_unjudged=QUARTER)
        return house

    def test_promoting_needs_a_step_that_judged(self, house):
        made = house.create("2.0.0", CANARY)
        for weight in (0, 1):
            house.at(made.id, weight)
            with pytest.raises(Forbidden, match="before one was passed"):
                house.rollouts.promote(made.id, "ada")
            house.rollouts.pause(made.id, "ada")
            with pytest.raises(Forbidden, match="before one was passed"):
                house.rollouts.promote(made.id, "ada")
            house.rollouts.resume(made.id, "ada")
        house.at(made.id, 5)
        house.rollouts.promote(made.id, "ada")
        house.until(made.id, "completed")

    def test_an_administrator_may_force_it(self, house):
        made = house.create("2.0.0", CANARY)
        house.rollouts.promote(made.id, "ada", force=True)
        house.until(made.id, "completed")

    def test_promoting_accepts_no_other_answers(self, house):
        """Whoever promotes would approve them, also the author."""
        made = house.create("2.0.0", CANARY)
        house.at(made.id, 5)
        house.rollouts.promote(made.id, "author")
        assert not house.rollouts.get(made.id).outputs_accepted

    def test_an_order_to_roll_back_deploys_nothing_new(self, house):
        made = house.create("3.0.0", CANARY)
        house.until(made.id, "completed")
        with pytest.raises(Forbidden, match="first deployment"):
            house.rollouts.rollback(made.id, "ada", to_version="2.0.0")
        assert house.rollouts.rollback(made.id, "ada", to_version="2.0.0", force=True).back_to == "2.0.0"

    def test_what_served_is_known(self, house):
        for version in ("2.0.0", "3.0.0"):
            house.until(house.create(version, CANARY, hold_seconds=0).id, "completed")
        made = house.rollouts.latest("m")
        assert house.rollouts.rollback(made.id, "ada", to_version="1.0.0").back_to == "1.0.0"
        house.until(made.id, "rolled_back")

    def test_undeploying_first_is_no_way_around(self, house):
        house.rollouts.undeploy("m", "ada")
        house.settle(30)
        with pytest.raises(Forbidden, match="counts as immediate"):
            house.create("2.0.0", CANARY)
        house.until(house.create("1.0.0", CANARY).id, "completed")
        house.until(house.create("2.0.0", CANARY).id, "completed")


class TestFourEyes:
    @pytest.mark.parametrize(
        ("author", "approver"), [("ada", "ada"), ("anonymous", "ada"), ("ada", "anonymous"), ("ada", "job:job-1")]
    )
    def test_what_may_be_one_person_is_one(self, house, author, approver):
        house.serve("1.0.0")
        made = house.rollouts.create("m", "2.0.0", CANARY, {"approval_required": True}, author)
        house.until(made.id, "awaiting_approval")
        with pytest.raises(SelfApproval) as refusal:
            house.rollouts.approve(made.id, approver, "said: somebody else")
        assert (refusal.value.status, refusal.value.code) == (403, "self_approval")
        house.restart(four_eyes=False)
        approved = house.rollouts.approve(made.id, approver, "said: somebody else")
        told = "self-approved: said: somebody else" if author == approver else "said: somebody else"
        assert approved.approvals[-1].reason == told
        event = house.rollouts.history(1, None, "m").items[0]
        assert (event.actor, event.detail) == (approver, f"1 %: {told}")
