"""The scaling decision: each signal, the bounds, the waits, and that it never swings."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streamb.errors import InvalidInput
from streamb.serving.scaling import ScalingPolicy, ScalingState, Signals, aggregate, desired_instances

POLICY = ScalingPolicy(min_instances=1, max_instances=10, target_cpu=70, scale_up_threshold=80, scale_down_threshold=30)


def decide(signals: Signals, state: ScalingState | int, policy: ScalingPolicy = POLICY, now: float = 1_000.0):
    return desired_instances(signals, policy, ScalingState(state) if isinstance(state, int) else state, now)


def settled(signals: Signals, target: int, policy: ScalingPolicy = POLICY, seconds: int = 400) -> int:
    """What comes of signals that stay as they are (as far as the first step)."""
    state = ScalingState(target)
    for second in range(seconds):
        found, state, _ = desired_instances(signals, policy, state, float(second))
        if found != target:
            return found
    return target


class TestUpwards:
    @pytest.mark.parametrize(
        ("signals", "expected"),
        [
            (Signals(2, cpu=81), 3),  # ceil(2 * 81 / 70)
            (Signals(2, cpu=140), 4),
            (Signals(2, busy=0.95), 3),
            (Signals(2, queue=12), 6),
            (Signals(2, cpu=81, queue=12), 6),  # the largest counts
            (Signals(2, cpu=80), 2),  # at the threshold, not above it
            (Signals(2, cpu=75, busy=0.5, queue=1), 2),
        ],
    )
    def test_by_the_formula(self, signals, expected):
        assert decide(signals, 2)[0] == expected

    def test_what_is_being_started_counts(self):
        assert decide(Signals(1, cpu=200), 3)[0] == 3
        assert "on their way" in decide(Signals(1, cpu=200), 3)[2]

    def test_one_step_is_bounded(self):
        assert decide(Signals(1, queue=1e9), 1)[0] == 5
        assert decide(Signals(1, queue=1e9), 1, replace(POLICY, step_up=1))[0] == 2
        assert decide(Signals(8, queue=1e308), 8)[0] == 10
        assert "may not be more" in decide(Signals(10, cpu=99), 10)[2]

    def test_the_next_step_waits(self):
        target, state, _ = decide(Signals(1, cpu=100), 1, now=0)
        assert target == 2
        kept, state, reason = decide(Signals(2, cpu=100), state, now=4.9)
        assert (kept, reason) == (2, "CPU at 100 %, target 70 %; 3 in 0 s")
        assert decide(Signals(2, cpu=100), state, now=5.0)[0] == 3

    def test_a_clock_that_jumps_back_delays_by_one_cooldown_only(self):
        state = ScalingState(2, up_at=1e9)
        _, state, _ = decide(Signals(2, cpu=100), state, now=10.0)
        assert decide(Signals(2, cpu=100), state, now=15.0)[0] == 3

    def test_the_tolerance_holds_where_the_thresholds_are_narrow(self):
        narrow = replace(POLICY, scale_up_threshold=70, scale_down_threshold=69.9)
        assert decide(Signals(4, cpu=76), 4, narrow)[0] == 4
        assert decide(Signals(4, cpu=78), 4, narrow)[0] == 5
        assert settled(Signals(4, cpu=64), 4, narrow) == 4


class TestSymptoms:
    POLICY = replace(POLICY, target_latency_ms=100.0)

    @pytest.mark.parametrize("load", [{"cpu": 71}, {"busy": 0.71}, {"queue": 4}])
    @pytest.mark.parametrize("symptom", [{"latency_ms": 300}, {"memory": 99}])
    def test_they_add_to_a_load_that_is_at_its_target(self, load, symptom):
        assert decide(Signals(2, **load), 2, self.POLICY)[0] == 2
        assert decide(Signals(2, **load, **symptom), 2, self.POLICY)[0] > 2

    @pytest.mark.parametrize("load", [{}, {"cpu": 69}, {"busy": 0.3, "queue": 0}])
    def test_a_slow_or_big_model_alone_starts_nothing(self, load):
        assert decide(Signals(2, latency_ms=9_999, memory=99, **load), 2, self.POLICY)[0] == 2

    def test_and_does_not_keep_idle_instances(self):
        assert settled(Signals(2, cpu=5, latency_ms=9_999, memory=99), 2, self.POLICY) == 1


class TestDownwards:
    def test_only_after_the_load_was_low_without_a_break(self):
        state, low, high = ScalingState(3), Signals(3, cpu=10), Signals(3, cpu=50)
        for now in range(60):
            target, state, _ = decide(low, state, now=now)
            assert target == 3
        _, state, _ = decide(high, state, now=60)
        for now in range(61, 121):
            target, state, _ = decide(low, state, now=now)
            assert target == 3
        assert decide(low, state, now=121)[0] == 2

    def test_not_below_what_was_needed_meanwhile(self):
        policy = replace(POLICY, step_down=8)
        _, state, _ = decide(Signals(8, cpu=29), 8, policy, now=0)  # four would do
        _, state, _ = decide(Signals(8, cpu=2), state, policy, now=30)
        assert decide(Signals(8, cpu=2), state, policy, now=60)[0] == 4

    def test_every_signal_of_load_must_be_low(self):
        assert settled(Signals(2, cpu=1, busy=0.5), 2) == 2
        assert settled(Signals(2, cpu=1, busy=0.01, queue=3), 2) == 2
        assert settled(Signals(2, cpu=1, busy=0.01, queue=0), 2) == 1

    def test_not_while_somebody_does_not_report(self):
        assert settled(Signals(2, cpu=1), 3) == 3

    def test_not_while_a_deployment_is_judged(self):
        assert settled(Signals(4, cpu=0, busy=0, queue=0, analysing=True), 4) == 4
        assert settled(Signals(12, cpu=0, analysing=True), 12) == 12
        assert decide(Signals(4, cpu=99, analysing=True), 4)[0] > 4

    def test_at_once_when_a_deployment_lets_go_of_them_as_far_as_the_load_allows(self):
        half = Signals(8, cpu=35, analysing=True, released=4)
        assert decide(half, 8)[0] == 4
        assert "as traffic moved away" in decide(half, 8)[2]
        assert decide(replace(half, cpu=50), 8)[0] == 6, "ceil(8 * 50 / 70) have to do"
        assert decide(replace(half, cpu=68), 8)[0] == 8, "within the tolerance"
        assert decide(replace(half, cpu=99), 8)[0] > 8
        assert decide(replace(half, instances=5), 8)[0] == 8, "not all have told"
        assert decide(replace(half, cpu=1), 8, replace(POLICY, min_instances=6))[0] == 6
        assert decide(replace(half, released=9), 8)[0] == 8

    def test_the_wait_begins_again_after_an_analysis(self):
        state = ScalingState(4)
        for now in range(100):
            _, state, _ = decide(Signals(4, cpu=0, analysing=now >= 30), state, now=now)
        assert state.low_since is None


class TestZero:
    POLICY = replace(POLICY, min_instances=0, idle_s=100.0)

    def test_the_last_one_goes_after_a_longer_rest(self):
        state, idle = ScalingState(2), Signals(2, cpu=0.4, busy=0, queue=0)
        seen = []
        for now in range(300):
            target, state, _ = decide(replace(idle, instances=state.target), state, self.POLICY, now=now)
            seen.append(target)
        assert [seen.index(n) for n in (2, 1, 0)] == [0, 60, 161]

    @pytest.mark.parametrize("work", [{"busy": 0.001}, {"queue": 0.2}])
    def test_any_work_keeps_it(self, work):
        assert settled(Signals(1, **{"cpu": 0, "busy": 0, "queue": 0, **work}), 1, self.POLICY) == 1

    def test_not_where_nothing_tells_of_work(self):
        assert settled(Signals(1, cpu=0), 1, self.POLICY) == 1

    def test_one_request_brings_it_back_at_once(self):
        assert decide(Signals(0, queue=1), ScalingState(0, up_at=999.9), self.POLICY)[0] == 1
        assert decide(Signals(0, queue=0), 0, self.POLICY)[0] == 0
        assert decide(Signals(0, queue=9), 0, self.POLICY)[0] == 3


class TestBounds:
    def test_other_limits_count_at_once(self):
        assert decide(Signals(1, cpu=50), 1, replace(POLICY, min_instances=3))[0] == 3
        assert decide(Signals(9, cpu=50), 9, replace(POLICY, max_instances=3))[0] == 3

    def test_nothing_known_changes_nothing(self):
        unknown = Signals(3, cpu=math.nan, busy=-1.0, queue=math.inf, latency_ms=5, memory=5)
        assert decide(unknown, 3)[0] == 3
        assert "no usable signal" in decide(unknown, 3)[2]
        assert decide(Signals(3, cpu=math.nan, busy=0.9), 3)[0] == 4

    @pytest.mark.parametrize(
        ("values", "named"),
        [
            ({"min_instances": 5, "max_instances": 2}, "min_instances"),
            ({"min_instances": -1}, "min_instances"),
            ({"max_instances": 0}, "max_instances"),
            ({"max_instances": 2.5}, "max_instances"),
            ({"target_cpu": 90}, "scale_up_threshold"),
            ({"scale_down_threshold": 70}, "scale_down_threshold"),
            ({"target_cpu": 0.7, "scale_up_threshold": 0.8, "scale_down_threshold": 0.3}, "70, not 0.7"),
            ({"target_cpu": math.nan}, "target_cpu"),
            ({"target_queue": 0}, "target_queue"),
            ({"target_latency_ms": 0}, "target_latency_ms"),
            ({"cooldown_down_s": -1}, "cooldown_down_s"),
            ({"tolerance": 1}, "tolerance"),
            ({"step_up": True}, "step_up"),
        ],
    )
    def test_impossible_policies_are_refused(self, values, named):
        with pytest.raises(InvalidInput, match=named):
            ScalingPolicy(**values)


class TestAggregate:
    def test_means_of_load_and_the_worst_of_the_others(self):
        told = {
            "cpu": {"a": 20.0, "b": 40.0, "gone": 100.0},
            "busy": {"a": 0.5, "b": math.nan},
            "latency_ms": {"a": 10.0, "b": 30.0},
            "memory": {"a": 5.0, "b": 4.0},
            "something_else": {"a": 1.0},
        }
        found = aggregate(told, ["a", "b", "silent"], analysing=True)
        assert found == Signals(2, cpu=30.0, memory=5.0, busy=0.5, latency_ms=30.0, analysing=True)

    def test_of_nothing(self):
        assert aggregate({}, ["a"], analysing=False) == Signals(0)


# --- properties ------------------------------------------------------------------------------------------------------


@st.composite
def policies(draw) -> ScalingPolicy:
    low = draw(st.integers(0, 5))
    target = draw(st.floats(5, 90))
    return ScalingPolicy(
        min_instances=low,
        max_instances=draw(st.integers(max(low, 1), 20)),
        target_cpu=target,
        scale_up_threshold=draw(st.floats(target, 100)),
        scale_down_threshold=target * draw(st.floats(0.01, 0.99)),
        target_queue=draw(st.floats(0.5, 50)),
        target_latency_ms=draw(st.none() | st.floats(1, 1_000)),
        tolerance=draw(st.floats(0, 0.5)),
        cooldown_up_s=draw(st.floats(0, 30)),
        cooldown_down_s=draw(st.floats(0, 100)),
        idle_s=draw(st.floats(0, 200)),
        step_up=draw(st.integers(1, 20)),
        step_down=draw(st.integers(1, 20)),
    )


ANY_NUMBER = st.none() | st.floats(allow_nan=True, allow_infinity=True)
SIGNALS = st.builds(
    Signals,
    st.integers(0, 25),
    cpu=ANY_NUMBER | st.floats(0, 400),
    memory=ANY_NUMBER | st.floats(0, 100),
    queue=ANY_NUMBER | st.floats(0, 100),
    latency_ms=ANY_NUMBER | st.floats(0, 10_000),
    busy=ANY_NUMBER | st.floats(0, 1),
    analysing=st.booleans(),
)
STATES = st.builds(
    ScalingState,
    st.integers(0, 25),
    up_at=st.none() | st.floats(-1e6, 1e6),
    low_since=st.none() | st.floats(-1e6, 1e6),
    low_peak=st.integers(0, 25),
)
NOWS = st.floats(-1e6, 1e6)


class TestProperties:
    @given(SIGNALS, policies(), STATES, NOWS)
    def test_bounds_steps_and_never_fewer_while_analysing(self, signals, policy, state, now):
        target, after, reason = desired_instances(signals, policy, state, now)
        assert target == after.target
        assert reason
        assert target >= policy.min_instances
        assert target <= policy.max_instances or (signals.analysing and target == state.target)
        if policy.min_instances <= state.target <= policy.max_instances:
            assert -policy.step_down <= target - state.target <= policy.step_up
        if signals.analysing:
            assert target >= state.target

    @given(SIGNALS, policies(), STATES, NOWS, st.integers(0, 25))
    def test_never_fewer_than_a_deployment_still_needs(self, signals, policy, state, now, released):
        signals = replace(signals, analysing=True, released=released)
        target, _, _ = desired_instances(signals, policy, state, now)
        assert target >= min(state.target, max(released, policy.min_instances))

    @given(
        SIGNALS, policies(), STATES, NOWS, st.sampled_from(["cpu", "queue", "latency_ms", "busy", "memory"]), st.data()
    )
    def test_more_load_never_means_fewer(self, signals, policy, state, now, name, data):
        value = getattr(signals, name)
        assume(value is not None and math.isfinite(value) and value >= 0)
        signals = replace(signals, released=data.draw(st.none() | st.integers(0, 25)))
        more = replace(signals, **{name: data.draw(st.floats(value, value * 4 + 10, allow_infinity=False))})
        assert desired_instances(more, policy, state, now)[0] >= desired_instances(signals, policy, state, now)[0]

    @given(policies(), st.integers(1, 20), st.floats(0, 1), st.floats(0, 1e4))
    def test_within_the_band_nothing_moves(self, policy, count, place, now):
        assume(policy.min_instances <= count <= policy.max_instances)
        pressure = policy.down_pressure + place * (policy.up_pressure - policy.down_pressure)
        state = ScalingState(count)
        for second in range(5):
            cpu = min(max(pressure, policy.down_pressure * (1 + 1e-9)), policy.up_pressure * (1 - 1e-9))
            signals = Signals(count, cpu=cpu * policy.target_cpu)
            target, state, _ = desired_instances(signals, policy, state, now + 500 * second)
            assert target == count

    @given(policies(), st.integers(0, 20), st.floats(1e-6, 30), st.booleans())  # less, shared by some, may round to 0
    def test_a_load_that_stays_never_makes_it_swing(self, policy, start, load, saturates):
        """`load` in instances that it would keep wholly busy; a busy share cannot pass 1, CPU of threads can."""
        state, path = ScalingState(min(max(start, policy.min_instances), policy.max_instances)), []
        for second in range(0, 40_000, 101):
            each = load / max(state.target, 1)
            signals = Signals(
                state.target,
                busy=min(each, 1.0) if saturates else float(each > 0) * 1e-9,
                cpu=100 * each,
                queue=load if state.target == 0 else 0.0,
            )
            target, state, _ = desired_instances(signals, policy, state, float(second))
            path.append(target)
        moves = [b - a for a, b in pairwise(path) if b != a]
        assert not (any(m > 0 for m in moves) and any(m < 0 for m in moves)), path
        assert path[-1] == path[-50]

    @given(policies(), st.lists(st.tuples(st.floats(0, 20), SIGNALS), max_size=60))
    def test_steps_up_keep_their_distance_and_steps_down_follow_a_quiet_time(self, policy, story):
        now, state = 0.0, ScalingState(policy.min_instances)
        last_up, last_change = -math.inf, 0.0
        for wait, signals in story:
            now += wait
            before = state.target
            target, state, _ = desired_instances(signals, policy, state, now)
            if target > before:
                assert before == 0 or now - last_up >= policy.cooldown_up_s - 1e-6
                last_up = last_change = now
            elif target < before:
                least = policy.idle_s if target == 0 else policy.cooldown_down_s
                assert now - last_change >= least - 1e-6
                last_change = now
