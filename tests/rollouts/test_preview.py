"""Previews, missing evidence, and answers that differ: what a deployment waits for, what it says, who decides."""

import dataclasses

import pytest

from streamb.metrics.criteria import Finding, Verdict
from streamb.rollouts import verbs
from streamb.rollouts.decide import Evidence, decide
from streamb.rollouts.deployment import Deployment, DeploymentState, Phase
from streamb.rollouts.options import RolloutOptions
from streamb.rollouts.runtime import AppPhase, AppStatus
from streamb.rollouts.strategies import Strategy, plan
from streamb.traffic.table import Shadow
from tests.rollouts.fakes import House
from tests.rollouts.test_decide import LIMITS, canary, judged

BLUE_GREEN, CANARY, ROLLING = Strategy.BLUE_GREEN, Strategy.CANARY, Strategy.ROLLING
P, F, I = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE  # noqa: E741


@pytest.fixture
def house(house: House) -> House:
    house.serve("1.0.0")
    return house


def blue_green(phase: Phase = Phase.OBSERVE, **changes) -> Deployment:
    options = RolloutOptions.read({"approval_required": changes.pop("gated", False)})
    return canary(phase, **{"steps": plan(BLUE_GREEN, options), "step": 0, "share": 0, **changes})


def seen(*verdicts: Verdict, pairs: int = 300, seconds: float = 20.0, **more) -> Evidence:
    """Findings on the outputs, after so many pairs."""
    found = tuple(Finding(f"output_{n}", one, f"answers: {one}", asks=True) for n, one in enumerate(verdicts))
    return dataclasses.replace(judged(seconds=seconds), findings=found, pairs=pairs, requests=500, **more)


class TestPreview:
    def test_a_version_that_answered_enough_copies_well_goes_on(self):
        assert decide(blue_green(), seen(P, P), 20, LIMITS)[0].step == 1
        assert decide(blue_green(), seen(), 20, LIMITS)[0].step == 1, "outputs are not compared"

    @pytest.mark.parametrize("evidence", [seen(P, pairs=299), seen(P, I), seen(pairs=0)])
    def test_missing_evidence_waits_for_an_approval(self, evidence):
        waits = decide(blue_green(), evidence, 20, LIMITS)[0]
        assert waits == blue_green()
        late = dataclasses.replace(evidence, observed_s=61)
        asked, _ = decide(waits, late, 80, LIMITS)
        assert (asked.state, asked.waiting_for) == ("awaiting_approval", "evidence at 0 %")
        approved = verbs.approve(asked, "ada", "known to be idle", 81)
        assert decide(approved, late, 82, LIMITS)[0].step == 1

    @pytest.mark.parametrize(
        ("pairs", "seconds", "step"), [(0, 6, 1), (1, 4, 0), (1, 6, 0), (99, 29, 0), (100, 6, 1), (99, 31, 1)]
    )
    def test_one_that_need_not_pass_waits_a_while_for_copies_that_come_slowly(self, pairs, seconds, step):
        steps = plan(CANARY, RolloutOptions.read({"min_samples": 3_000}))
        preview = canary(Phase.OBSERVE, steps=steps, step=0, share=0)
        assert decide(preview, seen(I, pairs=pairs, seconds=seconds), 20, LIMITS)[0].step == step

    def test_it_says_what_is_unknown_and_what_would_make_it_known(self):
        idle = dataclasses.replace(seen(I, pairs=12, seconds=61), requests=0)
        asked, _ = decide(blue_green(), idle, 80, LIMITS)
        assert asked.reason == (
            "not enough evidence: 12 of the 300 needed pairs of answers: the model had no traffic; "
            "send requests, or approve to go on"
        )

    def test_evidence_that_comes_while_it_waits_is_as_good_as_an_approval(self):
        asked, _ = decide(blue_green(), seen(pairs=0, seconds=61), 80, LIMITS)
        assert decide(asked, seen(P, pairs=299), 90, LIMITS)[0] == asked
        after, _ = decide(asked, seen(P, pairs=300), 91, LIMITS)
        assert (after.state, after.step) == ("progressing", 1)

    def test_an_approval_of_the_next_step_stands_for_what_is_unknown_and_is_told_so(self):
        early = decide(blue_green(gated=True), seen(pairs=3, seconds=4), 5, LIMITS)[0]
        assert early.step == 0, "a moment is given for copies"
        gate, _ = decide(blue_green(gated=True), seen(pairs=3), 20, LIMITS)
        shut, _ = decide(gate, seen(pairs=3), 21, LIMITS)
        assert (shut.state, shut.waiting_for) == ("awaiting_approval", "100 %")
        assert shut.reason.endswith("not known so far: 3 of the 300 needed pairs of answers")
        opened, _ = decide(verbs.approve(shut, "ada", "", 22), seen(pairs=3), 23, LIMITS)
        assert opened.phase == "capacity"

    def test_what_is_known_needs_no_mention(self):
        gate, _ = decide(blue_green(gated=True), seen(P), 20, LIMITS)
        shut, _ = decide(gate, seen(P), 21, LIMITS)
        assert shut.reason == "somebody must approve before 100 % of the traffic"

    @pytest.mark.parametrize(
        "broken", [{"stable": None}, {"stable": AppStatus(AppPhase.FAILED)}, {"stable_silent": True}]
    )
    def test_a_stable_version_that_answers_nothing_does_not_hold_up_its_fix(self, broken):
        assert decide(blue_green(), seen(pairs=0, **broken), 20, LIMITS)[0].step == 1

    def test_a_failure_on_copies_ends_it_and_hurts_nobody(self, house):
        house.failing.add("2.0.0")
        made = house.create("2.0.0", BLUE_GREEN)
        ended = house.until(made.id, "rolled_back", "completed")
        assert (ended.state, "fast_abort" in ended.reason) == ("rolled_back", True)
        assert house.outcomes.failed["2.0.0"] == 0

    def test_a_canary_is_not_held_up_by_a_preview_without_copies(self, house):
        house.rate = 0
        made = house.create("2.0.0", CANARY)
        house.at(made.id, 1, ticks=20)


class TestWithoutTraffic:
    @pytest.mark.parametrize(("strategy", "options"), [(BLUE_GREEN, {}), (CANARY, {"steps": [100]}), (ROLLING, {})])
    def test_no_strategy_promotes_without_evidence(self, house, strategy, options):
        house.rate = 0
        made = house.create("2.0.0", strategy, **options)
        waiting = house.until(made.id, "awaiting_approval", "completed", ticks=800)
        assert (waiting.state, waiting.waiting_for) == ("awaiting_approval", f"evidence at {waiting.weight:g} %")
        assert waiting.weight < 100
        house.rollouts.approve(made.id, "ada", "nobody uses it yet")
        house.until(made.id, "completed")

    def test_requests_are_as_good_as_an_approval(self, house):
        house.rate = 0
        made = house.create("2.0.0", BLUE_GREEN)
        house.until(made.id, "awaiting_approval")
        house.rate = 500
        done = house.until(made.id, "completed", ticks=30)
        assert done.approvals == ()

    def test_whoever_promotes_decides(self, house):
        house.rate = 0
        made = house.create("2.0.0", BLUE_GREEN)
        house.at(made.id, 0)
        house.rollouts.promote(made.id, "ada")
        house.until(made.id, "completed", ticks=30)


class TestCopies:
    def test_stable_is_copied_below_all_traffic(self, house):
        made = house.create("2.0.0", CANARY, steps=[50])
        shadows = set()
        while house.rollouts.get(made.id).active:
            house.settle(1)
            route, found = house.route(), house.rollouts.get(made.id)
            shadows.add((found.weight, route.shadow))
        copies = Shadow("2.0.0", 10_000, 20)
        assert shadows == {(0.0, None), (0.0, copies), (50.0, copies), (100.0, None)}

    def test_whoever_says_none_gets_none(self, house):
        made = house.create("2.0.0", CANARY, steps=[50], shadow_percent=0)
        house.at(made.id, 50)
        assert house.route().shadow is None
        house.until(made.id, "completed")


class TestOutputs:
    @pytest.mark.parametrize("phase", [Phase.GATE, Phase.CAPACITY, Phase.SHIFT, Phase.OBSERVE])
    def test_other_answers_ask_and_change_no_share(self, phase):
        asked, actions = decide(canary(phase), seen(P, F), 20, LIMITS)
        assert (asked.state, asked.waiting_for, asked.share, asked.phase) == (
            "awaiting_approval", "outputs", 1000, phase,
        )  # fmt: skip
        assert "answers: fail" in asked.reason
        assert actions == ()
        assert decide(asked, seen(P, F), 30, LIMITS)[0] == asked

    def test_an_approval_stands_for_all_later_steps(self):
        asked, _ = decide(canary(), seen(F), 20, LIMITS)
        on, _ = decide(verbs.approve(asked, "ada", "it is meant to", 21), seen(F), 22, LIMITS)
        assert (on.state, on.phase, on.waiting_for) == ("progressing", "observe", "")
        enough = dataclasses.replace(seen(F, I), findings=(*seen(F, I).findings, Finding("c", P, "")))
        after, _ = decide(on, enough, 40, LIMITS)
        assert (after.step, after.waiting_for) == (2, "")

    def test_without_an_approval_it_is_aborted(self):
        asked, _ = decide(canary(), seen(F), 20, LIMITS)
        assert decide(asked, seen(F), 20 + 86_401, LIMITS)[0].ending == "aborted"

    @pytest.mark.parametrize("rollback", [True, False])
    def test_a_version_that_fails_meanwhile_leaves(self, rollback):
        asked, _ = decide(canary(rollback_on_failure=True), seen(F), 20, LIMITS)
        assert decide(asked, judged(F), 21, LIMITS)[0].phase == "revert"

    def test_too_few_pairs_hold_a_step_like_any_missing_evidence(self):
        few = dataclasses.replace(seen(I), findings=(*seen(I).findings, Finding("c", P, "")), observed_s=61)
        asked, _ = decide(canary(), few, 99, LIMITS)
        assert (asked.state, asked.waiting_for) == ("awaiting_approval", "evidence at 10 %")

    def test_whoever_promotes_decides(self):
        promoted = verbs.promote(canary(), "author", "", 20)
        assert decide(promoted, seen(F), 21, LIMITS)[0].phase == "capacity"
        last = canary(Phase.SHIFT, step=4, share=10_000)
        asked, _ = decide(last, seen(F), 20, LIMITS)
        assert asked.waiting_for == "outputs"
        on = verbs.promote(asked, "author", "", 21)
        assert (on.state, on.waiting_for) == ("progressing", "")
        assert decide(on, seen(F), 22, LIMITS)[0].phase == "observe"

    def test_one_that_is_paused_stays_paused(self):
        paused = canary(state=DeploymentState.PAUSED)
        assert decide(paused, seen(F), 20, LIMITS) == (paused, ())
