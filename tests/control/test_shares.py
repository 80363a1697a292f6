"""The limits on callers over all gateways: what a flood gets, however it moves and whatever fails meanwhile."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.control.shares import HOT_S, MOST_DIVIDED, Division, by_use
from streamb.traffic import RateLimits
from streamb.traffic.shares import Shares, Uses
from tests.serving.fleet import LIMITS, Fleet

TICK_S = 0.02
NAME = ("k1", "m")


def flood(fleet, seconds, split, each_second=lambda second: None):
    """Ask 50 times a second and tick, as `split(second)` says for each gateway; heartbeats come once a second.

    Return what was let through in each second.
    """
    passed = []
    for second in range(seconds):
        passed.append(0)
        each_second(second)
        for tick in range(round(1 / TICK_S)):
            for place, gateway in enumerate(list(fleet.gateways)):
                passed[-1] += gateway.ask(split(second)[place % len(split(second))])
                if tick == (7 * place) % 50:
                    fleet.beat(gateway)
            fleet.clock.advance(TICK_S)
    return passed


def test_one_gateway_lets_rate_and_burst_through():
    fleet = Fleet(1)
    fleet.beats()
    passed = flood(fleet, 60, lambda _: (4,))
    assert 1078 <= sum(passed) <= 1122
    assert max(passed[1:]) <= 18, "the burst is at the beginning, then the rate"


def test_one_gateway_of_one_that_nobody_divides_for():
    """Without a Controller that divides, each gateway takes its part of the limits by itself."""
    fleet = Fleet(1)
    fleet.gateways[0].callers.__init__(fleet.clock)
    fleet.gateways[0].callers.use(fleet.limits)
    fleet.controller_alive = False
    assert 1078 <= sum(flood(fleet, 60, lambda _: (4,))) <= 1122


SPLITS = {
    "even": lambda _: (3, 3),
    "one": lambda _: (6, 0),
    "nine to one": lambda _: (9, 1),
    "moves once": lambda second: (6, 0) if second < 30 else (0, 6),
    "moves often": lambda second: (6, 0) if second % 7 < 4 else (0, 6),
    "moves each second": lambda second: (6, 0) if second % 2 else (0, 6),
    "a little on one": lambda second: (6, 1) if second % 10 else (6, 0),
}


@pytest.mark.parametrize("split", SPLITS)
def test_two_gateways_never_let_more_through(split):
    fleet = Fleet(2)
    fleet.beats()
    passed = sum(flood(fleet, 60, SPLITS[split]))
    assert passed <= 1122
    # While a share moves, and the burst that stays behind, are lost.
    assert passed >= {"even": 1078, "moves once": 900}.get(split, 950)


def test_division_by_use_gives_a_little_what_it_asks_for_and_the_rest_to_the_other():
    fleet = Fleet(2)
    fleet.beats()
    flood(fleet, 10, lambda _: (6, 0))
    assert fleet.held(NAME)[0] > 0.9
    flood(fleet, 10, lambda _: (0, 6))
    assert fleet.held(NAME)[1] > 0.9
    flood(fleet, 10, lambda _: (6, 6))
    assert fleet.held(NAME) == pytest.approx([0.5, 0.5], abs=0.05)


def test_a_limit_in_light_use_is_shared_evenly_again():
    fleet = Fleet(2)
    fleet.beats()
    flood(fleet, 10, lambda _: (6, 0))
    flood(fleet, round(HOT_S) + 5, lambda _: (0, 0))
    assert fleet.held(NAME) == [0.5, 0.5]
    assert not fleet.gateways[0].callers._shares.of


@pytest.mark.parametrize("goodbye", [True, False])
@pytest.mark.parametrize("every", [5, 13, 30])
def test_restarts_bring_no_second_burst(goodbye, every):
    fleet = Fleet(2)
    fleet.beats()

    def restart(second):
        if second % every == every - 1:
            old = fleet.gateways[0]
            if goodbye:
                fleet.leave(old)
            fleet.kill(old)
            fleet.bury()
            fleet.start()

    assert sum(flood(fleet, 60, lambda _: (4, 4), restart)) <= 1122


@pytest.mark.parametrize("lingers", [0, 3])
def test_one_gateway_that_is_replaced_again_and_again(lingers):
    """The one that leaves answers for a while what still reaches it."""
    fleet = Fleet(1)
    fleet.beats()

    def replace(second):
        if second % 5 == 4:
            fleet.leave(fleet.gateways[-1])
            fleet.start()
        if second % 5 == (4 + lingers) % 5 and second >= 4:
            for old in fleet.gateways[:-1]:
                fleet.kill(old)
            fleet.bury()

    passed = sum(flood(fleet, 60, lambda _: (4,), replace))
    assert 900 <= passed <= 1122


def test_a_gateway_that_leaves_uses_what_it_has_and_no_more():
    fleet = Fleet(1)
    fleet.beats()
    old = fleet.gateways[0]
    assert old.ask(40) == 40
    fleet.leave(old)
    fleet.clock.advance(30.0)
    assert old.ask(200) == 60
    assert old.ask(200, model="other") == 100, "what nobody asked for yet is there, too"


def test_a_gateway_that_is_late_keeps_its_share_and_nobody_else_gets_it():
    fleet = Fleet(2)
    fleet.beats()
    late = fleet.gateways[0]

    def hold_up(second):
        late.heard = not 10 <= second < 40

    assert sum(flood(fleet, 60, SPLITS["moves often"], hold_up)) <= 1122
    assert fleet.division.doubtful(fleet.clock.monotonic() + 5, 4.0) == {"g1", "g2"}


def test_an_answer_that_is_lost_counts_as_told():
    fleet = Fleet(2)
    fleet.beats()
    flood(fleet, 10, lambda _: (6, 0))
    first, second = fleet.gateways
    for _ in range(20):
        fleet.beat(first, answer_lost=True)  # it may have heard that it has less, and still use what it had
        second.ask(50)
        fleet.beat(second)
        fleet.clock.advance(1.0)
    assert sum(fleet.held(NAME)) <= 1.0 + 1e-9


def test_another_controller_gives_nothing_before_it_has_heard_all():
    fleet = Fleet(2)
    fleet.beats()
    flood(fleet, 10, lambda _: (6, 0))
    before = fleet.held(NAME)
    fleet.restart_controller()
    flood(fleet, 5, lambda _: (0, 6))
    assert fleet.held(NAME)[1] <= before[1], "it does not know who else there is"
    fleet.recover()
    assert sum(flood(fleet, 10, lambda _: (0, 6))) > 100


def test_a_gateway_that_comes_between_begins_with_nothing_and_gets_its_part():
    fleet = Fleet(1, expected=1)
    fleet.beats()
    flood(fleet, 5, lambda _: (6,))
    fleet.start()
    flood(fleet, 10, lambda _: (6, 6))
    assert fleet.held(NAME) == pytest.approx([0.5, 0.5], abs=0.05)
    assert fleet.gateways[1].callers._shares.default == 0.5


def test_the_number_of_limits_that_are_divided_is_bounded():
    division = Division(LIMITS, fresh=True)
    for start in range(0, 2000, 100):
        asked = {(f"k{number}", "m"): 1000 for number in range(start, start + 100)}
        told = division.divide("g1", Uses(Shares(1.0), asked), start / 100, float(start))
    assert len(told.of) <= MOST_DIVIDED


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 50), min_size=1, max_size=6))
def test_shares_by_use_add_up_to_one_and_small_ones_get_what_they_ask_for(asked):
    shares = by_use(asked)
    assert sum(shares.values()) == pytest.approx(1.0)
    for key, part in asked.items():
        assert shares[key] >= min(part, 0.04 / len(asked)) - 1e-9
        assert shares[key] >= min(part, 1 / len(asked)) - 1e-9, "an even share is what each may count on"


EVENTS = st.one_of(
    st.tuples(st.just("flood"), st.integers(0, 3), st.integers(1, 60)),
    st.tuples(st.just("flood all"), st.just(0), st.integers(1, 60)),
    st.tuples(st.just("wait"), st.just(0), st.sampled_from([0.01, 0.3, 1.0, 7.0])),
    st.tuples(st.sampled_from(["beat", "beat lost", "late", "in time", "kill", "leave"]), st.integers(0, 3), st.none()),
    st.tuples(st.sampled_from(["beats", "start", "bury", "new controller", "recover"]), st.just(0), st.none()),
)


DO = {
    "wait": lambda fleet, there, how: fleet.clock.advance(how),
    "beat": lambda fleet, there, how: fleet.beat(there),
    "beat lost": lambda fleet, there, how: fleet.beat(there, answer_lost=True),
    "late": lambda fleet, there, how: setattr(there, "heard", False),
    "in time": lambda fleet, there, how: setattr(there, "heard", True),
    "kill": lambda fleet, there, how: fleet.kill(there),
    "leave": lambda fleet, there, how: fleet.leave(there),
    "beats": lambda fleet, there, how: fleet.beats(),
    "start": lambda fleet, there, how: fleet.start(),
    "bury": lambda fleet, there, how: fleet.bury(),
    "new controller": lambda fleet, there, how: fleet.restart_controller(),
    "recover": lambda fleet, there, how: fleet.recover(),
}


class Whole:
    """One bucket that sees everything: what the limit means. It is never overdrawn, over any stretch of time."""

    def __init__(self, clock, limits, spare):
        self.clock, self.limits, self.spare = clock, limits, spare
        self.at, self.tokens = clock.monotonic(), limits.burst + spare

    def take(self, number):
        now = self.clock.monotonic()
        gained = (now - self.at) * self.limits.per_minute / 60
        self.tokens, self.at = min(self.limits.burst + self.spare, self.tokens + gained), now
        self.tokens -= number
        assert self.tokens > -1e-6, "more was let through than burst and rate allow"


@settings(max_examples=200)
@given(st.lists(EVENTS, min_size=5, max_size=80), st.integers(1, 3), st.sampled_from([(1000, 100), (60, 1), (600, 5)]))
def test_no_schedule_lets_more_through(events, gateways, size):
    fleet = Fleet(gateways, RateLimits(*size, 10**9, 10**9))
    fleet.beats()
    starts = sum(event[0] == "start" for event in events)
    # Each gateway's part of a burst is rounded up to a whole request.
    whole = Whole(fleet.clock, fleet.limits, spare=gateways + starts)
    for what, which, how in events:
        there = fleet.gateways[which % len(fleet.gateways)] if fleet.gateways else fleet.start()
        if what.startswith("flood"):
            whole.take(sum(one.ask(how) for one in (fleet.gateways if what == "flood all" else [there])))
        elif what == "start" and len(fleet.gateways) == 4:
            continue
        else:
            DO[what](fleet, there, how)
        assert sum(fleet.held(NAME)) <= 1 + 1e-9
