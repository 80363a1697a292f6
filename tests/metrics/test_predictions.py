import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.metrics.predictions import (
    LAST_BUCKET,
    LONGEST_LABEL,
    MOST_LABELS,
    MOST_VALUES,
    OTHER,
    PredictionCounter,
    add,
    bucket_of,
    bucket_value,
    countable,
    label_of,
)

MAGNITUDES = st.floats(min_value=2.0**-32, max_value=2.0**47)


def counted(values, task="other", **array):
    counter = PredictionCounter()
    counter.count(np.asarray(values, **array), task)
    return counter.counts()


@given(MAGNITUDES, st.sampled_from([1.0, -1.0]))
def test_a_bucket_speaks_for_its_numbers_within_one_part_in_33(magnitude, sign):
    number = sign * magnitude
    assert abs(bucket_value(bucket_of(number)) - number) <= magnitude / 33 * (1 + 1e-12)


@given(st.lists(st.floats(allow_nan=False), min_size=2))
def test_buckets_are_in_the_order_of_the_numbers(numbers):
    buckets = [bucket_of(number) for number in sorted(numbers)]
    assert buckets == sorted(buckets)
    assert all(abs(bucket) <= LAST_BUCKET for bucket in buckets)


@pytest.mark.parametrize(
    ("number", "bucket"),
    [(0.0, 0), (-0.0, 0), (1e-300, 0), (-1e-300, 0), (1e300, LAST_BUCKET), (-np.inf, -LAST_BUCKET)],
)
def test_numbers_out_of_range_are_counted_in_the_outermost_buckets(number, bucket):
    assert bucket_of(number) == bucket
    assert counted([number, number]) == {bucket: 2}


def test_the_type_and_layout_of_an_array_do_not_matter():
    table = np.arange(12).reshape(3, 4)
    expected = counted(table.astype(float))
    assert sum(expected.values()) == 12
    assert counted(table.astype(np.uint8)) == counted(np.asfortranarray(table.astype(">f4"))) == expected
    assert counted(table[:, ::2]) == counted(table[:, ::2].copy())


@pytest.mark.parametrize(
    ("values", "task", "expected"),
    [
        (np.array([0, 1, 1]), "classification", {"0": 1, "1": 2}),
        (np.array([0.0, 1.0, 1.0], np.float32), "classification", {"0": 1, "1": 2}),
        (np.array(["a", "b", "a"]), "classification", {"a": 2, "b": 1}),
        (np.array(["a", "b", "a"]), "regression", {"a": 2, "b": 1}),
        (np.array([True, False, True]), "other", {"True": 2, "False": 1}),
        (np.array([True, 1, "1", None], object), "classification", {"True": 1, "1": 2, "None": 1}),
        (np.array([[0, 1], [1, 1]]), "classification", {"0": 1, "1": 3}),
        (np.array([1.0, 1.0, -1.0]), "regression", {513: 2, -513: 1}),
        (np.array([1, 0]), "other", {513: 1, 0: 1}),
        (np.array([]), "regression", {}),
    ],
)
def test_what_is_a_label_and_what_a_number(values, task, expected):
    assert counted(values, task) == expected


def test_labels_are_cut_and_bounded():
    many = counted([f"{number:04d}" for number in range(1000)])
    assert len(many) == MOST_LABELS + 1
    assert many["0063"] == 1
    assert many[OTHER] == 1000 - MOST_LABELS
    assert list(counted(["x" * 1000, "x" * 999])) == ["x" * LONGEST_LABEL]


def test_labels_of_numpy_scalars_are_those_of_numbers():
    assert [label_of(one) for one in (np.float32(3.0), np.int8(3), 2.5, np.str_("a"))] == ["3", "3", "2.5", "a"]


MANY_LABELS = st.lists(st.tuples(st.integers(0, 90), st.integers(0, 3)), max_size=400)


@given(MANY_LABELS, st.randoms(use_true_random=False))
def test_bounded_labels_merge_exactly_in_any_sharding_order_and_grouping(placed, shuffle: random.Random):
    single = counted([label for label, _ in placed], "classification")
    shards = [counted([label for label, at in placed if at == shard], "classification") for shard in range(4)]
    shuffle.shuffle(shards)
    assert add(shards) == add([add(shards[:2]), add(shards[2:])]) == add([single]) == single
    assert sum(single.values()) == len(placed)


@given(st.lists(st.lists(st.integers(0, 400), min_size=1, max_size=300), max_size=6))
def test_folding_on_the_way_changes_nothing(batches):
    counter = PredictionCounter()
    for batch in batches:
        counter.count(np.array(batch), "classification")
    assert counter.counts() == counted([label for batch in batches for label in batch], "classification")


@pytest.mark.parametrize("task", ["other", "classification", "regression"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.fromiter([{"a": 1}, {"b": 2}, [1, [2]]], object, 3), {"object": 2, "list": 1}),
        (np.zeros((3, 2, 2)), {"list": 3}),
        (np.zeros((2, MOST_VALUES + 1)), {"list": 2}),
        (np.array(["a", None], object), {"a": 1, "None": 1}),
    ],
)
def test_structured_predictions_are_counted_by_their_type(values, expected, task):
    counter = PredictionCounter()
    counter.count(values, task)
    assert counter.counts() == expected


@pytest.mark.parametrize("values", [np.zeros((2, MOST_VALUES)), np.array(["a", "b"], object), np.empty(0)])
def test_other_predictions_are_counted_as_they_are(values):
    assert countable(values) is values
