import pickle
import random
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
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
STATUS = {"ok": 200, "client_error": 422, "model_error": 500, "overload": 503, "refused": 503, "timeout": 504}
STATUS |= {"unavailable": 503, "abandoned": 499}


def record(events) -> list[Snapshot]:
    recorders: dict[tuple[str, str], VersionRecorder] = {}
    for model, version, outcome, seconds, rows in events:
        recorder = recorders.setdefault((model, version), VersionRecorder(model, version))
        recorder.called(rows)
        recorder.predicted(np.array([rows % 60]), "classification" if rows % 2 else "regression")
        recorder.learned("labels")
        recorder.learned("value_micro", rows - 2500)
        recorder.shadowed("sent")
        recorder.differed(seconds)
        if rows % 3 == 0:
            recorder.fell_back()
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


GATEWAYS = st.lists(st.tuples(EVENTS, st.integers(0, 4)), max_size=60)


def one_version(placed, *shards: int) -> Snapshot:
    """What the gateways `shards` counted together, of one version."""
    events = [("m", "1", *event[2:]) for event, at in placed if at in shards]
    return replace((record(events) or [Snapshot("m", "1")])[0], in_flight=0, queued=0)


@given(GATEWAYS)
def test_minus_undoes_merge(placed):
    counted = [one_version(placed, shard) for shard in range(5)]
    together = merge(counted)[0]
    for one in counted:
        rest = together.minus(one)
        assert merge([rest, one]) == [together]
        assert merge([one, rest]) == [together]


@given(GATEWAYS)
def test_what_is_left_is_what_the_others_counted(placed):
    one, rest = one_version(placed, 0, 1), one_version(placed, 2, 3, 4)
    assert merge([one, rest])[0].minus(one) == rest


@given(GATEWAYS, st.randoms(use_true_random=False))
def test_differences_over_time_add_up(placed, shuffle: random.Random):
    recorder_states = [one_version(placed[:end], *range(5)) for end in range(len(placed) + 1)]
    stops = sorted(shuffle.sample(range(len(recorder_states)), min(4, len(recorder_states))))
    states = [Snapshot("m", "1"), *(recorder_states[stop] for stop in stops)]
    steps = [later.minus(earlier) for earlier, later in pairwise(states)]
    shuffle.shuffle(steps)
    assert merge(steps) == [states[-1]]


@given(GATEWAYS)
def test_nothing_is_left_of_itself_and_nothing_taken_away_changes_nothing(placed):
    snapshot = one_version(placed, *range(5))
    assert snapshot.minus(snapshot) == Snapshot("m", "1")
    assert snapshot.minus(Snapshot("m", "1")) == snapshot


@pytest.mark.parametrize(
    "earlier",
    [
        {"counts": {"ok": 5}},
        {"counts": {"timeout": 1}},
        {"codes": {200: 5}},
        {"rows": 9},
        {"fallbacks": 1},
        {"predictions": {"a": 5}},
        {"predictions": {"gone": 1}},
        {"feedback": {"labels": 2}},
        {"shadow": {"sent": 1}},
    ],
    ids=str,
)
def test_a_counter_that_went_back_means_that_everything_is_new(earlier):
    later = Snapshot("m", "1", counts={"ok": 3}, codes={200: 3}, rows=3, predictions={"a": 3}, in_flight=2)
    assert later.minus(Snapshot("m", "1", **earlier)) == later


def test_a_sum_of_values_may_fall():
    later = Snapshot("m", "1", feedback={"values": 2, "value_micro": -5})
    earlier = Snapshot("m", "1", feedback={"values": 1, "value_micro": 3})
    assert later.minus(earlier).feedback == {"values": 1, "value_micro": -8}
    assert merge(
        [Snapshot("m", "1", feedback={"value_micro": 3}), Snapshot("m", "1", feedback={"value_micro": -3})]
    ) == [Snapshot("m", "1")]


def test_only_snapshots_of_the_same_version_are_subtracted():
    with pytest.raises(ValueError, match="m 2 is not m 1"):
        Snapshot("m", "1").minus(Snapshot("m", "2"))


def test_gauges_of_a_difference_are_the_present_ones():
    later, earlier = Snapshot("m", "1", in_flight=1, queued=0), Snapshot("m", "1", in_flight=4, queued=3)
    assert (later.minus(earlier).in_flight, later.minus(earlier).queued) == (1, 0)


def test_a_snapshot_travels():
    snapshot = record([("m", "1", Outcome.OK, 0.1, 4)])[0]
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot
    assert (snapshot.ok, snapshot.judged) == (1, 1)
