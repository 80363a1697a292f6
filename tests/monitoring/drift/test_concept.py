import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.errors import InvalidInput
from streamb.metrics import Snapshot
from streamb.monitoring.drift.concept import (
    ErrorDetector,
    LossDetector,
    baseline_confidence,
    detector_for,
    detector_from_json,
)
from streamb.monitoring.drift.concept_alarm import RUN_LENGTH
from streamb.monitoring.drift.drift import Sensitivity
from streamb.monitoring.profiles.performance import Performance
from streamb.store.plain import to_plain

pytestmark = pytest.mark.slow

LARGE = 10**8  # so many labels that the baseline's error is known


def known(sensitivity=Sensitivity.MEDIUM):
    return ErrorDetector(LARGE // 5, LARGE, sensitivity)


def feed(detector, errors, batch=5):
    """A few labels at a time until the alarm; how many it took, or None."""
    for at, wrong in enumerate(errors.reshape(-1, batch).sum(1).tolist(), 1):
        detector.update(batch, wrong)
        if detector.drifted:
            return at * batch
    return None


def delays(make, rate, seeds=15):
    found = []
    for seed in range(seeds):
        random = np.random.default_rng([7, seed])
        detector = make()
        detector.update(1000, 200)
        found.append(feed(detector, random.random(5000) < rate) or math.inf)
    return found


@pytest.mark.parametrize(("rate", "most"), [(0.25, 800), (0.3, 250), (0.4, 110)])
def test_a_rise_is_found_soon(rate, most):
    assert np.median(delays(known, rate)) <= most


def test_the_more_sensitive_the_sooner():
    low, medium, high = (np.median(delays(lambda s=s: known(s), 0.3, 9)) for s in ("low", "medium", "high"))
    assert high < medium < low


def test_false_alarms_are_rarer_than_promised():
    """At high sensitivity one in 10,000 labels at most: the promise that a short test can see."""
    alarms, labels, detector = 0, 200_000, known(Sensitivity.HIGH)
    for wrong in np.random.default_rng(3).binomial(10, 0.2, labels // 10).tolist():
        detector.update(10, wrong)
        if detector.drifted:
            alarms += 1
            detector.reset()
    assert alarms <= labels / RUN_LENGTH[Sensitivity.HIGH] * 1.3


def test_fewer_errors_than_in_the_baseline_are_no_drift():
    detector = known()
    assert feed(detector, np.random.default_rng(1).random(20_000) < 0.1) is None
    assert detector.report().status == "stable"


@given(st.integers(1, 10**6), st.sampled_from(list(Sensitivity)))
@settings(max_examples=50)
def test_the_bound_is_held_less_surely_the_larger_the_baseline(labels, sensitivity):
    assert 0.7 <= baseline_confidence(labels + 1, sensitivity) <= baseline_confidence(labels, sensitivity) < 1
    assert baseline_confidence(labels, Sensitivity.LOW) >= baseline_confidence(labels, Sensitivity.HIGH)


def test_the_report_says_since_when_and_how_far():
    detector = ErrorDetector(1000, 5000)
    for minute in range(20):
        detector.update(100, 20, at=minute * 60.0)
    for minute in range(20, 30):
        detector.update(100, 32, at=minute * 60.0)
    found = detector.report()
    assert found.status == "drifted"
    assert found.drifted
    assert (found.baseline, found.current) == (0.2, 0.32)
    assert found.since_label == 1000
    assert found.since == 19 * 60.0
    assert found.evidence == 1.0
    assert found.summary == (
        "the error rate has risen from 20.0 % to 32.0 % (since about 1970-01-01T00:19:00Z, over the last 1,000 labels)"
    )
    json.dumps(to_plain(found))


def test_calm_reports():
    detector = ErrorDetector(1000, 5000)
    assert detector.report().status == "no_labels"
    assert "no labels yet" in detector.report().summary
    detector.update(500, 100)
    found = detector.report()
    assert (found.status, found.drifted, found.labels) == ("stable", False, 500)
    assert 0 <= found.evidence < 1
    assert "500 labels show no rise of the error rate over the baseline's 20.0 %" in found.summary


def test_an_alarm_ends_when_the_errors_are_back_and_the_next_one_is_another():
    detector = known()
    detector.update(1000, 200)
    detector.update(100_000, 40_000)
    assert detector.drifted
    batches = 0
    while detector.drifted:
        detector.update(100, 20)
        batches += 1
    assert 3 <= batches <= 60  # neither at the first calm batch, nor as long as the drift had lasted
    assert detector.report().labels == 0
    detector.update(300, 120, at=5.0)
    assert detector.drifted
    assert detector.report().since_label == 300


def test_it_does_not_flutter_while_the_errors_stay_high():
    detector = known()
    assert feed(detector, np.random.default_rng(2).random(3000) < 0.3) is not None
    for wrong in np.random.default_rng(4).binomial(5, 0.3, 1000).tolist():
        detector.update(5, wrong)
        assert detector.drifted


def test_a_reset_starts_anew():
    detector = known()
    detector.update(1000, 500)
    detector.reset()
    assert (detector.drifted, detector.report().labels, detector.evidence) == (False, 0, 0.0)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1)), max_size=20), st.integers(0, 20))
@settings(max_examples=30)
def test_a_restart_at_any_point_changes_nothing(batches, cut):
    batches = [(count, round(count * share)) for count, share in batches]
    numbers = Performance("regression", 5000, loss_micro=10**9, loss_square_micro=3 * 10**8)
    for make in (lambda: ErrorDetector(50, 400), lambda: detector_for(numbers)):
        through, stopped = make(), make()
        for at, (labels, wrong) in enumerate(batches):
            feedback = {"labels": labels, "correct": labels - wrong, "error_micro": wrong * 900_000}
            feedback["squared_error_micro"] = wrong * 810_000
            through.observe(feedback, at=float(at))
            if at == cut:
                stopped = detector_from_json(json.loads(json.dumps(stopped.to_json())))
            stopped.observe(feedback, at=float(at))
        assert stopped.to_json() == through.to_json()
        assert stopped.report() == through.report()


def test_a_state_of_another_kind_is_refused_and_one_of_other_bets_begins_anew():
    document = ErrorDetector(50, 400).to_json()
    with pytest.raises(InvalidInput, match="no concept detector"):
        detector_from_json({**document, "kind": "seasons"})
    assert detector_from_json({**document, "log_sums": [3.0], "count": 7}).report().labels == 0


def test_labels_come_as_the_gateways_count_them():
    detector = ErrorDetector(1000, 5000)
    detector.observe(Snapshot("m", "1", feedback={"labels": 300, "correct": 150}).feedback)
    assert detector.drifted
    detector.observe({})
    assert detector.report().labels == 300


def test_labels_of_the_other_kind_say_nothing():
    classes, numbers = ErrorDetector(10, 5000), LossDetector(1.0, 1.0, 5000)
    for _ in range(50):
        classes.observe({"labels": 100, "error_micro": 10**9, "squared_error_micro": 10**10})
        numbers.observe({"labels": 100, "correct": 1})
    assert (classes.report().labels, numbers.report().labels) == (0, 0)
    # A version whose task nobody knows counts both.
    both = {"labels": 100, "correct": 1, "error_micro": 10**9, "squared_error_micro": 10**10}
    for detector in (classes, numbers):
        detector.observe(both)
        assert detector.report().labels == 100


@pytest.mark.parametrize(("errors", "labels"), [(0, 100), (100, 100), (0, 10**7), (1, 30)])
def test_baselines_without_errors_or_full_of_them(errors, labels):
    detector = ErrorDetector(errors, labels)
    for _ in range(20):
        detector.update(100, round(100 * errors / labels))
        assert math.isfinite(detector.evidence)
    assert not detector.drifted
    if errors < labels:
        detector.update(200, 200)
        assert detector.drifted


@pytest.mark.parametrize(("errors", "labels"), [(1, 0), (0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(errors, labels):
    with pytest.raises(InvalidInput):
        ErrorDetector(errors, labels)
    if labels:
        with pytest.raises(InvalidInput):
            ErrorDetector(1, 5).update(labels, errors)


# --- losses of a regression ---------------------------------------------------------------------------------------


def losses(seed, n, spread=1.0, kind="normal"):
    random = np.random.default_rng([11, seed])
    drawn = random.normal(0, spread, n) if kind == "normal" else spread * random.standard_t(3, n)
    return np.abs(drawn)


def regression(sensitivity=Sensitivity.MEDIUM, kind="normal"):
    base = losses(0, 5000, kind=kind)
    return LossDetector(float(base.mean()), float(base.std()), base.size, sensitivity)


@pytest.mark.parametrize("kind", ["normal", "heavy tails"])
def test_larger_errors_are_found(kind):
    found = []
    for seed in range(1, 10):
        detector, taken = regression(kind=kind), 0
        while not detector.drifted and taken < 5000:
            batch = losses(seed * 1000 + taken, 10, 1.3, kind)
            detector.update(batch.size, float(batch.sum()), float((batch**2).sum()))
            taken += 10
        found.append(taken)
    assert np.median(found) <= (250 if kind == "normal" else 700)


@pytest.mark.parametrize("kind", ["normal", "heavy tails"])
def test_errors_as_usual_are_not(kind):
    detector, alarms = regression(Sensitivity.HIGH, kind), 0
    drawn = losses(99, 100_000, kind=kind).reshape(-1, 10)
    for total, squares in zip(drawn.sum(1).tolist(), (drawn**2).sum(1).tolist(), strict=True):
        detector.update(10, total, squares)
        if detector.drifted:
            alarms += 1
            detector.reset()
    assert alarms <= 10


def test_numbers_come_as_the_gateways_count_them():
    detector = detector_for(Performance("regression", 5000, loss_micro=4 * 10**9, loss_square_micro=5 * 10**9))
    detector.observe({"labels": 500, "error_micro": 600 * 10**6, "squared_error_micro": 10**9})
    found = detector.report()
    assert found.drifted
    assert found.measure == "mean absolute error"
    assert (found.baseline, found.current) == (pytest.approx(0.8), pytest.approx(1.2, abs=1e-5))
    assert found.summary == "the mean absolute error has risen from 0.8 to 1.2 (over the last 500 labels)"


def test_a_perfect_baseline():
    detector = detector_for(Performance("regression", 500))
    detector.observe({"labels": 1000})
    assert not detector.drifted
    detector.observe({"labels": 100, "error_micro": 10**6, "squared_error_micro": 10**5})
    assert detector.drifted


def test_impossible_sums_are_refused():
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidInput):
            regression().update(10, bad, 1.0)
        with pytest.raises(InvalidInput):
            LossDetector(bad, 1.0, 100)
    with pytest.raises(InvalidInput):
        LossDetector(1.0, 1.0, 0)
