"""The scaling decision: each signal, the bounds, the waits, and that it never swings."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from itertools import pairwise
from statistics import fmean

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streamb.errors import InvalidInput
from streamb.serving.scaling import QueueTrend, ScalingState, Signals, aggregate, desired_instances
from streamb.serving.scaling_policy import ScalingPolicy

POLICY = ScalingPolicy(min_instances=1, max_instances=10, target_cpu=70, scale_up_threshold=80, scale_down_threshold=30)


def decide(signals: Signals, state: ScalingState | int, policy: ScalingPolicy = POLICY, now: float = 1_000.0):
    """The decision; with a number of instances as the state, the one after the load has lasted long enough."""
    high = now - policy.cooldown_up_s
    return desired_instances(signals, policy, ScalingState(state, high) if isinstance(state, int) else state, now)


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
            (Signals(1, busy=1.0, queue=60, rate=30), 5),  # (1 + 60 / 30) / 0.7: who comes waits for two seconds
            (Signals(1, busy=1.0, queue=60, rate=3_000), 2),  # worked off in 20 ms: only the busy time counts
            (Signals(1, busy=1.0, queue=60, rate=1), 6),  # (1 + 60 / 20) / 0.7: by the number, where each takes long
            (Signals(1, busy=1.0, queue=60), 6),
            (Signals(1, busy=1.0, queue=90, growth=66, rate=30), 5),  # (1 + 60 / 30) / 0.7: three times what is done
            (Signals(2, busy=1.0, queue=90, growth=-9, rate=30), 2),  # 0.7 of it come, and all is gone in ten seconds
            (Signals(2, busy=1.0, queue=90, growth=-1, rate=30), 10),  # it stands
            (Signals(2, cpu=81, busy=1.0, queue=60, rate=30), 9),  # the largest counts
            (Signals(2, cpu=80), 2),  # at the threshold, not above it
            (Signals(2, cpu=75, busy=0.5, queue=1), 2),
        ],
    )
    def test_by_the_formula(self, signals, expected):
        assert decide(signals, signals.instances)[0] == expected

    def test_what_is_being_started_counts(self):
        assert decide(Signals(1, cpu=200), 3)[0] == 3
        assert "on their way" in decide(Signals(1, cpu=200), 3)[2]

    def test_what_waits_for_them_starts_no_others(self):
        waits = Signals(2, busy=1.0, queue=500, rate=30)
        assert decide(waits, 2)[0] == 10
        assert decide(waits, 3)[0] == 3
        assert decide(replace(waits, growth=60.0), 3)[0] == 9, "but if ever more come"
        assert decide(Signals(0, queue=500), 1)[0] == 1, "the only one is starting"

    def test_not_beyond_the_limit(self):
        assert decide(Signals(1, queue=1e308), 1)[0] == 10
        assert "may not be more" in decide(Signals(10, cpu=99), 10)[2]

    def test_only_after_the_load_was_high_without_a_break(self):
        state, high = ScalingState(1), Signals(1, cpu=140)
        for now in (0, 3, 4.9):
            target, state, reason = decide(high, state, now=now)
            assert target == 1
        assert reason == "CPU at 140 %, target 70 %; 2 in 0 s"
        _, state, _ = decide(Signals(1, cpu=75), state, now=5)
        assert state.high_since is None
        for now in (6, 10.9):
            target, state, _ = decide(high, state, now=now)
            assert target == 1
        target, state, _ = decide(high, state, now=11)
        assert target == 2
        assert decide(replace(high, instances=2), state, now=11.1)[0] == 2, "and again before the next step"

    def test_a_clock_that_jumps_back_delays_by_one_cooldown_only(self):
        state = ScalingState(2, high_since=1e9)
        _, state, _ = decide(Signals(2, cpu=100), state, now=10.0)
        assert decide(Signals(2, cpu=100), state, now=15.0)[0] == 3

    def test_the_tolerance_holds_where_the_thresholds_are_narrow(self):
        narrow = replace(POLICY, scale_up_threshold=70, scale_down_threshold=69.9)
        assert decide(Signals(4, cpu=76), 4, narrow)[0] == 4
        assert decide(Signals(4, cpu=78), 4, narrow)[0] == 5
        assert settled(Signals(4, cpu=64), 4, narrow) == 4


class TestSymptoms:
    POLICY = replace(POLICY, target_latency_ms=100.0)

    @pytest.mark.parametrize("load", [{"cpu": 71}, {"busy": 0.71}, {"queue": 14.1}])
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
        assert decide(low, state, now=121)[0] == 1

    def test_not_below_what_was_needed_meanwhile(self):
        _, state, _ = decide(Signals(8, cpu=29), 8, now=0)  # four would do
        _, state, _ = decide(Signals(8, cpu=2), state, now=30)
        assert decide(Signals(8, cpu=2), state, now=60)[0] == 4

    def test_every_signal_of_load_must_be_low(self):
        assert settled(Signals(2, cpu=1, busy=0.5), 2) == 2
        assert settled(Signals(2, cpu=1, busy=0.01, queue=7), 2) == 2
        assert settled(Signals(2, cpu=1, busy=0.01, queue=0), 2) == 1

    def test_not_while_somebody_does_not_report(self):
        assert settled(Signals(2, cpu=1), 3) == 3

    def test_not_while_it_is_unknown_what_waits(self):
        assert settled(Signals(3, cpu=1, blind=True), 3) == 3
        assert decide(Signals(3, cpu=1, released=1, blind=True), 3)[0] == 3
        assert decide(Signals(3, busy=0.95, blind=True), 3)[0] == 5

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
        state, idle = ScalingState(5), Signals(5, cpu=0.4, busy=0, queue=0)
        seen = []
        for now in range(300):
            target, state, _ = decide(replace(idle, instances=state.target), state, self.POLICY, now=now)
            seen.append(target)
        assert [seen.index(n) for n in (5, 1, 0)] == [0, 60, 161]

    @pytest.mark.parametrize("work", [{"busy": 0.001}, {"queue": 0.2}])
    def test_any_work_keeps_it(self, work):
        assert settled(Signals(1, **{"cpu": 0, "busy": 0, "queue": 0, **work}), 1, self.POLICY) == 1

    def test_not_where_nothing_tells_of_work(self):
        assert settled(Signals(1, cpu=0), 1, self.POLICY) == 1

    def test_one_request_brings_it_back_at_once(self):
        assert decide(Signals(0, queue=1), ScalingState(0), self.POLICY)[0] == 1
        assert decide(Signals(0, queue=0), ScalingState(0), self.POLICY)[0] == 0
        assert decide(Signals(0, queue=40), ScalingState(0), self.POLICY)[0] == 3


class TestBounds:
    def test_other_limits_count_at_once(self):
        assert decide(Signals(1, cpu=50), 1, replace(POLICY, min_instances=3))[0] == 3
        assert decide(Signals(9, cpu=50), 9, replace(POLICY, max_instances=3))[0] == 3

    def test_nothing_known_changes_nothing(self):
        unknown = Signals(3, cpu=math.nan, busy=-1.0, queue=math.inf, growth=9, rate=9, latency_ms=5, memory=5)
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
            ({"target_wait_s": 0}, "target_wait_s"),
            ({"target_latency_ms": 0}, "target_latency_ms"),
            ({"cooldown_down_s": -1}, "cooldown_down_s"),
            ({"tolerance": 1}, "tolerance"),
            ({"max_instances": True}, "max_instances"),
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
            "rate": {"a": 10.0, "b": 30.0},
            "latency_ms": {"a": 10.0, "b": 30.0},
            "memory": {"a": 5.0, "b": 4.0},
            "something_else": {"a": 1.0},
        }
        found = aggregate(told, ["a", "b", "silent"], analysing=True)
        assert found == Signals(2, cpu=30.0, memory=5.0, busy=0.5, rate=20.0, latency_ms=30.0, analysing=True)

    def test_of_nothing(self):
        assert aggregate({}, ["a"], analysing=False) == Signals(0)


class TestQueueTrend:
    def test_the_mean_and_the_growth_of_the_last_seconds_without_what_is_being_answered(self):
        trend = QueueTrend()
        for second, requests in enumerate([900, 900, 10, 20, 30, 40]):
            trend.add(float(second), requests)
        assert trend.seen_by(Signals(2, busy=0.5)) == Signals(2, busy=0.5, queue=12.0, growth=5.0)

    def test_one_look(self):
        trend = QueueTrend()
        trend.add(7.0, 3)
        trend.add(7.0, 5)
        assert trend.seen_by(Signals(0)) == Signals(0, queue=4.0, growth=0.0)
        assert trend.seen_by(Signals(8, busy=1.0)).queue == 0

    @pytest.mark.parametrize("at", [8.0, -1e9])
    def test_what_is_unknown_now_is_no_longer_known(self, at):
        trend = QueueTrend()
        trend.add(7.0, 3)
        trend.add(at, None)
        assert trend.seen_by(Signals(1)) == Signals(1)

    def test_a_clock_that_jumps_back_begins_anew(self):
        trend = QueueTrend()
        trend.add(7.0, 3)
        trend.add(5.0, 8)
        assert trend.seen_by(Signals(1)) == Signals(1, queue=8.0, growth=0.0)


class Line:
    """A model behind one queue: `service_s` for each request, and a request at a time on each instance."""

    def __init__(self, service_s: float, *, starts_s: int = 8, policy: ScalingPolicy = POLICY) -> None:
        self.policy, self.service_s, self.starts_s = policy, service_s, starts_s
        self.state, self.trend, self.path = ScalingState(policy.min_instances), QueueTrend(), []
        self.ready_at = [0] * policy.min_instances
        self.told: deque[tuple[float, float]] = deque(maxlen=6)  # as Serve takes the mean over six seconds
        self.waiting, self.now = 0.0, 0

    def second(self, *, arriving: float = 0.0, clients: float | None = None) -> None:
        """One second, with so many requests, or with clients that ask again at once."""
        count = sum(at <= self.now for at in self.ready_at)
        could = count / self.service_s
        if clients is not None:
            arriving, self.waiting = could, max(clients - count, 0.0)
        answered = min(self.waiting + arriving, could)
        self.waiting += arriving - answered
        busy = answered / could if could else 0.0
        self.trend.add(float(self.now), self.waiting + busy * count)
        self.told.append((busy, answered / count if count else 0.0))
        told = Signals(count, busy=fmean(b for b, _ in self.told), rate=fmean(r for _, r in self.told))
        target, self.state, _ = desired_instances(self.trend.seen_by(told), self.policy, self.state, float(self.now))
        self.ready_at = self.ready_at[:target] + [self.now + self.starts_s] * (target - len(self.ready_at))
        self.path.append(target)
        self.now += 1

    @property
    def moves(self) -> list[int]:
        return [b - a for a, b in pairwise(self.path) if b != a]


class TestSteps:
    """A load that comes at once gets the right number in one step, and then keeps it."""

    @pytest.mark.parametrize("instances", [2, 3, 5, 8, 13])
    @pytest.mark.parametrize("service_s", [0.002, 0.03, 0.2])
    def test_arrivals(self, service_s, instances):
        line = Line(service_s, policy=replace(POLICY, max_instances=50))
        for _ in range(10):
            line.second(arriving=0.1 / service_s)
        for _ in range(600):
            line.second(arriving=0.7 * instances / service_s)
        assert line.moves == [pytest.approx(instances - 1, abs=1)], line.path[:60]
        assert line.path.index(line.path[-1]) <= 19, "within nine seconds"

    def test_clients_that_wait_for_their_answer(self):
        line = Line(0.03, policy=replace(POLICY, max_instances=4))
        for _ in range(60):
            line.second(clients=64)
        assert line.moves == [3]
        assert line.path.index(4) <= 6

    def test_a_burst_starts_nothing(self):
        line = Line(0.03)
        for second in range(100):
            line.second(arriving=60 if second in (50, 51) else 10)
        assert line.moves == []

    def test_back_in_one_step_a_minute_later(self):
        line = Line(0.03)
        for second in range(300):
            line.second(arriving=100 if second < 100 else 0)
        assert line.moves == [pytest.approx(4, abs=1), pytest.approx(-4, abs=1)]
        assert line.path.index(1, 100) == pytest.approx(165, abs=5)

    @given(st.floats(0.001, 3), st.floats(0, 12), st.integers(0, 30), st.integers(1, 8))
    def test_a_constant_load_never_makes_it_swing(self, service_s, load, starts_s, start):
        """A queue may call for more than the load alone, once; after that the number falls at most."""
        policy = replace(POLICY, max_instances=20)
        line = Line(service_s, starts_s=starts_s, policy=policy)
        line.state, line.ready_at = ScalingState(start), [0] * start
        for _ in range(1_500):
            line.second(arriving=load / service_s)
        signs = [move > 0 for move in line.moves]
        assert signs == sorted(signs, reverse=True), line.moves
        assert len(set(line.path[-600:])) == 1, line.moves

    @pytest.mark.parametrize("service_s", [0.03, 0.5])
    @pytest.mark.parametrize("load", [0.5, 2.0, 5.0])
    def test_nor_does_chance(self, service_s, load):
        random = np.random.default_rng(7)
        line = Line(service_s, policy=replace(POLICY, max_instances=20))
        for _ in range(1_200):
            line.second(arriving=float(random.poisson(load / service_s)))
        assert len(set(line.path[200:])) == 1, line.moves


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
        target_wait_s=draw(st.floats(0.01, 10)),
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
    growth=ANY_NUMBER | st.floats(-100, 100),
    rate=ANY_NUMBER | st.floats(0, 1_000),
    blind=st.booleans(),
)
STATES = st.builds(
    ScalingState,
    st.integers(0, 25),
    high_since=st.none() | st.floats(-1e6, 1e6),
    low_since=st.none() | st.floats(-1e6, 1e6),
    low_peak=st.integers(0, 25),
)
NOWS = st.floats(-1e6, 1e6)


class TestProperties:
    @given(SIGNALS, policies(), STATES, NOWS)
    def test_bounds_and_never_fewer_while_analysing_or_blind(self, signals, policy, state, now):
        target, after, reason = desired_instances(signals, policy, state, now)
        assert target == after.target
        assert reason
        assert target >= policy.min_instances
        assert target <= policy.max_instances or (signals.analysing and target == state.target)
        within = policy.min_instances <= state.target <= policy.max_instances
        if signals.analysing or (signals.blind and within):
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
