import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.errors import InvalidInput
from streamb.rollouts import strategies
from streamb.rollouts.options import RolloutOptions
from streamb.rollouts.strategies import Step, Strategy, copying, samples_of

CANARY, BLUE_GREEN, ROLLING = Strategy.CANARY, Strategy.BLUE_GREEN, Strategy.ROLLING


def plan(strategy: Strategy, options: dict, **more) -> tuple[Step, ...]:
    return strategies.plan(strategy, RolloutOptions.read(options), **more)


def percents(strategy: Strategy, options: dict, **more) -> list[float]:
    return [step.weight for step in plan(strategy, options, **more)]


@pytest.mark.parametrize(
    ("strategy", "options", "replicas", "expected"),
    [
        (Strategy.IMMEDIATE, {}, 1, [100]),
        (CANARY, {}, 1, [0, 1, 5, 25, 50, 100]),
        (CANARY, {"traffic_split_percentage": 10}, 1, [0, 10, 25, 50, 100]),
        (CANARY, {"traffic_split_percentage": 60}, 1, [0, 60, 100]),
        (CANARY, {"traffic_split_percentage": 100}, 1, [0, 100]),
        (CANARY, {"steps": [2, 20.5]}, 1, [0, 2, 20.5, 100]),
        (CANARY, {"approval_required": True}, 1, [0, 1, 5, 25, 50, 100]),
        (CANARY, {"shadow_percent": 5}, 1, [0, 1, 5, 25, 50, 100]),
        (BLUE_GREEN, {}, 1, [0, 100]),
        (ROLLING, {}, 1, [0, 50, 100]),
        (ROLLING, {}, 4, [0, 25, 50, 75, 100]),
        (ROLLING, {}, 99, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),
    ],
)
def test_the_shares_of_each_strategy(strategy, options, replicas, expected):
    assert percents(strategy, options, replicas=replicas) == expected


def test_every_step_but_the_last_must_prove_itself():
    for strategy in (CANARY, ROLLING):
        steps = plan(strategy, {})
        assert [step.analyse for step in steps] == [False] + [True] * (len(steps) - 2) + [False]
        assert {step.min_samples for step in plan(strategy, {"min_samples": 77})} == {77}
        assert all(step.max_time_s >= step.min_time_s > 0 for step in steps)


@pytest.mark.parametrize(
    ("strategy", "options", "preview"),
    [
        (CANARY, {}, Step(0, 5, 60, 100, analyse=False)),
        (ROLLING, {"step_seconds": 2}, Step(0, 2, 60, 100, analyse=False)),
        (CANARY, {"shadow_percent": 5}, Step(0, 15, 60, 100, analyse=False)),
        (BLUE_GREEN, {}, Step(0, 5, 60, 300)),
        (CANARY, {"steps": [100]}, Step(0, 5, 60, 300)),
        (BLUE_GREEN, {"min_samples": 30, "step_max_seconds": 900}, Step(0, 5, 900, 30)),
        (BLUE_GREEN, {"step_seconds": 0}, Step(0, 0, 60, 300)),
    ],
)
def test_the_preview_must_pass_where_no_judged_step_follows(strategy, options, preview):
    assert plan(strategy, options)[0] == preview


@pytest.mark.parametrize(
    ("options", "copied"),
    [({}, (10_000, 20)), ({"shadow_percent": 5}, (500, 0)), ({"shadow_percent": 0}, (0, 0))],
)
def test_what_is_copied(options, copied):
    read = RolloutOptions.read(options)
    assert copying(read, strategies.plan(CANARY, read)) == copied
    assert copying(read, strategies.plan(CANARY, read, first=True)) == (0, 0), "there is nothing to compare with"


@pytest.mark.parametrize(
    ("percents", "samples"),
    [
        ([10, 25, 50, 100], [200, 3000, 500, 100]),
        ([50, 100], [3000, 100]),
        ([25, 50, 75, 100], [3000, 500, 500, 100]),
        ([60, 100], [3000, 100]),
        ([40, 100], [3000, 100]),
        ([100], [100]),
    ],
)
def test_the_step_before_half_of_the_traffic_needs_the_proof(percents, samples):
    weights = [percent * 100 for percent in percents]
    assert [samples_of(weights, index) for index in range(len(weights))] == samples


@pytest.mark.parametrize(
    ("strategy", "options", "gated"),
    [
        (CANARY, {}, []),
        (CANARY, {"approval_required": True}, [1]),
        (ROLLING, {"approval_required": True}, [50]),
        (BLUE_GREEN, {"approval_required": True}, [100]),
        (CANARY, {"approval_before": "start"}, [0]),
        (CANARY, {"approval_before": 50}, [50]),
        (CANARY, {"approval_before": ["start", 5, 100], "approval_required": True}, [0, 1, 5, 100]),
    ],
)
def test_gates(strategy, options, gated):
    assert [step.weight for step in plan(strategy, options) if step.gate] == gated


def test_a_first_version_has_one_step_and_keeps_its_gate():
    (step,) = plan(CANARY, {}, first=True)
    assert (step.weight, step.gate, step.analyse) == (100, False, False)
    assert plan(CANARY, {"approval_before": 50}, first=True)[0].gate


@pytest.mark.parametrize(
    ("strategy", "options", "named"),
    [
        (CANARY, {"traffic": 5}, "traffic"),
        (CANARY, {"traffic_split_percentage": 0}, "traffic_split_percentage"),
        (CANARY, {"traffic_split_percentage": True}, "traffic_split_percentage"),
        (CANARY, {"steps": []}, "steps"),
        (CANARY, {"steps": [5, 5]}, "steps"),
        (CANARY, {"steps": [5, 101]}, "steps"),
        (CANARY, {"steps": "5,6"}, "steps"),
        (CANARY, {"min_samples": 1.5}, "min_samples"),
        (CANARY, {"step_seconds": float("nan")}, "step_seconds"),
        (CANARY, {"rollback_on_failure": "yes"}, "rollback_on_failure"),
        (CANARY, {"approval_before": 30}, "approval_before"),
        (CANARY, {"approval_before": ["end"]}, "approval_before"),
        (CANARY, {"overrides": {"groups": ["x"]}}, "overrides"),
        (CANARY, {"overrides": {"users": "ada"}}, "overrides"),
        (CANARY, {"health_check_criteria": {"max_errors": 1}}, "max_errors"),
        (CANARY, {"health_check_criteria": 5}, "health_check_criteria"),
        (Strategy.IMMEDIATE, {"step_seconds": 5}, "step_seconds"),
        (BLUE_GREEN, {"traffic_split_percentage": 5}, "traffic_split_percentage"),
        (ROLLING, {"steps": [5]}, "steps"),
        (ROLLING, {"traffic_split_percentage": 1}, "traffic_split_percentage"),  # a canary's default
        (Strategy.IMMEDIATE, {"rollback_on_failure": True}, "rollback_on_failure"),  # the default
        (CANARY, {"steps": [5], "traffic_split_percentage": 5}, "either steps or traffic_split_percentage"),
    ],
)
def test_bad_options_are_named(strategy, options, named):
    with pytest.raises(InvalidInput, match=named):
        plan(strategy, options)


def test_none_leaves_the_default():
    assert RolloutOptions.read({"steps": None, "hold_seconds": None}) == RolloutOptions.read({})


@given(
    st.sampled_from([CANARY, BLUE_GREEN, ROLLING]),
    st.fixed_dictionaries(
        {},
        optional={
            "step_seconds": st.floats(0, 1000),
            "approval_required": st.booleans(),
            "shadow_percent": st.floats(0, 100),
            "approval_before": st.just("start"),
        },
    ),
    st.floats(1, 100),
    st.integers(0, 50),
)
def test_every_plan_rises_to_all_of_the_traffic(strategy, options, start, replicas):
    given = {**options, "traffic_split_percentage": start} if strategy is CANARY else options
    weights = [step.share for step in plan(strategy, given, replicas=replicas)]
    assert weights == sorted(set(weights))
    assert (weights[0] >= 0, weights[-1]) == (True, 10_000)
