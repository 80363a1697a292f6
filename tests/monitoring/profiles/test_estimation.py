import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.errors import InvalidInput
from streamb.monitoring.profiles.estimation import NOTE, CalibrationTable, not_estimated
from streamb.store.plain import from_plain, to_plain


def population(seed, n, a=8, b=2, exponent=1.5):
    """Confidences, and whether the model was right: it is less right than it thinks."""
    random = np.random.default_rng(seed)
    confidence = random.beta(a, b, n)
    return confidence, random.random(n) < confidence**exponent


def table():
    return CalibrationTable.learn(*population(0, 20_000))


@pytest.mark.parametrize(("a", "b"), [(8, 2), (4, 2), (3, 3)])
def test_the_estimate_is_close_to_what_labels_would_say(a, b):
    """Rows that are harder than the baseline's, as the model itself judges them."""
    confidence, correct = population(1, 20_000, a, b)
    estimate = table().estimate(table().fold(confidence))
    assert estimate.accuracy == pytest.approx(correct.mean(), abs=0.02)
    assert estimate.low < estimate.accuracy < estimate.high
    assert estimate.rows == 20_000
    assert estimate.note == NOTE


def test_the_model_is_not_believed():
    confidence, correct = population(2, 20_000)
    estimate = table().estimate(table().fold(confidence))
    assert abs(confidence.mean() - correct.mean()) > 0.05
    assert estimate.accuracy == pytest.approx(correct.mean(), abs=0.01)


def test_bounds_hold_while_nothing_changed():
    inside = 0
    for seed in range(40):
        learned = CalibrationTable.learn(*population(100 + seed, 2000))
        confidence, correct = population(200 + seed, 1000)
        estimate = learned.estimate(learned.fold(confidence))
        inside += estimate.low <= correct.mean() <= estimate.high
    assert inside >= 34


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=60), st.integers(0, 60))
@settings(max_examples=30)
def test_folding_in_parts_is_folding_it_all(values, cut):
    learned = table()
    whole = learned.fold(values)
    assert whole.dtype == np.int64
    assert (learned.fold(values[:cut]) + learned.fold(values[cut:]) == whole).all()
    assert whole.sum() == sum(not math.isnan(one) for one in values)


def test_accuracy_does_not_fall_with_confidence():
    """By chance the higher bin did worse: both are taken together."""
    learned = CalibrationTable((0.5,), (100, 100), (80, 60))
    assert learned.estimate([200, 0]).accuracy == learned.estimate([0, 200]).accuracy == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("confidence", [[0.9] * 500, [1.0] * 250 + [0.0] * 250, [0.5, 0.9] * 250])
def test_few_different_confidences(confidence):
    learned = CalibrationTable.learn(confidence, [True, True, False, True, False] * 100)
    assert sum(learned.labels) == 500
    assert learned.estimate(learned.fold(confidence)).accuracy == pytest.approx(0.6, abs=0.01)


def test_too_few_rows_are_not_estimated():
    assert CalibrationTable.learn([0.9] * 99, [True] * 99) is None
    estimate = table().estimate(table().fold([0.9] * 99))
    assert estimate.accuracy is estimate.low is estimate.high is None
    assert "99" in estimate.note


def test_a_regression_is_not_estimated_and_says_so():
    assert not_estimated("regression").accuracy is None
    assert "numbers have no confidence" in not_estimated("regression").note
    assert "set_baseline" in not_estimated("classification").note
    assert to_plain(not_estimated("regression"))["is_estimate"]


@pytest.mark.parametrize("confidence", [[1.2] * 200, [-0.1] * 200, [[0.5, 0.5]] * 200, [0.5] * 199, [math.inf] * 200])
def test_wrong_confidences_are_refused(confidence):
    with pytest.raises(InvalidInput, match="confidence"):
        CalibrationTable.learn(confidence, [True] * 200)


def test_there_and_back_as_json():
    assert from_plain(CalibrationTable, to_plain(table())) == table()
