import json
import math

import numpy as np
import pandas as pd
import pytest

from streamb.errors import InvalidInput
from streamb.monitoring.profiles.performance import Performance
from streamb.store.plain import from_plain, to_plain


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [
        (["a", "b"] * 50, ["a", "a"] * 50),
        (np.array([1, 0] * 50), np.array([1.0, 1.0] * 50)),
        ([True, False] * 50, [1, 1] * 50),
        (["1", "0"] * 50, [1.0, 1.0] * 50),
        (pd.Series(["x", "y"] * 50, dtype="category"), pd.Series(["x", "x"] * 50)),
        (pd.Series([1, 0] * 50, dtype="Int64"), [1, 1] * 50),
        (np.array([["a"], ["b"]] * 50), ["a", "a"] * 50),
        ([1, "b"] * 50, ["1", "a"] * 50),
    ],
)
def test_classes_are_compared_however_they_are_written(predictions, labels):
    found = Performance.learn(predictions, labels)
    assert (found.task, found.labels, found.errors) == ("classification", 100, 50)
    assert found.accuracy == found.error_rate == 0.5


@pytest.mark.parametrize("none", [None, math.nan, pd.NA, pd.NaT])
def test_rows_without_a_label_are_left_out(none):
    labels = pd.Series(["a", none] * 50, dtype=object)
    found = Performance.learn(["a", "b"] * 50, labels)
    assert (found.labels, found.errors) == (50, 0)


def test_numbers_with_fractions_are_a_regression():
    found = Performance.learn(np.arange(100) + 0.5, np.arange(100))
    assert (found.task, found.labels) == ("regression", 100)
    assert (found.mean_loss, found.loss_scale, found.accuracy) == (0.5, 0.0, None)
    assert found.loss_micro == 50_000_000


def test_so_are_whole_numbers_of_many_values_and_what_is_called_one():
    assert Performance.learn(np.arange(100), np.arange(100)).task == "regression"
    assert Performance.learn([1, 2] * 50, [1, 3] * 50, task="regression").mean_loss == 0.5
    assert Performance.learn(np.arange(100), np.arange(100), task="classification").accuracy == 1.0


def test_confidences_come_with_the_labels():
    confidence = np.linspace(0.5, 1.0, 400)
    labels = ["a"] * 300 + [None] * 100
    found = Performance.learn(["a"] * 400, labels, confidence)
    assert sum(found.calibration.labels) == 300
    assert Performance.learn(["a"] * 50, ["a"] * 50, confidence[:50]).calibration is None
    assert Performance.learn(np.arange(400) / 7, np.arange(400), confidence).calibration is None


@pytest.mark.parametrize(
    ("predictions", "labels", "confidence", "words"),
    [
        (["a"] * 50, ["a"] * 49, None, "50 predictions but 49 labels"),
        (["a"] * 29, ["a"] * 29, None, "29 rows have a label"),
        (["a"] * 50, [None] * 50, None, "0 rows have a label"),
        (np.zeros((50, 2)), np.zeros(50), None, "one value for each row"),
        ([0.5, math.nan] * 50, [0.25, 0.5] * 50, None, "is not a number"),
        (["a"] * 200, ["a"] * 200, [0.5] * 100, "one number for each of 200 rows"),
        (["a"] * 200, ["a"] * 200, ["high"] * 200, "confidence must be numbers"),
    ],
)
def test_what_does_not_fit_is_refused(predictions, labels, confidence, words):
    with pytest.raises(InvalidInput, match=words):
        Performance.learn(predictions, labels, confidence)


def test_an_unknown_task_and_a_regression_of_words_are_refused():
    with pytest.raises(InvalidInput, match="task must be"):
        Performance.learn([1] * 50, [1] * 50, task="ranking")
    with pytest.raises(InvalidInput, match="needs numbers"):
        Performance.learn(["a"] * 50, ["a"] * 50, task="regression")


def test_a_wild_error_counts_for_no_more_than_feedback_lets_it():
    found = Performance.learn([0.5] * 49 + [1e300], [0.5] * 50)
    assert found.mean_loss == pytest.approx(1e12 / 50)


def test_there_and_back_as_json():
    learned = Performance.learn(["a", "b"] * 200, ["a"] * 400, np.linspace(0, 1, 400))
    assert from_plain(Performance, json.loads(json.dumps(to_plain(learned)))) == learned
    numbers = Performance.learn(np.arange(100) + 0.5, np.arange(100))
    assert from_plain(Performance, to_plain(numbers)) == numbers
