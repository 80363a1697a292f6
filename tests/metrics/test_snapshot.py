from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from streamb.metrics import Outcome, Snapshot, VersionRecorder, merge

EVENTS = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from(["1.0.0", "2.0.0"]),
    st.sampled_from(list(Outcome)),
    st.floats(min_value=1e-6, max_value=100.0),
    st.integers(min_value=1, max_value=5000),
)
STATUS = {"ok": 200, "client_error": 422, "model_error": 500, "overload": 503, "timeout": 504, "unavailable": 503}


def record(events) -> list[Snapshot]:
    recorders: dict[tuple[str, str], VersionRecorder] = {}
    for model, version, outcome, seconds, rows in events:
        recorder = recorders.setdefault((model, version), VersionRecorder(model, version))
        recorder.called(rows)
        if outcome is Outcome.OK:
            recorder.answered(seconds, rows)
        else:
            recorder.failed(outcome, STATUS[outcome], seconds)
    return [recorder.snapshot(in_flight=1, queued=2) for recorder in recorders.values()]


@given(st.lists(st.tuples(EVENTS, st.integers(0, 4)), max_size=60), st.randoms(use_true_random=False))
def test_any_sharding_and_order_gives_what_a_single_gateway_counts(placed, shuffle):
    single = merge(record([event for event, _ in placed]))
    shards = [snapshot for place in range(5) for snapshot in record([e for e, at in placed if at == place])]
    shuffle.shuffle(shards)
    cut = shuffle.randint(0, len(shards))
    nested = merge([*merge(shards[:cut]), *merge(shards[cut:])])
    assert merge(shards) == nested
    gauges = ("in_flight", "queued")
    for one, other in zip(single, nested, strict=True):
        for field in fields(Snapshot):
            if field.name not in gauges:
                assert getattr(one, field.name) == getattr(other, field.name), field.name


def test_merging_adds_gauges_and_orders_by_model_and_version():
    merged = merge([Snapshot("b", "1", in_flight=1), Snapshot("a", "1"), Snapshot("b", "1", in_flight=2, queued=4)])
    assert [(one.model_id, one.in_flight, one.queued) for one in merged] == [("a", 0, 0), ("b", 3, 4)]


def test_client_errors_and_overload_never_count_against_a_version():
    snapshot = Snapshot(
        "m", "1", counts={"ok": 98, "client_error": 500, "overload": 50, "timeout": 1, "model_error": 1}
    )
    assert snapshot.blamed == 2
    assert snapshot.error_rate == 0.02
    assert snapshot.total == 650


def test_no_judged_answers_give_no_error_rate():
    assert Snapshot("m", "1", counts={"client_error": 5}).error_rate is None
