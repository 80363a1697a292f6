import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.metrics import Outcome, OutcomeWindows, Snapshot, VersionRecorder, merge
from streamb.metrics.predictions import MOST_LABELS
from streamb.metrics.snapshot import merge_version
from streamb.metrics.windows import REMEMBERED_SOURCES

HORIZON_S = 20
TIMES = st.floats(min_value=0, max_value=60)
EVENTS = st.lists(
    st.tuples(TIMES, st.sampled_from(["1", "2"]), st.integers(0, 3), st.integers(0, 60), st.floats(1e-4, 10)),
    max_size=120,
)


def counts(requests: int, version: str = "1", **more) -> Snapshot:
    return Snapshot("m", version, counts={"ok": requests} if requests else {}, **more)


def oks(windows: OutcomeWindows, now: float, seconds: int = 10) -> int:
    return windows.recent("m", "1", now, seconds).ok


def act(recorder: VersionRecorder, label: int, seconds: float) -> None:
    recorder.predicted(np.array([label]), "classification")
    recorder.learned("value_micro", label - 45)
    recorder.differed(seconds)
    if label % 7:
        recorder.answered(seconds, 1)
    else:
        recorder.failed(Outcome.TIMEOUT, 504, seconds)


def played(events, shards: int) -> OutcomeWindows:
    """The windows that so many gateways make of the same events, each reporting right after every one of its own."""
    windows = OutcomeWindows(HORIZON_S)
    recorders: dict[tuple[int, str], VersionRecorder] = {}
    for at, version, place, label, seconds in sorted(events):
        shard = place % shards
        recorder = recorders.setdefault((shard, version), VersionRecorder("m", version))
        act(recorder, label, seconds)
        mine = [one.snapshot(in_flight=3) for (home, _), one in recorders.items() if home == shard]
        windows.feed(f"g{shard}", at, mine)
    return windows


@given(EVENTS, st.integers(2, 4), TIMES, st.integers(0, 30))
def test_windows_of_any_sharding_are_those_of_a_single_gateway(events, shards, now, seconds):
    single, sharded = played(events, 1), played(events, shards)
    for version in ("1", "2"):
        assert sharded.total("m", version) == single.total("m", version)
        assert sharded.recent("m", version, now, seconds) == single.recent("m", version, now, seconds)


@given(EVENTS, st.integers(1, 4), TIMES)
def test_totals_and_windows_hold_each_event_once(events, shards, now):
    windows = played(events, shards)
    recorder = VersionRecorder("m", "1")
    for _, version, _, label, seconds in events:
        if version == "1":
            act(recorder, label, seconds)
    assert merge_version("m", "1", [windows.total("m", "1")]) == recorder.snapshot()
    newest = max((math.floor(at) for at, *_ in events), default=0)
    oldest = max(math.floor(now) - 5, newest - HORIZON_S)
    expected = sum(version == "1" and oldest < math.floor(at) <= math.floor(now) for at, version, *_ in events)
    assert windows.recent("m", "1", now, 5).total == expected


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 300)), max_size=300))
def test_windows_and_totals_of_many_labels_have_the_same_bounded_names(placed):
    windows, recorders = OutcomeWindows(HORIZON_S), [VersionRecorder("m", "1") for _ in range(4)]
    for second, (place, label) in enumerate(placed):
        recorders[place].predicted(np.array([label]), "classification")
        windows.feed(f"g{place}", second / 20, [recorders[place].snapshot()])
    total, window = windows.total("m", "1"), windows.recent("m", "1", 15, 100)
    assert total.predictions == window.predictions
    assert sum(total.predictions.values()) == len(placed)
    assert len(total.labels) <= MOST_LABELS
    copy = OutcomeWindows(HORIZON_S)
    copy.restore(windows.state())
    recorders[0].predicted(np.array([1000]), "classification")
    for one in (windows, copy):
        one.feed("g0", 15, [recorders[0].snapshot()])
    assert copy.total("m", "1") == windows.total("m", "1")


@given(EVENTS, st.integers(1, 3))
def test_a_window_since_a_moment_is_the_difference_of_two_totals(events, shards):
    half = len(events) // 2
    before, after = played(sorted(events)[:half], shards), played(events, shards)
    for version in ("1", "2"):
        then, now = before.total("m", version), after.total("m", version)
        assert merge([now.minus(then), then]) == [now]


@given(EVENTS, st.randoms(use_true_random=False))
def test_duplicates_goodbyes_and_reports_out_of_order_change_nothing(events, shuffle: random.Random):
    windows, clean = OutcomeWindows(HORIZON_S), OutcomeWindows(HORIZON_S)
    recorder = VersionRecorder("m", "1")
    earlier: list[tuple[float, Snapshot]] = []
    for at, _, _, label, seconds in sorted({event[0]: event for event in events}.values()):
        act(recorder, label, seconds)
        earlier.append((at, recorder.snapshot()))
        for fed in (windows, clean):
            fed.feed("g", at, [recorder.snapshot()])
        if shuffle.random() < 0.3:
            windows.forget("g")
        if shuffle.random() < 0.5:
            late_at, late = shuffle.choice(earlier)
            windows.feed("g", late_at, [late])
    assert windows.total("m", "1") == clean.total("m", "1")
    assert windows.recent("m", "1", 60, 60) == clean.recent("m", "1", 60, 60)


def test_what_is_new_belongs_to_the_second_in_which_it_is_told():
    windows = OutcomeWindows()
    windows.feed("g", 100.9, [counts(5)])
    windows.feed("g", 101.1, [counts(7)])
    assert [oks(windows, 101.5, seconds) for seconds in (0, 1, 2)] == [0, 2, 7]
    assert oks(windows, 100.0, 1) == 5
    assert oks(windows, 111.5, 10) == 0


def test_buckets_behind_the_horizon_are_dropped_and_the_total_stays():
    windows = OutcomeWindows(horizon_s=10)
    for second in range(100):
        windows.feed("g", second, [counts(second + 1)])
    assert oks(windows, 99, 1000) == 10
    assert windows.total("m", "1").ok == 100
    assert len(windows._buckets) == 10
    windows.feed("late", 20, [counts(4)])
    assert windows.total("m", "1").ok == 104
    assert len(windows._buckets) == 10


def test_idle_seconds_cost_nothing_and_long_silence_empties_the_ring():
    windows = OutcomeWindows(horizon_s=10)
    windows.feed("g", 0, [counts(1)])
    windows.feed("g", 5, [counts(1)])
    assert len(windows._buckets) == 1
    windows.feed("g", 1000, [counts(1)])
    assert not windows._buckets


def test_a_source_that_restarted_under_its_name_counts_from_zero():
    windows = OutcomeWindows()
    windows.feed("g", 1, [counts(10, rows=10)])
    windows.feed("g", 2, [counts(3, rows=3)])
    windows.feed("g", 3, [counts(5, rows=5)])
    assert windows.total("m", "1").ok == 15


def test_a_source_that_returns_is_not_counted_twice():
    windows = OutcomeWindows()
    windows.feed("g", 1, [counts(10)])
    windows.forget("g")
    windows.forget("g")
    windows.feed("g", 30, [counts(12)])
    assert windows.total("m", "1").ok == 12


def test_time_set_back_keeps_every_count_and_takes_reports_again():
    windows = OutcomeWindows(HORIZON_S)
    for second in range(100, 110):
        windows.feed("g", second, [counts(10 * (second - 99))])
    windows.feed("gone", 105, [counts(7)])
    windows.forget("gone")
    windows.rewind(50.5)
    assert oks(windows, 50.9, 1) == 107
    windows.feed("g", 52, [counts(110)])
    windows.feed("gone", 52, [counts(8)])
    assert (oks(windows, 52, 1), oks(windows, 52, 10), windows.total("m", "1").ok) == (11, 118, 118)


def test_who_was_asked_lately():
    windows = OutcomeWindows(HORIZON_S)
    windows.feed("g", 10, [counts(1), Snapshot("m", "labelled", feedback={"labels": 1})])
    windows.feed("g", 15, [counts(1, "2")])
    assert windows.asked(15, 10) == {("m", "1"), ("m", "2")}
    assert windows.asked(20, 6) == {("m", "2")}
    assert windows.asked(5, 6) == set()
    assert set(windows.versions()) == {("m", "1"), ("m", "2"), ("m", "labelled")}


def test_a_version_missing_from_one_report_is_remembered():
    windows = OutcomeWindows()
    windows.feed("g", 1, [counts(10), counts(1, "2")])
    windows.feed("g", 2, [counts(2, "2")])
    windows.feed("g", 3, [counts(11), counts(2, "2")])
    assert (windows.total("m", "1").ok, windows.total("m", "2").ok) == (11, 2)


def test_what_a_source_counted_before_these_windows_existed_is_not_theirs():
    windows = OutcomeWindows()
    windows.feed("g", 1, [counts(1000)], began_earlier=True)
    windows.feed("g", 2, [counts(1003), counts(4, "2")], began_earlier=True)
    assert (windows.total("m", "1").ok, windows.total("m", "2").ok) == (3, 4)


def test_only_so_many_gone_sources_are_remembered():
    windows = OutcomeWindows()
    for source in range(100):
        windows.feed(f"g{source}", source, [counts(1)])
        windows.forget(f"g{source}")
    assert len(windows._gone) == REMEMBERED_SOURCES
    assert not windows._sources
    assert windows.total("m", "1").ok == 100


def test_gauges_are_not_outcomes():
    windows = OutcomeWindows()
    windows.feed("g", 1, [counts(1, in_flight=5, queued=2)])
    for found in (windows.total("m", "1"), windows.recent("m", "1", 1, 1)):
        assert (found.in_flight, found.queued) == (0, 0)


def test_a_version_that_nobody_spoke_of_has_counted_nothing():
    windows = OutcomeWindows()
    assert windows.recent("m", "9", 5, 10) == windows.total("m", "9") == Snapshot("m", "9")


def test_a_label_that_is_kept_stays_and_one_that_found_no_room_is_other_in_every_window():
    windows = OutcomeWindows()
    windows.feed("g1", 1, [counts(0, predictions={"z": 3})])
    windows.feed("g2", 2, [counts(0, predictions={f"a{number:02d}": 2 for number in range(64)})])
    for seconds, z in ((2, 3), (1, 0)):
        window = windows.recent("m", "1", 2, seconds).predictions
        assert (window.get("z", 0), window["other"], window["a62"], window.get("a63")) == (z, 2, 2, None)


@pytest.mark.parametrize("gateways", [1, 4])
def test_reading_the_whole_horizon_is_quick_enough(gateways):
    windows = OutcomeWindows()
    for second in range(900):
        for gateway in range(gateways):
            windows.feed(f"g{gateway}", second, [counts(second + 1)])
    assert oks(windows, 899, 900) == 900 * gateways


def test_overdue_requests_are_those_of_the_newest_reports():
    windows, key = OutcomeWindows(), ("m", "1")
    windows.feed("a", 1.0, [Snapshot(*key, overdue=3)])
    windows.feed("b", 1.0, [Snapshot(*key, overdue=2)])
    assert windows.total(*key).minus(Snapshot(*key)).overdue == 5
    windows.feed("a", 2.0, [Snapshot(*key)])
    windows.forget("b")
    assert windows.total(*key).overdue == 0
