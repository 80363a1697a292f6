import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamb.errors import InvalidTransition
from streamb.metrics import Outcome, Snapshot, VersionRecorder
from streamb.serving.breaker import BREAKER_LIFECYCLE, REFUSED, Breaker, BreakerState, BreakerWatch
from streamb.traffic import BreakerPolicy

CLOSED, OPEN, HALF_OPEN = BreakerState
POLICY = BreakerPolicy(failure_threshold=3, recovery_timeout_s=30, half_open_max_calls=2)


def breaker(**policy) -> Breaker:
    return Breaker("m", "2.0.0", BreakerPolicy(**policy) if policy else POLICY)


def opened(at=0.0) -> Breaker:
    one = breaker()
    for _ in range(3):
        one.failed(one.enter(at), at)
    assert one.state is OPEN
    return one


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not():
    one = breaker()
    for _ in range(5):
        one.failed(one.enter(0), 0)
        one.failed(one.enter(0), 0)
        one.succeeded(one.enter(0), 0)
    assert one.state is CLOSED
    opened()


def test_open_it_refuses_and_says_for_how_long():
    one = opened(at=100.0)
    assert one.enter(129.9) == REFUSED
    assert one.retry_after_s(110.0) == 20.0
    refusal = one.refusal(110.0)
    assert (refusal.status, refusal.details["retry_after_s"]) == (503, 20.0)
    assert one.refusal(129.99).details["retry_after_s"] == 1.0


def test_half_open_it_lets_a_few_through_and_closes_when_all_were_answered():
    one = opened()
    first, second = one.enter(30), one.enter(30)
    assert one.enter(30) == REFUSED
    one.succeeded(first, 31)
    assert one.state is HALF_OPEN
    assert one.enter(31) == REFUSED
    one.succeeded(second, 31)
    assert one.state is CLOSED


def test_half_open_one_failure_opens_it_again():
    one = opened()
    first, second = one.enter(30), one.enter(30)
    one.failed(first, 31)
    one.succeeded(second, 32)
    assert one.state is OPEN
    assert one.retry_after_s(31) == 30


def test_a_probe_without_a_result_makes_room_for_another():
    one = opened()
    one.enter(30)
    one.abandoned(one.enter(30))
    assert one.enter(30) != REFUSED


@pytest.mark.parametrize("result", ["succeeded", "failed"])
def test_a_late_result_from_before_it_opened_changes_nothing(result):
    one = breaker()
    late = one.enter(0)
    for _ in range(3):
        one.failed(one.enter(0), 0)
    probe = one.enter(30)
    getattr(one, result)(late, 30)
    assert one.state is HALF_OPEN
    one.succeeded(probe, 31)
    getattr(one, result)(late, 31)
    assert one.state is HALF_OPEN
    one.succeeded(one.enter(31), 31)
    assert one.state is CLOSED
    for _ in range(5):
        getattr(one, result)(late, 32)
    assert one.state is CLOSED


def test_what_was_let_through_although_refused_has_no_say():
    one = opened()
    one.succeeded(REFUSED, 1)
    one.failed(REFUSED, 1)
    one.abandoned(REFUSED)
    assert (one.state, one.generation) == (OPEN, 1)


def test_its_life():
    with pytest.raises(InvalidTransition):
        BREAKER_LIFECYCLE.check(OPEN, CLOSED)


class BreakerAgainstAModel(RuleBasedStateMachine):
    """The model keeps what happened since the last change of state, and derives the state from that list."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker("m", "1.0.0", POLICY)
        self.state, self.since, self.epoch = CLOSED, 0.0, 0
        self.events: list[str] = []
        self.running: list[tuple[int, int]] = []

    def change(self, state):
        self.state, self.since, self.events = state, self.now, []
        self.epoch += 1

    @rule(seconds=st.sampled_from([0.0, 1.0, 29.0, 30.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def enter(self):
        if self.state is OPEN and self.now >= self.since + POLICY.recovery_timeout_s:
            self.change(HALF_OPEN)
        admitted = self.events.count("enter") - self.events.count("abandoned")
        free = self.state is CLOSED or (self.state is HALF_OPEN and admitted < POLICY.half_open_max_calls)
        generation = self.breaker.enter(self.now)
        assert (generation != REFUSED) == free
        if free:
            self.events.append("enter")
            self.running.append((self.epoch, generation))

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 1000), result=st.sampled_from(["succeeded", "failed", "failed", "abandoned"]))
    def end(self, which, result):
        epoch, generation = self.running.pop(which % len(self.running))
        if result == "abandoned":
            self.breaker.abandoned(generation)
        else:
            getattr(self.breaker, result)(generation, self.now)
        if epoch != self.epoch:
            return  # late: no change, which the invariant checks
        self.events.append(result)
        results = [event for event in self.events if event in ("succeeded", "failed")]
        too_many = ["failed"] * (POLICY.failure_threshold if self.state is CLOSED else 1)
        if results[-len(too_many) :] == too_many:
            self.change(OPEN)
        elif self.state is HALF_OPEN and len(results) == POLICY.half_open_max_calls:
            self.change(CLOSED)

    @invariant()
    def agrees(self):
        assert (self.breaker.state, self.breaker.since) == (self.state, self.since)


TestBreakerAgainstAModel = BreakerAgainstAModel.TestCase
TestBreakerAgainstAModel.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)


# --- windows ------------------------------------------------------------------------------------------------------


class Second:
    """A gateway that reports every second."""

    def __init__(self):
        self.breaker = breaker()
        self.recorder = VersionRecorder("m", "2.0.0")
        self.watch = BreakerWatch()
        self.now = 0.0

    def passes(self, ok=0, failed=0, refused=0):
        self.now += 1
        for _ in range(ok):
            self.recorder.answered(0.01, 1)
        for _ in range(failed):
            self.recorder.failed(Outcome.MODEL_ERROR, 500, 0.01)
        for _ in range(refused):
            self.recorder.failed(Outcome.CLIENT_ERROR, 422, 0.01)
        self.watch.look(self.now, [self.recorder.snapshot()], [self.breaker])
        return self.breaker.state


def test_a_window_that_is_mostly_failures_opens_it():
    second = Second()
    assert [second.passes(ok=2, failed=2, refused=50) for _ in range(4)] == [CLOSED] * 4  # fewer than 20, or too new
    assert OPEN in [second.passes(ok=2, failed=2, refused=50) for _ in range(4)]


def test_few_failures_or_few_requests_do_not():
    second = Second()
    assert {second.passes(ok=60, failed=40) for _ in range(30)} == {CLOSED}
    second = Second()
    assert {second.passes(failed=1) for _ in range(30)} == {CLOSED}


def test_old_failures_do_not_open_it_again():
    second = Second()
    while second.passes(failed=10) is CLOSED:
        pass
    second.now += 30
    one = second.breaker
    for _ in range(2):
        one.succeeded(one.enter(second.now), second.now)
    assert one.state is CLOSED
    second.recorder.failed(Outcome.MODEL_ERROR, 500, 0.01)
    assert {second.passes(ok=10) for _ in range(20)} == {CLOSED}


def test_judging_needs_no_watch():
    one = breaker()
    one.judge(Snapshot("m", "2.0.0", counts={"ok": 10, "timeout": 10}), 5.0)
    assert one.state is OPEN


def test_one_caller_alone_does_not_open_it_while_others_get_answers():
    breaker = Breaker("m", "1", BreakerPolicy(failure_threshold=3))
    for number in range(100):
        breaker.succeeded(breaker.generation, number / 10, "ada")
        for _ in range(10):
            breaker.failed(breaker.generation, number / 10, "eve")
    assert breaker.state is BreakerState.CLOSED
    breaker.failed(breaker.generation, 10.0, "bob")
    breaker.failed(breaker.generation, 10.0, "ada")
    assert breaker.state is BreakerState.OPEN, "three different ones in a row"


def test_a_caller_whom_nobody_else_joined_lately_opens_it_as_ever():
    for others_at, opened in ((-100.0, True), (0.0, True), (9.0, False)):
        breaker = Breaker("m", "1", BreakerPolicy(failure_threshold=3))
        breaker.succeeded(breaker.generation, others_at, "curl")
        breaker.succeeded(breaker.generation, 10.0, "main")
        for _ in range(3):
            breaker.failed(breaker.generation, 10.5, "main")
        assert (breaker.state is BreakerState.OPEN) is opened


def test_a_window_that_one_caller_fills_does_not_open_it():
    breaker, watch = Breaker("m", "1", BreakerPolicy()), BreakerWatch()
    recorder = VersionRecorder("m", "1")
    for second in range(12):
        watch.look(float(second), [recorder.snapshot()], [breaker])
        for _ in range(10):
            recorder.answered(0.01, 1, "ada")
        for _ in range(100):
            recorder.failed(Outcome.MODEL_ERROR, 500, 0.01, "eve")
        recorder.answered(0.01, 1, "eve")
    assert breaker.state is BreakerState.CLOSED
