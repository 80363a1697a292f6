"""How a version runs: batching, resources and time limit, from the deployment through restarts and rollbacks."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.errors import InvalidInput
from streamb.registry import Artifact
from streamb.registry.trial import Trial, TrialState
from streamb.rollouts.options import RolloutOptions
from streamb.rollouts.route import ServingRoute, Standby
from streamb.rollouts.runtime import DEFAULT_RUN, AppPhase, AppStatus, Resources, RunOptions
from streamb.rollouts.strategies import Strategy, check_used
from streamb.security.isolation import Isolation
from streamb.store.plain import from_plain, to_plain
from streamb.traffic import Batching
from tests.rollouts.fakes import House

SMALL = {
    "batching": {"max_rows": 8, "max_wait_ms": 2.0},
    "resources": {"cpus": 2.0, "memory_mb": 500},
    "timeout_s": 3.0,
}
LARGE = {"resources": {"gpus": 0.5}, "timeout_s": 9.0}
SMALL_RUN = RunOptions("auto", 8, 2.0, 3.0, Resources(2.0, 500))


@pytest.fixture
def house(house: House) -> House:
    made = house.create("1.0.0", **SMALL)
    house.until(made.id, "completed")
    house.settle(2)
    return house


def target(house: House, version: str):
    return house.route().targets[version]


def resources(house: House, version: str) -> Resources:
    return house.runtime.specs[target(house, version).app].resources


@pytest.mark.parametrize("strategy", Strategy)
def test_every_strategy_takes_them(strategy):
    check_used(strategy, RolloutOptions.read(SMALL))


def test_options_reach_the_table_and_the_app(house):
    found = target(house, "1.0.0")
    assert (found.batching, found.timeout_s) == (Batching(True, 8, 2.0), 3.0)
    assert resources(house, "1.0.0") == SMALL_RUN.resources


def test_each_deployment_states_its_own(house):
    house.until(house.create("2.0.0").id, "completed")
    house.settle(2)
    found = target(house, "2.0.0")
    assert (found.batching, found.timeout_s, resources(house, "2.0.0")) == (Batching(True), None, Resources())


def isolation(house: House, version: str) -> Isolation:
    return house.runtime.specs[target(house, version).app].isolation


def test_isolation_goes_wherever_the_version_goes(house):
    assert isolation(house, "1.0.0") is Isolation.NONE
    made = house.create("2.0.0", isolation="process")
    house.until(made.id, "completed")
    house.settle(2)
    house.restart()
    assert isolation(house, "2.0.0") is Isolation.PROCESS
    lost = target(house, "2.0.0").app
    house.runtime.state[lost] = AppStatus(AppPhase.FAILED, 0, "the node was lost")
    house.settle(4)
    assert (target(house, "2.0.0").app != lost, isolation(house, "2.0.0")) == (True, Isolation.PROCESS)
    again = house.create("2.0.0")
    house.until(again.id, "completed")
    house.settle(2)
    assert isolation(house, "2.0.0") is Isolation.NONE, "it was started anew"


def test_a_canary_runs_as_it_says_beside_stable_and_a_rollback_brings_the_old_ones_back(house):
    made = house.create("2.0.0", Strategy.CANARY, **LARGE)
    house.at(made.id, 1)
    assert (target(house, "1.0.0").timeout_s, target(house, "2.0.0").timeout_s) == (3.0, 9.0)
    assert (resources(house, "1.0.0"), resources(house, "2.0.0")) == (SMALL_RUN.resources, Resources(gpus=0.5))
    house.until(made.id, "completed")
    assert target(house, "1.0.0").batching.max_rows == 8, "kept warm as it was"
    house.rollouts.rollback(made.id, "ada")
    house.until(made.id, "rolled_back")
    assert (house.serving(), target(house, "1.0.0").timeout_s) == ("1.0.0", 3.0)


@pytest.mark.parametrize("to_version", [None, "1.0.0"])
def test_a_late_rollback_starts_the_old_version_as_it_ran(house, to_version):
    for version in ("2.0.0", "3.0.0") if to_version else ("2.0.0",):
        made = house.create(version, **LARGE)
        house.until(made.id, "completed")
        house.settle(10)
    house.restart()
    house.rollouts.rollback(made.id, "ada", to_version=to_version)
    house.until(made.id, "rolled_back")
    house.settle(3)
    assert (house.serving(), target(house, "1.0.0").timeout_s) == ("1.0.0", 3.0)
    assert resources(house, "1.0.0") == SMALL_RUN.resources


def test_a_failing_version_falls_back_by_itself_to_what_ran_before(house):
    made = house.create("2.0.0", Strategy.CANARY, hold_seconds=600, **LARGE)
    house.until(made.id, "completed")
    warm = target(house, "1.0.0").app
    house.runtime.state[warm] = AppStatus(AppPhase.FAILED, 0, "gone")
    house.settle(2)
    house.failing.add("2.0.0")
    house.until(made.id, "rolled_back")
    house.settle(3)
    assert (target(house, "1.0.0").timeout_s, resources(house, "1.0.0")) == (3.0, SMALL_RUN.resources)


def test_a_restart_and_a_lost_app_keep_them(house):
    house.restart()
    assert target(house, "1.0.0").timeout_s == 3.0
    lost = target(house, "1.0.0").app
    house.runtime.state[lost] = AppStatus(AppPhase.FAILED, 0, "the node was lost")
    house.settle(4)
    assert target(house, "1.0.0").app != lost
    assert (target(house, "1.0.0").timeout_s, resources(house, "1.0.0")) == (3.0, SMALL_RUN.resources)
    house.runtime.state.clear()  # the whole cluster was lost
    house.restart()
    house.settle(2)
    assert house.runtime.specs[target(house, "1.0.0").app].resources == SMALL_RUN.resources


def test_a_target_that_is_started_elsewhere_keeps_them(house):
    made = house.create("2.0.0", Strategy.CANARY, **LARGE)
    house.rollouts.tick()
    house.rollouts.tick()
    first = house.rollouts.get(made.id).app
    assert house.runtime.specs[first].resources.gpus == 0.5
    house.restart()
    del house.runtime.state[first], house.runtime.specs[first]
    house.settle(3)
    assert {spec.resources.gpus for spec in house.runtime.specs.values() if spec.version == "2.0.0"} == {0.5}


def test_the_same_version_again_changes_batching_and_time_without_a_start(house):
    app, started = target(house, "1.0.0").app, list(house.runtime.specs)
    made = house.create("1.0.0", **{**SMALL, "timeout_s": 4.0, "batching": {"join": False}})
    house.until(made.id, "completed")
    found = target(house, "1.0.0")
    assert (found.app, found.timeout_s, found.batching) == (app, 4.0, Batching(join=False))
    assert list(house.runtime.specs) == started


def test_the_same_version_again_with_other_resources_starts_anew_and_then_takes_over(house):
    app, epoch = target(house, "1.0.0").app, house.rollouts.table.epoch
    made = house.create("1.0.0", resources={"cpus": 4.0})
    while house.rollouts.get(made.id).state != "completed":
        assert (house.serving(), target(house, "1.0.0").app) == ("1.0.0", app), "until the new one runs"
        house.settle(1)
    house.settle(8)
    assert target(house, "1.0.0").app != app
    assert resources(house, "1.0.0") == Resources(4.0)
    assert (app in house.runtime.stopped, house.rollouts.table.epoch) == (True, epoch + 1)


def test_a_warm_version_is_used_again_only_with_the_same_resources(house):
    made = house.create("2.0.0", Strategy.CANARY, hold_seconds=600)
    house.until(made.id, "completed")
    warm = target(house, "1.0.0").app
    assert house.create("1.0.0", **{**SMALL, "timeout_s": 1.0}).app == warm
    house.restart()
    house.rollouts.abort(house.rollouts.latest("m").id, "ada")
    house.settle(2)
    assert house.create("1.0.0", resources={"cpus": 5.0}).app != warm


def test_joining_against_what_the_trial_found_is_refused(house):
    for number, row_wise in (("7.0.0", False), ("8.0.0", None)):
        trial = Trial(TrialState.PASSED, row_wise=row_wise)
        artifact = Artifact(number * 8, f"b-{number}", 1, "own", "other", {}, carries_code=True, trial=trial)
        house.registry.register_version("m", number, artifact)
    with pytest.raises(InvalidInput, match="strangers' requests would change each other's answers"):
        house.create("7.0.0", batching={"join": True})
    for wish, joined in ((None, False), (True, True), (False, False)):
        made = house.create("8.0.0", batching={"join": wish})
        house.until(made.id, "completed")
        assert target(house, "8.0.0").batching.join is joined


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batching": {"join": "yes"}}, "batching.join"),
        ({"batching": {"max_rows": 0}}, "batching.max_rows"),
        ({"batching": {"max_wait_ms": 1001}}, "batching.max_wait_ms"),
        ({"batching": {"rows": 1}}, "batching.rows is unknown"),
        ({"resources": {"gpus": 1.5}}, "a fraction of one GPU, or a whole number"),
        ({"resources": {"cpus": 0}}, "resources.cpus"),
        ({"resources": {"memory_mb": 0.5}}, "resources.memory_mb"),
        ({"timeout_s": 0}, "timeout_s"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(InvalidInput) as refused:
        RolloutOptions.read(options)
    assert words in refused.value.message


RUNS = st.builds(
    RunOptions,
    st.sampled_from([None, True, False]),
    st.integers(0, 10),
    st.floats(0, 10),
    st.none() | st.floats(0.1, 9),
    st.builds(Resources, st.none() | st.floats(0.1, 9), st.none() | st.integers(1, 9), st.floats(0, 1)),
)


@given(RUNS, RUNS)
def test_what_is_stored_comes_back(one, other):
    route = ServingRoute("m", "2.0.0", "app", "salt", (Standby("1.0.0", "old", 5.0, other),), run=one)
    assert from_plain(ServingRoute, json.loads(json.dumps(to_plain(route)))) == route
    before = {name: value for name, value in to_plain(route).items() if name != "run"}
    before["standby"] = [{name: value for name, value in kept.items() if name != "run"} for kept in before["standby"]]
    read = from_plain(ServingRoute, before)
    assert (read.run, read.standby[0].run) == (DEFAULT_RUN, DEFAULT_RUN)
    assert dataclasses.replace(one).batching(may_join=False).join is (one.join is True)
