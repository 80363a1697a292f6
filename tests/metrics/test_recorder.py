import math

import numpy as np
import pytest

from streamb import errors
from streamb.metrics import LatencyHistogram, Outcome, VersionRecorder, outcome_of


def test_counts_answers_rows_codes_and_calls():
    recorder = VersionRecorder("m", "1.0.0")
    recorder.called(rows=3)
    recorder.called(rows=4)
    recorder.answered(0.010, rows=3)
    recorder.answered(0.020, rows=4)
    recorder.failed(Outcome.CLIENT_ERROR, 422, 0.001)
    recorder.failed(Outcome.TIMEOUT, 504, 30.0)
    recorder.retried()
    snapshot = recorder.snapshot(in_flight=2, queued=1)
    assert snapshot.counts == {"ok": 2, "client_error": 1, "timeout": 1}
    assert snapshot.codes == {200: 2, 422: 1, 504: 1}
    assert snapshot.rows == snapshot.batch_rows == 7
    assert snapshot.batch_sizes == {2: 1, 3: 1}
    assert (snapshot.retries, snapshot.in_flight, snapshot.queued) == (1, 2, 1)


def test_latency_is_of_answers_that_the_version_had_a_part_in():
    recorder = VersionRecorder("m", "1.0.0")
    recorder.answered(0.5, rows=1)
    recorder.failed(Outcome.CLIENT_ERROR, 422, 0.0001)
    recorder.failed(Outcome.OVERLOAD, 503, 0.0001)
    recorder.failed(Outcome.TIMEOUT, 504, 30.0)
    assert recorder.snapshot().latency == LatencyHistogram.of([0.5, 30.0])


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.InvalidFeatures("x"), Outcome.CLIENT_ERROR),
        (errors.Unauthorized("x"), Outcome.CLIENT_ERROR),
        (errors.RequestTimeout("x"), Outcome.CLIENT_ERROR),
        (errors.ModelFailed("x"), Outcome.MODEL_ERROR),
        (errors.StreambError("x"), Outcome.MODEL_ERROR),
        (errors.Overloaded("x"), Outcome.OVERLOAD),
        (errors.Unavailable("x"), Outcome.UNAVAILABLE),
        (errors.BreakerOpen("x"), Outcome.REFUSED),
        (errors.DeadlineExceeded("x"), Outcome.TIMEOUT),
    ],
)
def test_outcome_of_an_error(error, outcome):
    assert outcome_of(error) is outcome


def test_counts_predictions_fallbacks_feedback_and_the_shadow():
    recorder = VersionRecorder("m", "1.0.0")
    recorder.predicted(np.array(["a", "b", "a"]), "classification")
    recorder.fell_back()
    recorder.learned("labels", 2)
    recorder.learned("correct")
    recorder.learned("error_micro", 1_500_000)
    recorder.shadowed("sent")
    recorder.differed(0.25)
    snapshot = recorder.snapshot()
    assert snapshot.predictions == {"a": 2, "b": 1}
    assert snapshot.fallbacks == 1
    assert snapshot.feedback == {"labels": 2, "correct": 1, "error_micro": 1_500_000}
    assert snapshot.shadow == {"sent": 1}
    assert snapshot.shadow_difference == LatencyHistogram.of([0.25])
    assert snapshot.counts == {}, "none of this is an answer of the version"


@pytest.mark.parametrize("count", [VersionRecorder.learned, VersionRecorder.shadowed])
def test_a_key_that_nobody_reads_is_refused(count):
    with pytest.raises(KeyError):
        count(VersionRecorder("m", "1.0.0"), "lables")


@pytest.mark.parametrize("relative", [1e9, math.inf, math.nan])
def test_a_difference_without_measure_is_counted_as_a_large_one(relative):
    recorder = VersionRecorder("m", "1.0.0")
    recorder.differed(relative)
    assert recorder.snapshot().shadow_difference == LatencyHistogram.of([1000.0])
