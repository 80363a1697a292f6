import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.metrics.predictions import (
    LAST_BUCKET,
    LONGEST_LABEL,
    MOST_LABELS,
    MOST_VALUES,
    NAN,
    OTHER,
    PredictionCounter,
    bucket_of,
    bucket_value,
    comparable,
    countable,
    label_of,
    names_of,
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


def test_the_classes_of_the_version_have_a_place_and_the_rest_is_first_come_first_kept():
    counter = PredictionCounter(["zebra", "yak"])
    counter.count(np.array([f"{number:04d}" for number in range(100)]), "classification")
    counter.count(np.array(["yak", "aardvark"]), "classification")
    counts = counter.counts()
    assert counts["yak"] == 1
    assert sorted(counts) == [*(f"{number:04d}" for number in range(MOST_LABELS - 2)), OTHER, "yak"]
    assert counts[OTHER] == 101 - (MOST_LABELS - 2)


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (None, set()),
        ([0.0, 1.0, True], {"0", "1", "True"}),
        ([["a", "b"], ["b", 3]], {"a", "b", "3"}),
        (range(64), {str(number) for number in range(64)}),
        (range(65), set()),
        ([OTHER, "a"], {"a"}),
    ],
)
def test_names_of_classes(classes, names):
    assert names_of(classes) == names


GROWTH = st.lists(st.lists(st.integers(0, 400), min_size=1, max_size=80), max_size=12)


@given(GROWTH, st.sampled_from([(), ["7", "399"]]))
def test_no_count_of_a_recorder_ever_decreases_and_the_total_is_exact(batches, classes):
    counter, before = PredictionCounter(classes), {}
    for number, batch in enumerate(batches, 1):
        counter.count(np.array(batch), "classification")
        counts = counter.counts()
        assert all(counts[key] >= count for key, count in before.items())
        assert sum(counts.values()) == sum(map(len, batches[:number]))
        assert len(counts) <= MOST_LABELS + 1
        assert all(counts.get(name, 0) == sum(batch.count(int(name)) for batch in batches[:number]) for name in classes)
        before = counts


LABELS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50))


@given(LABELS, LABELS, st.integers(0, 9), st.integers(0, 9))
def test_what_is_compared_has_the_same_names_and_the_same_totals(left, right, left_other, right_other):
    left = {**left, **({OTHER: left_other} if left_other else {})}
    right = {**right, **({OTHER: right_other} if right_other else {})}
    mine, theirs = comparable(left, right)
    assert (sum(mine.values()), sum(theirs.values())) == (sum(left.values()), sum(right.values()))
    if left_other and right_other:
        assert mine.keys() - {OTHER} == theirs.keys() - {OTHER} == (left.keys() & right.keys()) - {OTHER}
    if not left_other and not right_other:
        assert (mine, theirs) == (left, right)


def test_nan_takes_no_place_and_is_never_folded():
    counter = PredictionCounter()
    counter.count(np.array([f"{number}" for number in range(100)]), "classification")
    counter.count(np.array([np.nan]), "regression")
    assert counter.counts()[NAN] == 1
    assert comparable({NAN: 3, "a": 1}, {OTHER: 5})[0] == {NAN: 3, OTHER: 1}


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
