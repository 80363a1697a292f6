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
    return recorder.snapshot(in_flight=1, queued=1)


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
    assert samples["streamb_gateways", ()] == 2
    assert any(name == "streamb_build_info" for name, _ in samples)


def test_histograms_are_cumulative_and_end_in_the_count():
    samples = scrape(gateway())

    def bucket(name, le):
        return samples[name, (("le", le), ("model", "m"), ("version", "1.0.0"))]

    assert [bucket("streamb_request_duration_seconds_bucket", le) for le in ("0.0025", "0.005", "+Inf")] == [0, 1, 2]
    assert [bucket("streamb_batch_rows_bucket", le) for le in ("1.0", "3.0", "+Inf")] == [0, 1, 1]
    assert samples["streamb_request_duration_seconds_sum", (("model", "m"), ("version", "1.0.0"))] == 20.004


def test_nothing_counted_is_still_a_valid_exposition():
    assert scrape()["streamb_gateways", ()] == 2
