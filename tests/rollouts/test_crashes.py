"""The process may die at every write and at every action: what starts after it on the same store ends the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streamb.errors import StreambError
from streamb.rollouts.runtime import AppPhase, AppStatus, Fault
from streamb.rollouts.strategies import Strategy
from tests.rollouts.fakes import VERSIONS, House

QUICK = {"step_seconds": 1, "min_samples": 20, "step_max_seconds": 60, "hold_seconds": 5}


class Died(BaseException):
    """The process was killed here."""


class Fuse:
    """Counts the moments at which a process can die, and lets it die at one of them."""

    def __init__(self, burns_for: int = 10**9) -> None:
        self.left = burns_for
        self.moments = 0

    def burn(self) -> None:
        self.moments += 1
        self.left -= 1
        if self.left == 0:
            raise Died


class MortalRecords:
    """Dies before a write, in the middle of a batch, and after a batch."""

    def __init__(self, records: Any, fuse: Fuse) -> None:
        self._records, self._fuse = records, fuse

    @contextmanager
    def batch(self):
        self._fuse.burn()
        with self._records.batch():
            yield
        self._fuse.burn()

    def put(self, *args, **kwargs):
        self._fuse.burn()
        return self._records.put(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(self._records, name)


class MortalRuntime:
    """Dies before and after each action."""

    def __init__(self, runtime: Any, fuse: Fuse) -> None:
        self._runtime, self._fuse = runtime, fuse

    def __getattr__(self, name):
        method = getattr(self._runtime, name)
        return self._mortal(method) if name in {"start", "scale", "stop"} else method

    def _mortal(self, method: Callable[..., None]) -> Callable[..., None]:
        def act(*args):
            self._fuse.burn()
            method(*args)
            self._fuse.burn()

        return act


class MortalHouse(House):
    """A house whose process dies once, and is started again.

    Args:
        empty: nothing answers yet; else version 1.0.0 does, on three replicas.
    """

    def __init__(self, fuse: Fuse, *, empty: bool = False) -> None:
        self.fuse = Fuse()
        super().__init__()
        self.deaths = 0
        self.rate = 10_000
        if not empty:
            old = self.serve("1.0.0")
            self.runtime.state[old.app] = AppStatus(AppPhase.RUNNING, 3)
        self.fuse = fuse
        self.restart_mortal()

    def restart_mortal(self) -> None:
        while True:
            try:
                self.restart(MortalRecords(self.database.records, self.fuse), MortalRuntime(self.runtime, self.fuse))
            except Died:
                self.deaths += 1
            else:
                return

    def alive(self, act: Callable[[], Any]) -> Any:
        """Do something; when the process dies over it, start it again and repeat: verbs are asked for again."""
        while True:
            try:
                return act()
            except Died:
                self.deaths += 1
                self.restart_mortal()

    def settle(self, ticks: int = 8) -> None:
        for _ in range(ticks):
            self.alive(lambda: self.rollouts.tick())
            self.world()

    def deploy(self, version: str, strategy: Strategy, **options: Any) -> str:
        def order() -> str:
            busy = self.rollouts.latest("m")
            if busy is not None and (busy.active or busy.target_version == version != "1.0.0"):
                return busy.id  # the order was taken before the process died
            return self.create(version, strategy, **options).id

        return self.alive(order)

    def tell(self, verb: str, deployment_id: str, **more: Any) -> None:
        self.alive(lambda: getattr(self.rollouts, verb)(deployment_id, "ada", "because", **more))

    def ended(self) -> tuple:
        """All that counts in the end."""
        self.settle(30)
        latest, route = self.rollouts.latest("m"), self.rollouts.routes["m"]
        apps = sorted((self.runtime.specs[app].version, status.replicas) for app, status in self.runtime.apps().items())
        return latest.state, latest.weight, latest.step, route.version, self.shares(), apps, self.serving()


def healthy_canary(house: MortalHouse) -> None:
    house.until(house.deploy("2.0.0", Strategy.CANARY, **QUICK), "completed")


def failing_canary(house: MortalHouse) -> None:
    house.failing.add("2.0.0")
    house.until(house.deploy("2.0.0", Strategy.CANARY, **QUICK), "rolled_back")


def rolling(house: MortalHouse) -> None:
    house.until(house.deploy("2.0.0", Strategy.ROLLING, **QUICK), "completed")


def rolling_given_up(house: MortalHouse) -> None:
    made = house.deploy("2.0.0", Strategy.ROLLING, **QUICK, approval_before=100)
    house.until(made, "awaiting_approval")
    house.tell("abort", made)
    house.until(made, "aborted")


def blue_green_approved_and_back(house: MortalHouse) -> None:
    made = house.deploy("2.0.0", Strategy.BLUE_GREEN, **{**QUICK, "hold_seconds": 50}, approval_required=True)
    house.until(made, "awaiting_approval")
    house.tell("approve", made)
    house.until(made, "completed")
    house.tell("rollback", made)
    house.until(made, "rolled_back")


def back_to_a_cold_version(house: MortalHouse) -> None:
    made = house.deploy("2.0.0", Strategy.IMMEDIATE)
    house.until(made, "completed")
    house.settle(10)
    house.tell("rollback", made, to_version="1.0.0")
    house.until(made, "rolled_back")


def paused_and_promoted(house: MortalHouse) -> None:
    made = house.deploy("2.0.0", Strategy.CANARY, **QUICK)
    house.settle(6)
    house.tell("pause", made)
    house.settle(3)
    house.tell("promote", made)
    house.until(made, "completed")


def failed_app(house: MortalHouse) -> None:
    house.runtime.state[house.rollouts.routes["m"].app] = AppStatus(AppPhase.FAILED)
    house.settle(10)


def first_version(house: MortalHouse) -> None:
    house.until(house.deploy("2.0.0", Strategy.CANARY, **QUICK), "completed")


def immediate(house: MortalHouse) -> None:
    house.until(house.deploy("2.0.0", Strategy.IMMEDIATE), "completed")


def blue_green_in_the_shadow(house: MortalHouse) -> None:
    house.until(house.deploy("2.0.0", Strategy.BLUE_GREEN, **QUICK, shadow_percent=50), "completed")


def paused_and_resumed(house: MortalHouse) -> None:
    made = house.deploy("2.0.0", Strategy.ROLLING, **QUICK)
    house.settle(5)
    house.tell("pause", made)
    house.settle(3)
    house.tell("resume", made)
    house.until(made, "completed")


def rolled_back_half_way(house: MortalHouse) -> None:
    made = house.deploy("2.0.0", Strategy.CANARY, **QUICK)
    house.settle(6)
    house.tell("rollback", made)
    house.until(made, "rolled_back")


def aborted_before_it_began(house: MortalHouse) -> None:
    made = house.deploy("2.0.0", Strategy.CANARY, **QUICK, approval_before="start")
    house.until(made, "awaiting_approval")
    house.tell("abort", made)


def promoted_up_to_a_gate(house: MortalHouse) -> None:
    made = house.deploy("2.0.0", Strategy.CANARY, **QUICK, approval_before=50)
    house.settle(6)
    house.tell("promote", made)
    house.until(made, "awaiting_approval")
    house.tell("approve", made)
    house.until(made, "completed")


def approved_without_evidence(house: MortalHouse) -> None:
    house.rate = 0
    made = house.deploy("2.0.0", Strategy.CANARY, **{**QUICK, "step_max_seconds": 5}, steps=[50])
    house.until(made, "awaiting_approval")
    house.rate = 10_000
    house.tell("approve", made)
    house.until(made, "completed")


def nobody_approved(house: MortalHouse) -> None:
    made = house.deploy("2.0.0", Strategy.BLUE_GREEN, **QUICK, approval_required=True, approval_timeout_s=20)
    house.until(made, "aborted")


def failing_without_rollback(house: MortalHouse) -> None:
    house.failing.add("2.0.0")
    made = house.deploy("2.0.0", Strategy.ROLLING, **QUICK, rollback_on_failure=False)
    house.until(made, "paused")
    house.tell("abort", made)
    house.until(made, "aborted")


def cannot_start(house: MortalHouse) -> None:
    house.runtime.cannot_start.add("2.0.0")
    house.until(house.deploy("2.0.0", Strategy.CANARY, **QUICK), "failed")


def cannot_go_back(house: MortalHouse) -> None:
    made = house.deploy("2.0.0", Strategy.IMMEDIATE)
    house.until(made, "completed")
    house.settle(10)
    house.runtime.cannot_start.add("1.0.0")
    house.tell("rollback", made)
    house.until(made, "completed")


def goes_bad_after_completion(house: MortalHouse) -> None:
    made = house.deploy("2.0.0", Strategy.ROLLING, **{**QUICK, "hold_seconds": 50})
    house.until(made, "completed")
    house.settle(2)
    house.failing.add("2.0.0")
    house.until(made, "rolled_back")


def replaced_while_it_is_judged_after_completion(house: MortalHouse) -> None:
    house.until(house.deploy("2.0.0", Strategy.CANARY, **{**QUICK, "hold_seconds": 50}, steps=[50]), "completed")
    house.failing.add("2.0.0")
    house.until(house.deploy("3.0.0", Strategy.BLUE_GREEN, **QUICK), "completed")


def lost_with_its_node(house: MortalHouse) -> None:
    made = house.deploy("2.0.0", Strategy.CANARY, **QUICK, steps=[50])
    house.at(made, 50)
    lost = AppStatus(AppPhase.FAILED, 0, "node n1 was lost", Fault.INFRASTRUCTURE)
    house.runtime.state[house.rollouts.get(made).app] = lost
    house.until(made, "completed")


STORIES = (
    healthy_canary, failing_canary, rolling, rolling_given_up, blue_green_approved_and_back, back_to_a_cold_version,
    paused_and_promoted, failed_app, first_version, immediate, blue_green_in_the_shadow, paused_and_resumed,
    rolled_back_half_way, aborted_before_it_began, promoted_up_to_a_gate, approved_without_evidence, nobody_approved,
    failing_without_rollback, cannot_start, cannot_go_back, goes_bad_after_completion,
    replaced_while_it_is_judged_after_completion, lost_with_its_node,
)  # fmt: skip
"""Every strategy and every verb, and every way in which a deployment can end."""
EMPTY = frozenset({first_version})


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_dying_at_any_moment_changes_nothing_in_the_end(story):
    whole = MortalHouse(Fuse(), empty=story in EMPTY)
    story(whole)
    expected = whole.ended()
    moments = whole.fuse.moments
    assert moments > 10
    for moment in range(1, moments + 1):
        house = MortalHouse(Fuse(moment), empty=story in EMPTY)
        story(house)
        assert (house.ended(), house.deaths) == (expected, 1), f"died at moment {moment}"
        told = house.kinds()
        assert told.count("created") == whole.kinds().count("created"), f"died at moment {moment}"


strategies = st.sampled_from([*Strategy, Strategy.CANARY, Strategy.CANARY])
verbs = st.sampled_from(["approve", "pause", "resume", "promote", "abort", "rollback"])
options = st.fixed_dictionaries(
    {"step_seconds": st.just(1), "min_samples": st.just(20), "step_max_seconds": st.sampled_from([1, 30])},
    optional={"approval_required": st.just(True), "rollback_on_failure": st.booleans(), "hold_seconds": st.just(20)},
)


class Rollout(RuleBasedStateMachine):
    """Orders, verbs, deaths, failures and time in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.house = MortalHouse(Fuse())
        self.before: tuple[Any, dict[str, str]] = (None, {})

    @initialize(version=st.sampled_from(VERSIONS[1:]), given=options)
    def begin(self, version, given):
        self.units = [f"user-{index}" for index in range(300)]
        self.order(version, Strategy.CANARY, given)

    @rule(version=st.sampled_from(VERSIONS), strategy=strategies, given=options)
    def order(self, version, strategy, given):
        self.attempt(lambda: self.house.create(version, strategy, **({} if strategy == "immediate" else given)))

    @rule(verb=verbs, to=st.sampled_from([None, *VERSIONS]))
    def tell(self, verb, to):
        latest = self.house.rollouts.latest("m")
        more = {"to_version": to} if verb == "rollback" else {}
        self.attempt(lambda: getattr(self.house.rollouts, verb)(latest.id, "ada", "because", **more))

    @rule(ticks=st.integers(1, 30), moment=st.integers(1, 60))
    def time_passes(self, ticks, moment):
        """The process may die meanwhile, or in the verbs that follow."""
        self.house.fuse.left = moment
        for _ in range(ticks):
            self.house.settle(1)
            self.check_stickiness()

    @rule(what=st.sampled_from(["breaks", "mended", "mended", "app fails", "cluster gone"]), data=st.data())
    def misfortune(self, what, data):
        if what == "breaks":
            self.house.failing.add(data.draw(st.sampled_from(VERSIONS)))
        if what == "mended":
            self.house.failing.clear()
        if what == "app fails" and self.house.runtime.state:
            app = data.draw(st.sampled_from(sorted(self.house.runtime.state)))
            self.house.runtime.state[app] = AppStatus(AppPhase.FAILED, 0, "out of memory")
        if what == "cluster gone":
            self.house.runtime.state.clear()
            self.house.restart_mortal()

    def attempt(self, act) -> None:
        try:
            act()
        except Died:
            self.house.restart_mortal()
        except StreambError:
            pass
        self.check_stickiness()

    def check_stickiness(self) -> None:
        """While one deployment goes on, a unit leaves a version only for the one whose weight was raised."""
        route, weights = self.house.route(), self.house.shares()
        chosen = {unit: route.split.choose(unit, salt=route.salt) for unit in self.units}
        earlier, before = self.before
        if earlier is not None and earlier.keys() == weights.keys():
            for unit, version in chosen.items():
                assert version == before[unit] or weights[version] > earlier[version]
        self.before = (weights, chosen)

    @invariant()
    def the_table_is_whole(self):
        route = self.house.route()
        assert route.split.bounds[-1] == 10_000
        assert set(route.split.versions) <= route.targets.keys()
        for override in route.overrides:
            assert override.version in route.targets
        assert route.fallback in {"", *route.targets}

    @invariant()
    def one_deployment_at_a_time(self):
        active = [one for one in self.house.rollouts.list(100, None).items if one.active]
        assert len(active) <= 1

    @invariant()
    def traffic_goes_to_apps_that_nobody_stopped(self):
        route = self.house.route()
        for version, weight in self.house.shares().items():
            app = route.targets[version].app
            failed = self.house.rollouts.routes["m"].replacement
            assert weight == 0 or app not in self.house.runtime.stopped or failed

    def teardown(self) -> None:
        """Left alone and well, everything settles: something answers with all of the traffic, and nothing else runs."""
        self.house.failing.clear()
        self.house.fuse.left = 10**9
        latest = self.house.rollouts.latest("m")
        if latest.active and latest.state == "paused":
            self.house.rollouts.resume(latest.id, "ada")
        for _ in range(60):
            self.house.settle(10)
            latest = self.house.rollouts.latest("m")
            if latest.state == "awaiting_approval":
                self.house.rollouts.approve(latest.id, "ada")
            if latest.state == "paused":
                self.house.rollouts.abort(latest.id, "ada")
        assert not latest.active, (latest.state, latest.phase, latest.reason)
        serving = self.house.serving()
        assert serving == self.house.rollouts.routes["m"].version
        running = [self.house.runtime.specs[app].version for app in self.house.runtime.apps()]
        assert running == [serving]


TestRollout = Rollout.TestCase
TestRollout.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
