from streamb.metrics import VersionRecorder
from streamb.serving.fallback import first_limit_s
from streamb.serving.usual import Usual


def looked(*latencies, rows=1):
    recorder, usual = VersionRecorder("m", "1"), Usual()
    for seconds in latencies:
        recorder.answered(seconds, rows)
    usual.look(recorder.snapshot(), 100.0)
    return usual


def test_half_of_the_time_while_too_little_is_known():
    assert first_limit_s(Usual(), 1, 30.0) == 15.0
    assert first_limit_s(looked(*[0.01] * 49), 1, 30.0) == 15.0


def test_three_times_the_p99_but_a_second_at_least_and_half_of_the_time_at_most():
    assert first_limit_s(looked(*[0.01] * 50), 1, 30.0) == 1.0
    assert abs(first_limit_s(looked(*[0.6] * 50), 1, 30.0) - 1.8) < 0.03
    assert first_limit_s(looked(*[9.0] * 50), 1, 30.0) == 15.0
    assert first_limit_s(looked(*[0.01] * 50), 1, 1.0) == 0.5


def test_a_request_with_more_rows_than_usual_may_take_longer():
    usual = looked(*[0.5] * 50, rows=10)
    assert abs(first_limit_s(usual, 10, 30.0) - 1.5) < 0.03
    assert abs(first_limit_s(usual, 40, 30.0) - 6.0) < 0.1
    assert first_limit_s(usual, 20_000, 30.0) == 15.0


def test_what_counts_is_the_last_minute():
    recorder, usual = VersionRecorder("m", "1"), Usual()
    for second in range(100):
        for _ in range(10):
            recorder.answered(2.0 if second < 30 else 0.5, 1)
        usual.look(recorder.snapshot(), float(second))
    assert abs(usual.allows_s(1) - 1.5) < 0.03


def test_counts_that_begin_anew_are_taken_as_they_are():
    recorder, usual = VersionRecorder("m", "1"), Usual()
    for second in range(100):
        recorder.answered(2.0, 1)
        usual.look(recorder.snapshot(), float(second))
    recorder = VersionRecorder("m", "1")
    for _ in range(50):
        recorder.answered(0.5, 1)
    usual.look(recorder.snapshot(), 100.0)
    assert abs(usual.allows_s(1) - 1.5) < 0.03


def test_of_a_quiet_version_everything_counts():
    recorder, usual = VersionRecorder("m", "1"), Usual()
    for second in range(300):
        if second < 60:
            recorder.answered(0.5, 1)
        usual.look(recorder.snapshot(), float(second))
    assert abs(usual.allows_s(1) - 1.5) < 0.03
