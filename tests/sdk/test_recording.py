"""Predictions and labels on their way to counts: the join by request id, what waits, and what is bounded."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from streamb.clock import ManualClock
from streamb.monitoring.profiles.baseline import Baseline
from streamb.sdk.label_join import LabelJoin
from streamb.sdk.recording import BATCH, MOST_WAITING, LabelNote, Recording, note_prediction


def joined(prediction, label, task=None):
    join = LabelJoin()
    join.predicted("r", prediction)
    return dict(join.labelled("r", label, task))


class TestJoin:
    @pytest.mark.parametrize(
        ("prediction", "label", "correct"),
        [
            ("a", "a", 1), ("a", "b", 0), (1, "1", 1), (np.int64(2), 2, 1), (np.str_("x"), "x", 1), (1.0, 1, 1),
            (0.7, True, 1), (0.3, True, 0), (0.3, False, 1), (True, np.bool_(True), 1), (np.array([3]), 3, 1),
        ],
    )  # fmt: skip
    def test_a_class_is_met_or_not(self, prediction, label, correct):
        found = joined(prediction, label)
        assert (found["labels"], found.get("correct", 0)) == (1, correct)

    def test_a_number_is_off_by_so_much(self):
        found = joined(2.5, 2.0)
        assert (found["labels"], found["error_micro"], "correct" in found) == (1, 500_000, False)

    def test_a_probability_is_a_class_where_the_baseline_says_so(self):
        assert joined(0.8, 1, "classification") == {"labels": 1, "correct": 1}

    def test_a_second_label_is_a_duplicate_and_an_unknown_one_an_orphan(self):
        join = LabelJoin()
        join.predicted("r", "a")
        assert join.labelled("r", "a", None)["correct"] == 1
        join.predicted("r", "b")
        assert dict(join.labelled("r", "b", None)) == {"duplicates": 1}
        assert dict(join.labelled("nobody", "b", None)) == {"orphans": 1}

    def test_a_label_of_the_wrong_kind_leaves_the_prediction_for_a_right_one(self):
        join = LabelJoin()
        join.predicted("r", 2.5)
        assert dict(join.labelled("r", {"a": 1}, "regression")) == {"unjoinable": 1}
        assert join.labelled("r", 2.0, "regression")["labels"] == 1

    @pytest.mark.parametrize("none", [None, float("nan"), pd.NA, pd.NaT, np.float64("nan")])
    @pytest.mark.parametrize("prediction", ["a", 2.5])
    def test_a_missing_label_is_none_and_the_prediction_waits_on(self, none, prediction):
        join = LabelJoin()
        join.predicted("r", prediction)
        assert dict(join.labelled("r", none, None)) == {"unjoinable": 1}
        assert join.labelled("r", prediction, None)["labels"] == 1

    @pytest.mark.parametrize("prediction", [[0.1, 0.9], np.array([0.1, 0.9]), {"a": 1}])
    def test_several_values_are_neither_right_nor_wrong(self, prediction):
        assert joined(prediction, 1) == {"unjoinable": 1}
        assert joined(1, prediction) == {"unjoinable": 1}

    def test_only_so_many_are_remembered(self):
        join = LabelJoin(most=3)
        for index in range(10):
            join.predicted(f"r{index}", 1)
        assert dict(join.labelled("r6", 1, None)) == {"orphans": 1}
        assert join.labelled("r7", 1, None)["correct"] == 1


def predict(recording: Recording, index: int, latency_ms: float = 10.0, *, failed: bool = False) -> bool:
    return recording.note(note_prediction(f"r{index}", 1, {"a": 1.0}, latency_ms, None, failed=failed))


class TestCounting:
    def test_everything_noted_before_a_flush_is_counted(self):
        recording = Recording("m", ManualClock(), window_minutes=60)
        for index in range(3 * BATCH + 7):
            predict(recording, index)
        predict(recording, -1, failed=True)
        recording.note(LabelNote("r3", 1))
        recording.flush()
        total = recording.total()
        assert (total.ok, total.blamed, total.feedback) == (3 * BATCH + 7, 1, {"labels": 1, "correct": 1})
        assert total.latency.mean_s == pytest.approx(0.01)

    def test_nothing_is_lost_when_nobody_folds(self):
        recording = Recording("m", ManualClock(), window_minutes=60)
        count = MOST_WAITING + 5 * BATCH
        full = [predict(recording, index) for index in range(count)]
        assert full.index(True) == BATCH - 1
        assert recording.total().ok >= count - MOST_WAITING - 1
        recording.flush()
        assert recording.total().ok == count

    @pytest.mark.parametrize("odd", [float("nan"), float("inf"), -5.0, 1e300])
    def test_an_odd_latency_breaks_nothing(self, odd):
        recording = Recording("m", ManualClock(), window_minutes=60)
        predict(recording, 1, odd)
        recording.flush()
        assert recording.total().latency.count == 1

    def test_a_prediction_that_never_came_back_is_not_a_quick_one(self):
        recording = Recording("m", ManualClock(), window_minutes=60)
        predict(recording, 1, float("inf"))
        recording.flush()
        assert recording.total().latency.mean_s > 1000

    def test_whatever_is_noted_the_others_are_counted(self, caplog):
        recording = Recording("m", ManualClock(), window_minutes=60)
        chance = np.random.default_rng(0).random(300)
        recording.use(Baseline.learn({"a": chance}, chance > 0.5, chance > 0.4, confidence=chance))
        odd = [None, 5.0, "text", object(), {"a": 10**400}, {"a": object()}, {1: 2}, [[1, 2], [3]], [], {"a": [1, 2]}]
        for place in range(100):
            features = odd[place // 10] if place % 10 == 0 else {"a": 0.5}
            confidence = ["high", None, pd.NA, 7, np.float64(0.5)][place % 5]
            recording.note(note_prediction(f"r{place}", True, features, 1.0, confidence, failed=False))
            recording.note(LabelNote(f"r{place}", [True, None, [1, 2], object(), np.array([1, 2])][place % 5]))
        recording.flush()
        told = recording.recorded()
        assert (told.predictions, told.labels + told.unjoinable) == (100, 100)
        assert recording.window().rows == 100 - told.misfits >= 90
        assert recording.confidences().sum() == 20
        assert "does not see" in caplog.text

    def test_a_latency_that_is_no_number_is_the_callers_mistake(self):
        with pytest.raises(ValueError, match="fast"):
            note_prediction("r", 1, {}, "fast", None, failed=False)
