import json
from types import MappingProxyType

import pytest

from streamb.errors import InvalidInput
from streamb.metrics import LatencyHistogram, Snapshot
from streamb.metrics.criteria import Verdict
from streamb.monitoring.drift.concept import ErrorDetector
from streamb.monitoring.drift.drift import DriftReport, Sensitivity
from streamb.monitoring.health.health import HealthJudge, Metrics, Status, Thresholds, metrics_of
from streamb.monitoring.profiles.estimation import not_estimated

GUIDE = Thresholds.read({"max_latency_ms": 200, "min_accuracy": 0.8, "max_error_rate": 0.05, "max_drift_score": 0.3})
INTERVAL = 10.0


def metrics(requests=1000, errors=0, latency_ms=150.0, labels=0, wrong=0, seconds=10.0, **counts):
    durations = LatencyHistogram.of([latency_ms / 1e3] * requests)
    feedback = {"labels": labels, "correct": labels - wrong}
    tally = {"ok": requests - errors, "model_error": errors}
    return metrics_of(Snapshot("m", "1", counts=tally, latency=durations, feedback=feedback, **counts), seconds)


def drift(score, status=None, threshold=0.3):
    status = status or ("drifted" if score > threshold else "stable")
    return DriftReport(status, score, {}, {}, None, 5000, Sensitivity.MEDIUM, f"drift of {score}", threshold)


class Watch:
    """A judge with a clock."""

    def __init__(self, thresholds=GUIDE):
        self.judge = HealthJudge(thresholds, interval_s=INTERVAL)
        self.now = 1000.0

    def look(self, seen=None, drifted=None, concept=None, *, after=INTERVAL, stale=False):
        self.now += after
        return self.judge.judge(seen or metrics(), drifted, concept, stale=stale, now=self.now)

    def statuses(self, *looks):
        return [str(self.look(seen).status) for seen in looks]


# --- thresholds ---------------------------------------------------------------------------------------------------


def test_thresholds_of_the_guide():
    assert (GUIDE.max_latency_ms, GUIDE.min_accuracy, GUIDE.min_throughput) == (200, 0.8, None)
    assert Thresholds.read(GUIDE.to_json()) == GUIDE
    assert Thresholds.read({}) == Thresholds()


def test_every_wrong_threshold_is_named():
    options = {"max_latency": 5, "min_accuracy": 80, "max_error_rate": "low", "min_throughput": -1, "max_latency_ms": 0}
    with pytest.raises(InvalidInput, match="performance_thresholds") as caught:
        Thresholds.read(MappingProxyType(options))
    problems = caught.value.details["problems"]
    assert len(problems) == 5
    assert "max_latency is unknown; there are max_drift_score, max_error_rate, max_latency_ms" in "; ".join(problems)
    assert "min_accuracy must be less than or equal to 1, not 80" in problems
    assert "max_error_rate must be a valid number, not 'low'" in problems
    for bad in (True, float("nan"), float("inf"), [1]):
        with pytest.raises(InvalidInput, match=r"must be a (valid|finite) number"):
            Thresholds.read({"max_drift_score": bad})


# --- metrics ------------------------------------------------------------------------------------------------------


def test_the_average_is_exact_and_percentiles_are_within_one_percent():
    found = metrics_of(Snapshot("m", "1", latency=LatencyHistogram.of([0.1] * 98 + [0.5, 2.0])), 10)
    assert found.average_latency_ms == pytest.approx(123.0, abs=1e-6)
    assert found.p50_latency_ms == pytest.approx(100, rel=0.01)
    assert found.p99_latency_ms == pytest.approx(500, rel=0.01)


def test_mistakes_of_clients_are_nobodys_errors():
    counted = Snapshot("m", "1", counts={"ok": 6, "client_error": 50, "overload": 9, "timeout": 2})
    found = metrics_of(counted, 2.0)
    assert (found.requests, found.errors, found.error_rate, found.throughput) == (8, 2, 0.25, 3.0)
    assert found.waiting


def test_labels_of_classes_and_of_numbers():
    assert metrics(labels=10, wrong=4).accuracy == 0.6
    assert metrics(labels=10, wrong=4).mean_absolute_error is None
    # What comes to nothing is absent from a snapshot: no right label at all.
    assert metrics_of(Snapshot("m", "1", feedback={"labels": 7}), 1).accuracy == 0.0
    numbers = metrics_of(Snapshot("m", "1", feedback={"labels": 4, "error_micro": 6_000_000}), 1)
    assert (numbers.accuracy, numbers.wrong, numbers.mean_absolute_error) == (None, 0, 1.5)
    perfect = metrics_of(Snapshot("m", "1", feedback={"labels": 4}), 1, task="regression")
    assert (perfect.accuracy, perfect.mean_absolute_error) == (None, 0.0)


def test_where_labels_can_be_either_the_task_decides():
    counted = Snapshot("m", "1", feedback={"labels": 4, "error_micro": 6_000_000, "correct": 1})
    assert metrics_of(counted, 1).accuracy == metrics_of(counted, 1, task="classification").accuracy == 0.25
    numbers = metrics_of(counted, 1, task="regression")
    assert (numbers.accuracy, numbers.wrong, numbers.mean_absolute_error) == (None, 0, 1.5)


def test_nothing_counted_is_nothing_known():
    found = metrics_of(Snapshot("m", "1"), 0.0)
    assert found == Metrics()
    assert "latency" not in found.to_json()
    json.dumps(found.to_json())


# --- health -------------------------------------------------------------------------------------------------------


def test_calm_is_healthy_and_says_nothing():
    health = Watch().look(metrics(labels=500, wrong=20), drift(0.05))
    assert health.status == "healthy"
    assert health.reasons == ()
    assert {one.criterion for one in health.findings} == {"error_rate", "p95_latency", "accuracy", "drift_score"}
    assert all(one.verdict is Verdict.PASS for one in health.findings)


def test_one_error_in_five_requests_does_not_make_it_unhealthy():
    watch = Watch()
    health = watch.look(metrics(requests=5, errors=1))
    assert health.status == "healthy"
    assert health.findings[0].verdict is Verdict.INCONCLUSIVE


def test_but_it_is_worth_a_word_when_it_lasts():
    watch = Watch()
    few = metrics(requests=5, errors=1)
    assert watch.statuses(few, few, few) == ["healthy", "healthy", "degraded"]


def test_asking_often_hurries_nothing():
    watch, few = Watch(), metrics(requests=5, errors=1)
    assert {str(watch.look(few, after=0.01).status) for _ in range(100)} == {"healthy"}
    watch = Watch()
    watch.look(metrics(errors=500))
    assert {str(watch.look(after=0.01).status) for _ in range(100)} == {"unhealthy"}


@pytest.mark.parametrize(
    ("seen", "status", "words"),
    [
        (metrics(errors=120), "unhealthy", "error rate 12.0 % of 1,000 requests, at most 5.0 % allowed"),
        (metrics(requests=5, errors=5), "unhealthy", "error rate 100.0 % of 5 requests"),
        (metrics(latency_ms=300), "degraded", "p95 latency 29"),
        (metrics(latency_ms=900), "unhealthy", "p95 latency 9"),
        (metrics(labels=200, wrong=80), "unhealthy", "accuracy 60.0 % of 200 labels, at least 80.0 % wanted"),
    ],
)
def test_what_is_proven_counts_at_once(seen, status, words):
    health = Watch().look(seen)
    assert health.status == status
    assert len(health.reasons) == 1
    assert words in health.reasons[0]


def test_the_worst_reason_comes_first():
    health = Watch().look(metrics(errors=400, latency_ms=300), drift(0.5))
    assert health.status == "unhealthy"
    assert [reason[:5] for reason in health.reasons] == ["error", "p95 l", "drift"]


def test_it_gets_better_only_after_three_calm_looks():
    watch = Watch()
    bad, near, calm = metrics(errors=100), metrics(errors=45), metrics(errors=10)
    assert watch.statuses(bad, near, near, near, near) == ["unhealthy"] * 5  # within the limit, but not calm
    assert watch.statuses(calm, calm, near, calm, calm) == ["unhealthy"] * 5
    health = watch.look(calm)
    assert health.status == "healthy"
    assert health.reasons == ()


def test_a_reason_says_where_things_are_by_now():
    watch = Watch()
    watch.look(metrics(errors=100))
    reason = watch.look(metrics(errors=10)).reasons[0]
    assert reason.startswith("error rate 10.0 % of 1,000 requests")
    assert "by now: error rate 1.0 %" in reason


def test_unhealthy_becomes_degraded_when_it_is_only_that_for_a_while():
    watch = Watch()
    far, beyond = metrics(latency_ms=900), metrics(latency_ms=300)
    assert watch.statuses(far, beyond, beyond, beyond, beyond) == ["unhealthy"] * 3 + ["degraded"] * 2


def test_no_requests_any_more_is_calm():
    watch, idle = Watch(), metrics(requests=0)
    assert watch.statuses(metrics(errors=100), idle, idle, idle) == ["unhealthy"] * 3 + ["healthy"]


def test_little_traffic_is_degraded_only_when_it_lasts_or_others_wait():
    wanted = Thresholds(min_throughput=50)
    slow = metrics(requests=100)
    assert Watch(wanted).statuses(slow, slow, slow) == ["healthy", "healthy", "degraded"]
    health = Watch(wanted).look(metrics(requests=100, queued=7))
    assert health.status == "degraded"
    assert health.reasons == ("10 requests/s answered, 50 wanted, while others waited",)
    assert Watch(wanted).look(metrics(requests=800)).status == "healthy"


def test_drift_degrades_and_heals_below_four_fifths_of_its_limit():
    watch = Watch()
    scores = [0.1, 0.5, 0.28, 0.28, 0.28, 0.2, 0.2, 0.2]
    found = [str(watch.look(drifted=drift(score)).status) for score in scores]
    assert found == ["healthy"] + ["degraded"] * 6 + ["healthy"]


@pytest.mark.parametrize("report", [drift(0.31), drift(0.9)])
def test_what_drifted_is_degraded_with_or_without_a_threshold(report):
    assert Watch().look(drifted=report).status == "degraded"
    assert Watch(Thresholds()).look(drifted=report).status == "degraded"


def test_drift_that_might_be_chance_never_counts():
    watch = Watch(Thresholds(max_drift_score=0.1))
    assert {str(watch.look(drifted=drift(0.25)).status) for _ in range(9)} == {"healthy"}
    health = watch.look(drifted=drift(0.9, "insufficient_data"))
    assert health.status == "healthy"
    assert health.findings[0].value is None


def test_concept_drift_degrades():
    detector = ErrorDetector(1000, 5000)
    watch = Watch()
    assert watch.look(concept=detector.report()).status == "healthy"
    detector.update(1000, 330)
    health = watch.look(concept=detector.report())
    assert health.status == "degraded"
    assert health.reasons == (detector.report().summary,)
    assert health.concept.drifted


def test_silence_is_unknown_and_neither_heals_nor_lasts():
    watch, calm = Watch(), metrics()
    few = metrics(requests=5, errors=1)
    watch.look(metrics(errors=100))
    assert watch.statuses(calm, calm) == ["unhealthy"] * 2
    health = watch.look(calm, stale=True)
    assert (str(health.status), health.reasons) == ("unknown", ("no report for 3 intervals",))
    assert watch.statuses(calm, calm, calm) == ["unhealthy"] * 2 + ["healthy"]
    watch.look(few)
    watch.look(few, stale=True)
    assert watch.statuses(few, few) == ["healthy", "healthy"]


def test_a_restarted_judge_goes_on():
    watch, calm = Watch(), metrics()
    assert watch.statuses(metrics(errors=100), calm, calm) == ["unhealthy"] * 3
    after = Watch()
    after.now = watch.now
    after.judge.restore(json.loads(json.dumps(watch.judge.to_json())))
    assert after.statuses(calm) == ["healthy"]


def test_a_clock_that_was_set_back_only_makes_it_wait():
    watch, calm = Watch(), metrics()
    watch.statuses(metrics(errors=100), calm)
    watch.now = 0.0
    assert watch.statuses(calm, calm, calm) == ["unhealthy"] * 2 + ["healthy"]


def test_as_json():
    watch = Watch()
    watch.now = 0.0
    health = watch.judge.judge(
        metrics(labels=9, wrong=1),
        drift(0.1),
        ErrorDetector(10, 100).report(),
        stale=False,
        now=5.0,
        estimated=not_estimated("regression"),
    )
    document = json.loads(json.dumps(health.to_json()))
    assert document["status"] == Status.HEALTHY
    assert document["updated_at"] == 5.0
    assert document["current_metrics"]["p95_latency_ms"] == pytest.approx(150, rel=0.01)
    assert document["estimated_accuracy"]["is_estimate"]
    assert document["findings"][0]["verdict"] == "pass"
