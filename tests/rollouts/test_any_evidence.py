"""Whatever the evidence, in whatever order: who may get more traffic, and where it ends."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.errors import StreambError
from streamb.metrics.criteria import Finding, Verdict
from streamb.rollouts import verbs
from streamb.rollouts.decide import Evidence, RouteTo, decide
from streamb.rollouts.deployment import Deployment
from streamb.rollouts.options import RolloutOptions
from streamb.rollouts.runtime import AppPhase, AppStatus, Fault
from streamb.rollouts.strategies import Strategy, plan
from tests.rollouts.test_decide import LIMITS, deployment

P, F, I = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE  # noqa: E741
WELL = AppStatus(AppPhase.RUNNING, 1)

apps = st.sampled_from([WELL] * 6 + [None]) | st.builds(
    AppStatus, st.sampled_from(AppPhase), st.integers(0, 1), st.just("why"), st.sampled_from(Fault)
)
findings = st.lists(
    st.builds(Finding, st.just("c"), st.sampled_from([*[P] * 6, I, I, F]), st.just("why"), asks=st.booleans()),
    max_size=3,
).map(tuple)
seconds = st.sampled_from([0.1, 1.0, 6.0, 20.0, 70.0])
pairs = st.sampled_from([0, 99, 100])
well = st.builds(
    Evidence,
    st.just(WELL),
    st.just(True),
    st.just(WELL),
    st.just(WELL),
    findings.map(lambda found: found[:1]),
    st.sampled_from([1.0, 20.0, 20.0, 20.0, 70.0]),
    pairs=pairs,
    waited_s=st.just(1.0),
)
anything = st.builds(
    Evidence, apps, st.booleans(), apps, apps, findings, seconds, st.booleans(), pairs,
    stable_silent=st.booleans(), waited_s=seconds,
)  # fmt: skip
evidence = st.one_of(well, well, well, well, anything)
orders = st.sampled_from([None] * 20 + ["approve", "approve", "promote", "pause", "resume", "abort"])
options = st.fixed_dictionaries(
    {"step_max_seconds": st.just(60)},
    optional={
        "approval_required": st.just(True),
        "rollback_on_failure": st.booleans(),
        "hold_seconds": st.sampled_from([0, 5]),
    },
)


def begin(strategy: Strategy, given_options: dict) -> Deployment:
    read = RolloutOptions.read(given_options)
    return deployment(
        strategy=strategy, steps=plan(strategy, read, replicas=2), rollback_on_failure=read.rollback_on_failure,
        previous_version="0.9.0", stable_app="m--0.9.0--x", hold_s=read.hold_seconds or 0.0,
    )  # fmt: skip


def ordered(current: Deployment, order: str | None, now: float) -> Deployment:
    if order is None:
        return current
    try:
        return getattr(verbs, order)(current, "ada", "because", now)
    except StreambError:
        return current


def may_go_on(current: Deployment, seen: Evidence) -> bool:
    """Whether the step may be left for the next one: by what was seen, or because somebody decides or has decided."""
    step = current.current
    if not step.analyse or current.approved(current.waiting_for):
        return True
    counting = [one for one in seen.findings if not (one.asks and current.outputs_accepted)]
    if not step.preview:
        return {one.verdict for one in counting} == {P}
    silent = seen.stable_silent or seen.stable is None or seen.stable.phase is not AppPhase.RUNNING
    compared = seen.pairs >= step.min_samples and {one.verdict for one in counting if one.asks} <= {P}
    return silent or compared or current.steps[current.step + 1].gate


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([Strategy.CANARY, Strategy.BLUE_GREEN, Strategy.ROLLING]),
    options,
    st.lists(st.tuples(evidence, seconds, orders), min_size=8, max_size=24),
)
def test_more_traffic_is_earned_or_decided_and_one_version_has_it_all_in_the_end(strategy, given_options, history):
    current, now, routed = begin(strategy, given_options), 1000.0, "0.9.0"
    earned = 0
    for seen, passed, order in history:
        now += passed
        told = ordered(current, order, now)
        if told.promoted:
            earned = 10_000
        after, actions = decide(told, seen, now, LIMITS)
        if after.step > told.step:
            assert may_go_on(told, seen)
            earned = max(earned, after.current.share)
            assert not any(one.verdict is F for one in seen.findings if not one.asks) or not told.rollback_on_failure
        if after.share > told.share:
            assert after.share <= earned
            assert seen.app is not None
            assert seen.app.phase is AppPhase.RUNNING
        if any(one.asks and one.verdict is F for one in seen.findings) and not told.outputs_accepted:
            assert after.share <= told.share, "other answers change no share before somebody has looked"
        routed = next((one.version for one in actions if isinstance(one, RouteTo)), routed)
        current = after
    now, current, routed = left_alone(current, now, routed)
    assert not current.active or current.state == "paused"
    if current.state == "paused":
        assert routed == "0.9.0"
    else:
        assert (current.share, routed) in {(10_000, "1.0.0"), (0, "0.9.0")}
        assert (current.state == "completed") == (routed == "1.0.0")


def left_alone(current: Deployment, now: float, routed: str) -> tuple[float, Deployment, str]:
    """Time passes, all is well, and nobody asks: what nobody approves is aborted."""
    well = Evidence(WELL, acknowledged=True, stable=WELL, back=WELL, observed_s=100.0, waited_s=100.0, warm="w")
    for _ in range(40):
        now += 10_000
        current, actions = decide(current, dataclasses.replace(well, observed_s=100.0), now, LIMITS)
        routed = next((one.version for one in actions if isinstance(one, RouteTo)), routed)
    return now, current, routed
