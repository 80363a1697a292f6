import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.clock import ManualClock
from streamb.errors import RateLimited
from streamb.serving.callers import CLIENT_HEADER, MOST_BUCKETS, Buckets, CallerLimits
from streamb.traffic import RateLimits
from streamb.traffic.shares import FROM_ADDRESS, Shares

LIMITS = RateLimits(per_minute=60, burst=10, address_per_minute=600, address_burst=20)
SECRET = "s" * 64
HERE, THERE = ("@192.0.2.1", FROM_ADDRESS), ("@192.0.2.2", FROM_ADDRESS)


def limits(given=LIMITS, **changes):
    clock = ManualClock(100.0)
    callers = CallerLimits(clock, **changes)
    callers.use(given)
    return callers, clock


def passes(callers, clock, number=1, key_id="k1", address=HERE, model="m"):
    passed = 0
    for _ in range(number):
        try:
            callers.from_caller(key_id, address, model, clock.monotonic())
        except RateLimited:
            continue
        passed += 1
    return passed


def test_burst_then_rate():
    callers, clock = limits()
    assert passes(callers, clock, 50) == 10
    clock.advance(3.0)
    assert passes(callers, clock, 50) == 3
    clock.advance(1000.0)
    assert passes(callers, clock, 50) == 10


def test_each_key_and_model_has_its_own_and_callers_without_a_key_go_by_address():
    callers, clock = limits()
    assert passes(callers, clock, 50) == 10
    assert passes(callers, clock, 50, model="n") == 10
    assert passes(callers, clock, 50, key_id="k2") == 10
    assert passes(callers, clock, 50, key_id="") == 10
    assert passes(callers, clock, 50, key_id="", address=THERE) == 10


def test_what_a_refusal_says():
    callers, clock = limits()
    passes(callers, clock, 10)
    with pytest.raises(RateLimited) as refused:
        callers.from_caller("k1", HERE, "m", clock.monotonic())
    assert refused.value.status == 429
    assert refused.value.details["retry_after_s"] == 1
    assert "k1" in refused.value.message
    assert "60 a minute" in refused.value.message
    headers = dict(refused.value.headers)
    assert headers[b"ratelimit-remaining"] == b"0"
    assert headers[b"ratelimit-limit"] == b"60"
    assert headers[b"ratelimit-policy"] == b'"default";q=60;w=60;burst=10'
    assert headers[b"ratelimit"] == b'"default";r=0;t=1'
    assert callers.counted == {("key", "refused"): 1}


def test_waiting_as_long_as_it_says_is_enough():
    callers, clock = limits(RateLimits(7, 3, 600, 20))
    for _ in range(20):
        try:
            callers.from_caller("k1", HERE, "m", clock.monotonic())
        except RateLimited:
            clock.advance(callers._keys._known["k1", "m"].wait_s)
            assert passes(callers, clock) == 1


def test_headers_count_down_and_say_when_it_is_full_again():
    callers, clock = limits()
    left = []
    for _ in range(3):
        headers = dict(callers.from_caller("k1", HERE, "m", clock.monotonic()).headers())
        left.append((int(headers[b"ratelimit-remaining"]), int(headers[b"ratelimit-reset"])))
    assert left == [(9, 1), (8, 2), (7, 3)]


def test_observe_only_counts_and_refuses_nobody():
    callers, clock = limits(RateLimits(60, 10, 600, 20, observe_only=True))
    assert passes(callers, clock, 50) == 50
    assert callers.counted == {("key", "observed"): 40}
    for _ in range(50):
        callers.from_address(HERE, clock.monotonic())
    assert callers.counted["address", "observed"] == 30


def test_no_limits():
    callers, clock = limits(None)
    assert not callers.active
    assert callers.from_caller("k1", HERE, "m", 0.0) is None
    callers.from_address(HERE, 0.0)
    assert passes(callers, clock, 1000) == 1000


def test_new_limits_of_another_size_are_no_second_burst():
    callers, clock = limits()
    passes(callers, clock, 10)
    callers.use(RateLimits(60, 10, 600, 20, observe_only=True))
    callers.use(LIMITS)
    assert passes(callers, clock, 10) == 0, "what was used still counts"
    callers.use(RateLimits(120, 10, 600, 20))
    assert passes(callers, clock, 10) == 0


# --- addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "said", "address"),
    [
        ("198.51.100.7", None, "@198.51.100.7"),
        ("198.51.100.7", f"{SECRET} 192.0.2.1", "@192.0.2.1"),
        ("198.51.100.7", "192.0.2.1", "@198.51.100.7"),
        ("198.51.100.7", f"{SECRET[:-1]}x 192.0.2.1", "@198.51.100.7"),
        ("198.51.100.7", f"{SECRET}", "@198.51.100.7"),
        ("198.51.100.7", "", "@198.51.100.7"),
        ("::ffff:198.51.100.7", None, "@198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", None, "@2001:db8:1:2::"),
        ("fe80::1%eth0", None, "@fe80::"),
        ("198.51.100.7", f"{SECRET} no address", "@unknown"),
        (None, None, "@unknown"),
    ],
)
def test_the_address_is_the_peers_or_what_the_edge_says(peer, said, address):
    callers, _ = limits(edge_secret=SECRET)
    scope = {"client": None if peer is None else (peer, 1234)}
    headers = {} if said is None else {CLIENT_HEADER: said.encode()}
    assert callers.address_of(scope, headers) == (address, FROM_ADDRESS)


def test_without_an_edge_nobody_can_say_an_address():
    callers, _ = limits()
    for said in (b" 192.0.2.1", b"192.0.2.1", b""):
        assert callers.address_of({"client": ("198.51.100.7", 1)}, {CLIENT_HEADER: said}) == (
            "@198.51.100.7",
            FROM_ADDRESS,
        )


def test_an_address_has_a_limit_of_its_own():
    callers, clock = limits()
    for _ in range(20):
        callers.from_address(HERE, clock.monotonic())
    with pytest.raises(RateLimited, match=r"192\.0\.2\.1"):
        callers.from_address(HERE, clock.monotonic())
    callers.from_address(THERE, clock.monotonic())
    assert callers.counted == {("address", "refused"): 1}


# --- bounds -------------------------------------------------------------------------------------------------------


def test_memory_is_bounded_under_unknown_addresses_and_keys():
    """With smaller tables than usual, so that it does not take long to fill them many times over."""
    callers, clock = limits(edge_secret=SECRET)
    assert callers._keys._most == callers._addresses._most == MOST_BUCKETS
    callers._keys._most = callers._addresses._most = 500

    def ask(start, number):
        for index in range(start, start + number):
            said = f"{SECRET} 2001:db8:{index >> 16:x}:{index & 0xFFFF:x}::1".encode()
            address = callers.address_of({"client": None}, {CLIENT_HEADER: said})
            callers.from_address(address, clock.monotonic())
            callers.from_caller("", address, "m", clock.monotonic())
            clock.advance(0.001)

    tracemalloc.start()
    ask(0, 5_000)  # fills what remembers the last few thousand addresses, too
    before = tracemalloc.get_traced_memory()[0]
    ask(5_000, 10_000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(callers._addresses) == len(callers._keys) == 500
    assert grown < 256 * 1024, "10,000 more cost nothing; buckets of theirs alone would be 6 MB"
    assert len(callers.uses().asked) <= 512


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 15), st.floats(0, 3)), max_size=120))
def test_a_table_that_is_too_small_gives_no_tokens_away(schedule):
    """Who makes a process forget its bucket gets no new burst."""
    buckets = Buckets(60, 10, Shares(1.0), 1.0, 0.0, most=4)
    now, whole = 0.0, {}
    for caller, number, pause in schedule:
        at, tokens = whole.get(caller, (0.0, 10.0))
        tokens = min(10.0, tokens + now - at)
        passed = sum(buckets.take((f"k{caller}", "m"), now)[1] for _ in range(number))
        assert passed <= math.floor(tokens + 1e-6)
        whole[caller] = now, tokens - passed
        assert len(buckets) <= 4
        now += pause


def test_a_share_of_a_small_burst_lets_something_through():
    buckets = Buckets(60, 1, Shares(0.5, filled=0.5), 0.5, 0.0)
    assert buckets.take(("k", "m"), 0.0)[1] is False
    assert buckets.take(("k", "m"), 1.5)[1] is True
    assert buckets.take(("k", "m"), 1.6)[1] is False


def test_what_is_told_of_use():
    callers, clock = limits(divided=True)
    assert callers.uses().shares is None
    assert passes(callers, clock) == 0, "nothing passes before shares are told"
    assert callers.adopt(Shares(0.5, filled=0.5))
    assert passes(callers, clock, 9) == 5
    assert callers.uses().asked == {("k1", "m"): 6}, "of what is more than half used"
    assert callers.uses().asked == {}
    assert not callers.adopt(Shares(0.5, {("k2", "m"): 0.9, ("@192.0.2.1", FROM_ADDRESS): 0.6}))
    assert callers.adopt(Shares(0.5, {("k2", "m"): 0.2, ("@192.0.2.1", FROM_ADDRESS): 0.6}))
    passes(callers, clock, key_id="k2")
    assert callers.uses().asked == {("k2", "m"): 1}, "of what it has a share of its own of"


def test_who_has_all_has_nothing_to_tell():
    callers, clock = limits()
    passes(callers, clock, 50)
    assert callers.uses().asked == {}
