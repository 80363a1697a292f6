import dataclasses

from streamb.clock import ManualClock
from streamb.metrics import Snapshot
from streamb.metrics.criteria import Verdict, overall
from streamb.metrics.windows import OutcomeWindows
from streamb.rollouts.deployment import Deployment, DeploymentState, Phase
from streamb.rollouts.observation import Observation, Stable
from streamb.rollouts.options import RolloutOptions
from streamb.rollouts.strategies import Strategy, plan
from tests.rollouts.fakes import FakeOutcomes

CLOCK_START = 1000.0
STABLE = Stable("1.0.0")


def canary(**changes) -> Deployment:
    base = Deployment(
        id="dep-1", model_id="m", target_version="2.0.0", app="m--2.0.0--x", strategy=Strategy.CANARY,
        state=DeploymentState.PROGRESSING, created_by="me", created_at=0, updated_at=0, step_started_at=0,
        phase=Phase.OBSERVE, step=1, share=100, observed_since=CLOCK_START, shadow=10_000,
        steps=plan(Strategy.CANARY, RolloutOptions(min_samples=100)),
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


class Watched:
    def __init__(self) -> None:
        self.clock, self.outcomes = ManualClock(CLOCK_START), FakeOutcomes()
        self.restart()

    def restart(self) -> None:
        self.observation = Observation(self.outcomes, self.clock)

    def after(self, seconds: float, deployment: Deployment | None = None, **counts: int):
        self.outcomes.add("2.0.0", **counts)
        self.outcomes.copies["2.0.0"]["compared"] += counts.get("ok", 0)
        self.outcomes.add("1.0.0", ok=9 * counts.get("ok", 0))
        self.clock.advance(seconds)
        return self.observation.look(deployment or canary(), STABLE, seconds)

    def samples(self, found) -> int:
        return found.findings[0].samples


def test_only_what_came_since_the_share_is_in_force_counts():
    watched = Watched()
    assert watched.samples(watched.after(0, ok=10_000)) == 0
    found = watched.after(5, ok=500)
    assert (watched.samples(found), found.seconds, overall(found.findings)) == (500, 5, Verdict.PASS)
    next_step = canary(step=2, share=2500, observed_since=CLOCK_START + 5)
    assert watched.samples(watched.after(1, next_step, ok=50)) == 0
    assert watched.samples(watched.after(1, next_step, ok=50)) == 50


def test_a_restart_begins_anew():
    watched = Watched()
    watched.after(0)
    watched.after(10, ok=5000)
    watched.restart()
    found = watched.after(0)
    assert (watched.samples(found), found.seconds, overall(found.findings)) == (0, 0, Verdict.INCONCLUSIVE)


def test_looking_often_judges_once():
    watched = Watched()
    watched.after(0)
    first = watched.after(1, ok=10)
    assert watched.after(0.1, ok=1000).findings is first.findings
    assert watched.after(0.1).findings is not first.findings


def test_what_is_not_shown_or_has_no_counts_is_not_judged():
    watched = Watched()
    assert watched.after(5, canary(phase=Phase.REVERT), ok=500).findings == ()
    assert watched.after(5, canary(strategy=Strategy.IMMEDIATE), ok=500).findings == ()
    assert Observation(None, watched.clock).look(canary(), STABLE, 1).findings == ()


def test_at_all_traffic_stable_is_no_measure_but_its_usual_errors_are():
    watched = Watched()
    last = canary(step=5, share=10_000)
    watched.after(0, last, ok=1000)
    found = watched.after(5, last, ok=500)
    assert not [one for one in found.findings if "stable" in one.criterion]


class Refusing(FakeOutcomes):
    """Windows of a version that gateways do not call: none of it was answered."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = 0
        self.looked: list[int] = []

    def recent(self, model_id: str, version: str, now: float, seconds: int) -> Snapshot:
        self.looked.append(seconds)
        return Snapshot(model_id, version, counts={"refused": 50, "ok": self.answered})


def test_while_it_is_not_called_longer_windows_of_the_step_are_looked_at():
    clock, outcomes = ManualClock(CLOCK_START), Refusing()
    observation = Observation(outcomes, clock)
    observation.look(canary(), STABLE, 0)
    clock.advance(45)
    outcomes.looked.clear()
    assert observation.look(canary(), STABLE, 45).refused
    assert sorted(outcomes.looked) == [3, 10, 20, 40]
    outcomes.answered = 1
    clock.advance(1)
    assert not observation.look(canary(), STABLE, 1).refused, "one gateway still has answers of it"


def test_the_windows_of_the_platform_fit():
    clock = ManualClock(CLOCK_START)
    observation = Observation(OutcomeWindows(), clock)
    observation.look(canary(), STABLE, 1)
    clock.advance(1)
    assert overall(observation.look(canary(), STABLE, 1).findings) is Verdict.INCONCLUSIVE
