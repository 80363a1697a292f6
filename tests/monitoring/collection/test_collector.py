import threading

import numpy as np
import pytest

from streamb.clock import ManualClock
from streamb.monitoring.collection import collector as collector_module
from streamb.monitoring.collection.collector import FOLD_ROWS, MOST_PANES
from streamb.monitoring.collection.push import Ack, decode_counts
from tests.monitoring.sources import COLUMNS, KEY, START, baseline, collector, fed, table


@pytest.fixture
def clock():
    return ManualClock(START)


def counts_of(push):
    return [decode_counts(one) for one in push.panes]


class TestFolding:
    def test_any_batches_fold_to_what_one_table_folds_to(self, clock):
        rows, predictions = table(5_000)
        one = collector(clock, baseline=baseline())
        for start in range(0, 5_000, 37):
            one.observe(rows[start : start + 37], predictions[start : start + 37])
        one.fold()
        assert counts_of(one.take()) == [baseline().fold(rows, predictions)]

    def test_lists_of_rows_fold_like_arrays(self, clock):
        rows, predictions = table(100)
        one = collector(clock, baseline=baseline())
        one.observe(rows.tolist(), predictions)
        one.observe(rows, predictions)
        one.fold()
        profile = baseline().fold(rows, predictions)
        assert counts_of(one.take()) == [profile.plus(profile)]

    def test_a_baseline_with_its_columns_in_another_order_is_fed_by_name(self, clock):
        rows, predictions = table(500)
        one = collector(clock, columns=["c", "a", "b"], baseline=baseline())
        one.observe(rows[:, [2, 0, 1]], predictions)
        one.fold()
        assert counts_of(one.take()) == [baseline().fold(rows, predictions)]

    def test_rows_that_do_not_fit_are_counted_as_unreadable_and_stop_nothing(self, clock, caplog):
        rows, predictions = table(50)
        one = collector(clock, baseline=baseline())
        for _ in range(3):
            one.observe(rows[:, :2], predictions)
            one.observe(rows, predictions)
        one.fold()
        (pane,) = one.take().panes
        assert (pane.rows, pane.unreadable) == (150, 150)
        assert len(caplog.records) == 1, "said once"

    def test_a_thread_folds_by_itself(self, clock):
        one = collector(clock, baseline=baseline())
        one.start()
        rows, predictions = table(FOLD_ROWS)
        one.observe(rows, predictions)
        one.close()
        assert not any(thread.name == "fold" for thread in threading.enumerate())
        assert sum(pane.rows for pane in one.take().panes) == FOLD_ROWS

    def test_a_full_buffer_drops_and_counts(self, clock, monkeypatch):
        monkeypatch.setattr(collector_module, "CAPACITY_ROWS", 100)
        one = collector(clock, baseline=baseline())
        monkeypatch.setattr(one, "_capacity", 100)
        rows, predictions = table(30)
        for _ in range(5):
            one.observe(rows, predictions)
        one.fold()
        (pane,) = one.take().panes
        assert (pane.rows, pane.dropped, one.dropped) == (90, 60, 60)

    def test_wide_rows_are_bounded_by_their_values(self, clock, monkeypatch):
        monkeypatch.setattr(collector_module, "CAPACITY_CELLS", 2_000 * 3)
        one = collector(clock, baseline=baseline())
        rows, predictions = table(1_500)
        one.observe(rows, predictions)
        one.fold()
        one.observe(rows, predictions)
        one.observe(rows, predictions)
        one.fold()
        assert (sum(pane.rows for pane in one.take().panes), one.dropped) == (3_000, 1_500)


class TestPushing:
    def test_the_same_push_comes_again_until_it_is_acknowledged_and_newer_rows_wait(self, clock):
        one = fed(clock, 100)
        first = one.take()
        for seed in (1, 2):
            one.observe(*table(50, seed))
            one.fold()
        assert one.take() is first
        one.acknowledged(first, Ack())
        second = one.take()
        assert [push.members[0].sequence for push in (first, second)] == [1, 2]
        assert counts_of(second) == [baseline().fold(*table(50, 1)).plus(baseline().fold(*table(50, 2)))]

    def test_an_answer_that_comes_late_does_not_acknowledge_the_next_push(self, clock):
        one = fed(clock, 10)
        first = one.take()
        one.acknowledged(first, Ack())
        second = one.take()
        one.acknowledged(first, Ack())
        assert one.take() is second

    def test_a_push_of_nothing_still_says_who_is_there(self, clock):
        push = collector(clock, baseline=baseline()).take()
        assert push.empty
        assert push.members[0].baseline_id == baseline().baseline_id

    def test_minutes_stay_apart(self, clock):
        one = fed(clock, 10)
        clock.advance(60)
        one.observe(*table(20))
        one.fold()
        assert [(pane.pane - START // 60, pane.rows) for pane in one.take().panes] == [(0, 10), (1, 20)]

    def test_an_hour_without_answers_is_told_coarser_but_whole(self, clock):
        one = collector(clock, baseline=baseline())
        rows, predictions = table(3)
        for _ in range(MOST_PANES + 40):
            one.observe(rows, predictions)
            one.fold()
            clock.advance(60)
        panes = one.take().panes
        assert (len(panes), sum(pane.rows for pane in panes)) == (MOST_PANES, 3 * (MOST_PANES + 40))

    def test_leaving_is_said_with_the_last_push(self, clock):
        one = fed(clock, 10)
        assert one.take(leaving=True).members[0].leaving


class TestBaselines:
    def test_what_was_folded_by_the_old_one_is_pushed_as_such(self, clock):
        one = fed(clock, 100)
        new = baseline(seed=7)
        push = one.take()
        one.acknowledged(push, Ack(baselines={KEY: new.to_bytes()}))
        one.observe(*table(10, 1))
        one.fold()
        one.set_baseline(baseline())
        one.observe(*table(20, 2))
        one.fold()
        panes = {pane.baseline_id: decode_counts(pane) for pane in one.take().panes}
        assert panes == {
            new.baseline_id: new.fold(*table(10, 1)),
            baseline().baseline_id: baseline().fold(*table(20, 2)),
        }

    def test_a_damaged_baseline_changes_nothing(self, clock, caplog):
        one = fed(clock, 10)
        one.acknowledged(one.take(), Ack(baselines={KEY: baseline(seed=7).to_bytes()[:-3]}))
        assert one.baseline_id == baseline().baseline_id
        assert "damaged" in caplog.text

    def test_without_one_there_is_a_sketch_to_make_one_of(self, clock):
        one = collector(clock)
        rows, predictions = table(4_000)
        for start in range(0, 4_000, 100):
            one.observe(rows[start : start + 100], predictions[start : start + 100])
        one.fold()
        (pane,) = one.take().panes
        sketch = decode_counts(pane)
        assert (pane.rows, pane.baseline_id) == (4_000, "")
        found = sketch.table()
        assert list(found) == [*COLUMNS, "prediction"]
        assert np.mean(found["b"]) == pytest.approx(10.0, abs=0.3)
        assert np.std(found["b"]) == pytest.approx(2.0, abs=0.3)
