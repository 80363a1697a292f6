import re
from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from streamb.metrics import Outcome, VersionRecorder, prometheus_text


def scrape(*snapshots):
    text = prometheus_text(snapshots, gateways=2, version="0.1.0").decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return samples


def gateway():
    recorder = VersionRecorder("m", "1.0.0")
    recorder.called(rows=3)
    recorder.answered(0.004, rows=3)
    recorder.failed(Outcome.TIMEOUT, 504, 20.0)
    recorder.waited(1.5)
    return recorder.snapshot(in_flight=1, queued=1, overdue=1)


def test_exposes_every_family_of_all_gateways_together():
    samples = scrape(gateway(), gateway())
    version = (("model", "m"), ("version", "1.0.0"))
    assert samples["streamb_requests_total", (("code", "200"), *version)] == 2
    assert samples["streamb_requests_total", (("code", "504"), *version)] == 2
    assert samples["streamb_outcomes_total", (("model", "m"), ("outcome", "timeout"), ("version", "1.0.0"))] == 2
    assert samples["streamb_rows_total", version] == 6
    assert samples["streamb_requests_in_flight", version] == 2
    assert samples["streamb_queue_length", version] == 2
    assert samples["streamb_call_retries_total", version] == 0
    assert samples["streamb_queue_wait_seconds_total", version] == 3.0
    assert samples["streamb_requests_overdue", version] == 2
    assert samples["streamb_disturbed_total", version] == 0
    assert samples["streamb_gateways", ()] == 2
    assert any(name == "streamb_build_info" for name, _ in samples)


def test_histograms_are_cumulative_and_end_in_the_count():
    samples = scrape(gateway())

    def bucket(name, le):
        return samples[name, (("le", le), ("model", "m"), ("version", "1.0.0"))]

    assert [bucket("streamb_request_duration_seconds_bucket", le) for le in ("0.0025", "0.005", "+Inf")] == [0, 1, 2]
    assert [bucket("streamb_batch_rows_bucket", le) for le in ("1.0", "3.0", "+Inf")] == [0, 1, 1]
    assert samples["streamb_request_duration_seconds_sum", (("model", "m"), ("version", "1.0.0"))] == 20.004


def learner():
    recorder = VersionRecorder("m", "1.0.0")
    recorder.fell_back()
    recorder.predicted(np.array([0, 1, 1]), "classification")
    recorder.predicted(np.array([-5.0, 0.0, 0.5, 20.0]), "regression")
    for key, by in {"labels": 2, "error_micro": 3_000_000, "values": 1, "value_micro": -500_000, "late": 1}.items():
        recorder.learned(key, by)
    recorder.shadowed("sent", 3)
    recorder.differed(0.05)
    return recorder.snapshot()


def test_exposes_predictions_feedback_and_the_shadow():
    samples = scrape(learner(), learner())
    version = (("model", "m"), ("version", "1.0.0"))

    def of(name, **labels):
        return samples[name, tuple(sorted((*version, *labels.items())))]

    assert of("streamb_fallbacks_total") == 2
    assert of("streamb_predictions_total", prediction="1") == 4
    assert [of("streamb_prediction_value_bucket", le=le) for le in ("-1.0", "0.0", "1.0", "+Inf")] == [2, 4, 6, 8]
    assert of("streamb_feedback_total", kind="late") == 2
    assert (of("streamb_feedback_error_sum"), of("streamb_feedback_error_count")) == (6.0, 4)
    assert (of("streamb_feedback_value_sum"), of("streamb_feedback_value_count")) == (-1.0, 2)
    assert of("streamb_shadow_total", result="sent") == 6
    assert [of("streamb_shadow_difference_bucket", le=le) for le in ("0.01", "0.1", "+Inf")] == [0, 2, 2]


def test_sums_are_no_kind_of_feedback_and_numbers_no_class():
    names = [(name, dict(labels)) for name, labels in scrape(learner())]
    assert not [labels for _, labels in names if labels.get("kind", "").endswith("_micro")]
    assert {labels["prediction"] for name, labels in names if name == "streamb_predictions_total"} == {"0", "1"}


def test_every_family_is_documented():
    documented = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    exported = re.findall(r"^# TYPE (\w+)", prometheus_text([], gateways=1, version="0").decode(), re.MULTILINE)
    created = [name for name in exported if name.endswith("_created")]
    assert [name for name in exported if name not in created and f"`{name}" not in documented] == []


def test_nothing_counted_is_still_a_valid_exposition():
    assert scrape()["streamb_gateways", ()] == 2
