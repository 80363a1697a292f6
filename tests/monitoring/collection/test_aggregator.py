import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.clock import ManualClock
from streamb.metrics import LatencyHistogram, Snapshot
from streamb.monitoring.collection.aggregator import FORGET_S, GRACE_PANES, NODES_FROM, Aggregator
from streamb.monitoring.collection.aggregator_state import Totals
from streamb.monitoring.collection.collector import Collector
from streamb.monitoring.collection.panes import pane_of
from streamb.monitoring.collection.push import (
    Ack,
    Member,
    PaneCounts,
    Push,
    SourceOutcomes,
    decode_push,
    encode_push,
    pack_snapshots,
    unpack_snapshots,
)
from tests.monitoring.sources import KEY, MODEL, START, VERSION, baseline, fed, table


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def aggregator(clock):
    found = Aggregator(clock)
    found.activate(MODEL, VERSION, baseline())
    return found


def deliver(one: Collector, aggregator: Aggregator) -> Ack:
    push = one.take()
    ack = aggregator.receive(push)
    one.acknowledged(push, ack)
    return ack


def snapshot(ok: int, **more) -> Snapshot:
    counts = {"ok": ok} if ok else {}
    return Snapshot(MODEL, VERSION, counts=counts, latency=LatencyHistogram.of([0.01] * ok), **more)


def told(sequence: int, *snapshots: Snapshot, source: str = "g1", leaving: bool = False) -> Push:
    data = pack_snapshots(snapshots)
    return Push((Member(source, "i", sequence, leaving=leaving),), outcomes=(SourceOutcomes(source, "i", data),))


class TestCounting:
    @settings(max_examples=25)
    @given(
        st.lists(st.integers(1, 40), min_size=1, max_size=6),
        st.lists(st.integers(0, 30), max_size=30),
        st.randoms(use_true_random=False),
    )
    def test_any_sharding_order_and_duplication_gives_the_bits_of_one_pass(self, sizes, again, random):
        clock = ManualClock(START)
        aggregator = Aggregator(clock)
        pushes = [fed(clock, rows, seed, source=f"r{seed}").take() for seed, rows in enumerate(sizes)]
        arriving = pushes + [pushes[place % len(pushes)] for place in again]
        random.shuffle(arriving)
        for push in arriving:
            aggregator.receive(push)
        whole = baseline().empty()
        for seed, rows in enumerate(sizes):
            whole = whole.plus(baseline().fold(*table(rows, seed)))
        assert aggregator.window(MODEL, VERSION, 5, baseline().baseline_id) == whole
        assert aggregator.totals(MODEL, VERSION) == Totals(rows=sum(sizes))

    def test_a_push_without_an_answer_is_sent_again_and_counted_once(self, aggregator, clock):
        one = fed(clock, 10)
        aggregator.receive(one.take())  # its answer is lost
        deliver(one, aggregator)
        one.observe(*table(5))
        one.fold()
        deliver(one, aggregator)
        assert aggregator.window(MODEL, VERSION, 1).rows == 15

    def test_a_source_that_restarts_counts_anew_and_its_old_pushes_stay_duplicates(self, aggregator, clock):
        before = fed(clock, 10, incarnation="i1")
        old = before.take()
        deliver(before, aggregator)
        deliver(fed(clock, 5, incarnation="i2"), aggregator)
        aggregator.receive(old)
        assert aggregator.totals(MODEL, VERSION).rows == 15

    def test_windows_slide_by_the_minute(self, aggregator, clock):
        for rows in (10, 20, 40):
            deliver(fed(clock, rows, source=f"r{rows}"), aggregator)
            clock.advance(60)
        clock.advance(-0.0)
        assert [aggregator.window(MODEL, VERSION, minutes).rows for minutes in (2, 3, 4)] == [40, 60, 70]
        assert aggregator.window(MODEL, VERSION, 1) is None

    def test_late_minutes_are_taken_within_the_grace_and_then_counted_as_late(self, aggregator, clock):
        slow, slower = fed(clock, 10, source="slow"), fed(clock, 7, source="slower")
        clock.advance(GRACE_PANES * 60)
        deliver(slow, aggregator)
        clock.advance(60)
        deliver(slower, aggregator)
        assert aggregator.totals(MODEL, VERSION) == Totals(rows=10, late=7)
        assert aggregator.window(MODEL, VERSION, 100).rows == 10

    def test_a_clock_that_is_ahead_closes_no_minutes(self, aggregator, clock):
        ahead = ManualClock(START + 86_400 * 30)
        deliver(fed(ahead, 10, source="ahead"), aggregator)
        deliver(fed(clock, 5, source="right"), aggregator)
        assert aggregator.window(MODEL, VERSION, 1).rows == 15

    def test_what_sources_dropped_or_could_not_read_is_added_up(self, aggregator):
        pane = PaneCounts(MODEL, VERSION, pane_of(START), "", b"", dropped=3, unreadable=4)
        for source in ("a", "b"):
            aggregator.receive(Push((Member(source, "i", 1, MODEL, VERSION),), (pane,)))
        assert aggregator.totals(MODEL, VERSION) == Totals(dropped=6, unreadable=8)

    def test_damaged_counts_are_counted_and_acknowledged(self, aggregator, clock, caplog):
        (pane,) = fed(clock, 10).take().panes
        other = baseline(seed=3).baseline_id
        for number, data in enumerate((pane.data[:-1], b"x", baseline(seed=3).to_bytes())):
            broken = PaneCounts(MODEL, VERSION, pane.pane, other, data, rows=10)
            assert aggregator.receive(Push((Member(f"r{number}", "i", 1, MODEL, VERSION),), (broken,))) is not None
        assert aggregator.totals(MODEL, VERSION) == Totals(damaged=30)


class TestBaselines:
    def test_a_source_with_another_baseline_is_sent_the_one_in_force(self, aggregator, clock):
        one = fed(clock, 10, baseline=None)
        assert deliver(one, aggregator).baselines == {KEY: baseline().to_bytes()}
        assert one.baseline_id == baseline().baseline_id
        deliver(one, aggregator)
        assert deliver(one, aggregator).baselines == {}

    def test_a_change_loses_no_rows_and_mixes_no_bins(self, aggregator, clock):
        one, new = fed(clock, 10), baseline(seed=7)
        aggregator.activate(MODEL, VERSION, new)
        deliver(one, aggregator)
        one.observe(*table(20))
        one.fold()
        deliver(one, aggregator)
        assert aggregator.window(MODEL, VERSION, 1).rows == 20
        assert aggregator.window(MODEL, VERSION, 1, baseline().baseline_id).rows == 10
        assert aggregator.totals(MODEL, VERSION).rows == 30

    def test_without_one_there_is_a_sketch_and_no_profile(self, clock):
        aggregator = Aggregator(clock)
        for source in ("r1", "r2"):
            assert deliver(fed(clock, 200, baseline=None, source=source), aggregator).baselines == {}
        assert aggregator.window(MODEL, VERSION, 5) is None
        assert aggregator.sketch(MODEL, VERSION, 5).rows == 400
        assert aggregator.sketch(MODEL, "9.9.9", 5) is None


class TestOutcomes:
    def test_standings_are_counted_by_their_differences(self, aggregator, clock):
        aggregator.receive(told(1, snapshot(10)))
        clock.advance(30)
        aggregator.receive(told(2, snapshot(25)))
        aggregator.receive(told(2, snapshot(25)))
        aggregator.receive(told(1, snapshot(4), source="g2"))
        assert aggregator.outcomes_total(MODEL, VERSION).ok == 29
        assert aggregator.outcomes(MODEL, VERSION, 10).ok == 19

    def test_a_gateway_that_left_stays_counted_and_is_no_source_any_more(self, aggregator):
        aggregator.receive(told(1, snapshot(10), leaving=True))
        assert aggregator.outcomes_total(MODEL, VERSION).ok == 10
        assert aggregator.sources() == []
        aggregator.receive(told(2, snapshot(12), leaving=True))
        assert aggregator.outcomes_total(MODEL, VERSION).ok == 12

    def test_damaged_standings_stop_nothing(self, aggregator, caplog):
        good = told(1, snapshot(10))
        for cut in (0, 1, 9):
            data = good.outcomes[0].data[:cut]
            aggregator.receive(Push((Member(f"x{cut}", "i", 1),), outcomes=(SourceOutcomes("x", "i", data),)))
        assert "cannot be read" in caplog.text

    def test_a_wall_clock_that_goes_back_loses_nothing(self, clock):
        back = ManualClock(START)
        aggregator = Aggregator(back)
        aggregator.receive(told(1, snapshot(10)))
        back._now = START - 3_600
        aggregator.receive(told(2, snapshot(30)))
        assert aggregator.outcomes(MODEL, VERSION, 5).ok == 30

    @pytest.mark.parametrize("ahead_s", [600.0, 7_200.0, 86_400.0 * 365])
    def test_a_clock_that_was_wrong_for_a_while_holds_nothing_up(self, ahead_s):
        clock = ManualClock(START + ahead_s)
        aggregator = Aggregator(clock)
        aggregator.activate(MODEL, VERSION, baseline())
        deliver(fed(clock, 10, source="before"), aggregator)
        aggregator.receive(told(1, snapshot(10)))
        clock._now = START
        deliver(fed(clock, 5, source="after"), aggregator)
        aggregator.receive(told(2, snapshot(30)))
        assert aggregator.totals(MODEL, VERSION) == Totals(rows=15)
        assert aggregator.window(MODEL, VERSION, 1).rows == 15
        assert aggregator.outcomes(MODEL, VERSION, 5).ok == 30
        clock.advance(45)
        assert aggregator.silence_s(MODEL, VERSION) == aggregator.silence_s() == 45
        clock.advance(60)
        assert aggregator.window(MODEL, VERSION, 1) is None
        assert aggregator.window(MODEL, VERSION, 2).rows == 15

    def test_a_small_step_back_is_not_believed(self, aggregator, clock):
        deliver(fed(clock, 10), aggregator)
        clock._now = START - 30
        assert aggregator.silence_s(MODEL, VERSION) == 0
        clock._now = START + 7
        assert aggregator.silence_s(MODEL, VERSION) == 7


class TestSources:
    def test_silence_is_measured_per_version_and_ends_with_leaving(self, aggregator, clock):
        assert aggregator.silence_s(MODEL, VERSION) is None
        one = fed(clock, 1)
        deliver(one, aggregator)
        clock.advance(12)
        assert aggregator.silence_s(MODEL, VERSION) == 12
        assert aggregator.silence_s() is None, "no gateway yet"
        aggregator.receive(one.take(leaving=True))
        assert aggregator.silence_s(MODEL, VERSION) is None

    def test_versions_are_live_while_replicas_push_or_requests_come(self, aggregator, clock):
        deliver(fed(clock, 1), aggregator)
        other = Snapshot("asked", "2.0.0", counts={"ok": 3})
        aggregator.receive(told(1, other, Snapshot("labelled", "1.0.0", feedback={"labels": 3})))
        assert aggregator.live(60, 300) == [("asked", "2.0.0"), KEY]
        clock.advance(100)
        assert aggregator.live(60, 300) == [("asked", "2.0.0")]
        clock.advance(300)
        assert aggregator.live(600, 300) == [KEY]
        assert aggregator.live(60, 300) == []
        assert aggregator.versions() == [("asked", "2.0.0"), KEY, ("labelled", "1.0.0")]

    def test_the_dead_are_forgotten_after_a_day(self, aggregator, clock):
        deliver(fed(clock, 1, source="dead"), aggregator)
        clock.advance(FORGET_S + 61)
        deliver(fed(clock, 1, source="alive"), aggregator)
        assert [one.member.source for one in aggregator.sources()] == ["alive"]
        assert aggregator.versions() == [KEY]

    def test_many_sources_are_told_to_push_through_their_node(self, aggregator):
        acks = [aggregator.receive(Push((Member(f"r{n}", "i", 1, MODEL, VERSION),))) for n in range(NODES_FROM + 1)]
        assert [ack.through_node for ack in (acks[0], acks[-2], acks[-1])] == [False, False, True]


class TestBytes:
    def test_a_push_survives(self, clock):
        push = fed(clock, 10).take()
        assert decode_push(encode_push(push, 3.5)) == (push, 3.5)

    def test_snapshots_survive_whole(self):
        full = snapshot(
            3,
            codes={200: 3},
            rows=2**70,
            batch_sizes={1: 3},
            retries=1,
            predictions={"setosa": 2, -513: 1},
            feedback={"labels": 1, "value_micro": -(2**65)},
            shadow={"sent": 1},
            shadow_difference=LatencyHistogram.of([0.5]),
        )
        assert unpack_snapshots(pack_snapshots([full, snapshot(0)])) == (full, snapshot(0))
