import math

import numpy as np
import pytest

from benchmarks.concept import conclude, known, median_delay
from benchmarks.concept_streams import STREAM, Measured, delay, false_alarms, independent, measure, seasonal, sticky


@pytest.mark.parametrize("kind", [independent, sticky, seasonal])
def test_every_stream_has_the_error_rate_that_it_should(kind):
    drawn = np.array(kind(np.random.default_rng(1), 0.2, 100_000))
    assert drawn.mean() == pytest.approx(0.2, abs=0.01)
    copied = np.corrcoef(drawn[:-1], drawn[1:])[0, 1]
    assert copied == pytest.approx(0.2 if kind is sticky else 0.0, abs=0.02)


def test_a_detector_is_made_anew_after_each_alarm():
    made = []

    def make(_):
        made.append(0)

        def step(wrong):
            made[-1] += wrong
            return made[-1] == 3

        return step

    assert false_alarms(make, np.random.default_rng(), [1, 0, 1, 1, 1, 1, 0, 1, 1]) == 2
    assert made == [3, 3, 1]
    assert delay(lambda _: lambda wrong: False, np.random.default_rng(), 0.3) is None


def test_an_alarm_that_never_came_is_later_than_any_other():
    assert median_delay([5, None, 7]) == 7
    assert median_delay([5, None, None]) == math.inf


def test_goals_are_judged():
    delays = {"0.25": [100, 200, 900], "0.3": [None, None, 7], "0.4": [110]}
    lines = conclude(Measured("ours", [1, 1, 2], delays, [], [], 1.0))
    assert [passed for passed, _ in lines] == [False, True, False, True]
    assert "4 in 300,000" in lines[0][1]
    assert "2 missed" in lines[2][1]


def test_our_detector_is_measured(monkeypatch):
    monkeypatch.setattr("benchmarks.concept_streams.STREAM", 2000)
    monkeypatch.setattr("benchmarks.concept_streams.RISES", (0.4,))
    found = measure("ours", known, streams=1, odd_streams=1, runs=1, seed=0)
    assert STREAM == 100_000
    assert found.alarms == [0]
    assert 0 < found.delays["0.4"][0] < 500
