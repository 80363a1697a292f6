import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.models.outputs import predictions_of
from streamb.serving.pairs import MOST_PLACES, Pair, PairComparer

NAN, INF = float("nan"), float("inf")


def compared(said, other, task="regression", classes=None):
    one, two = predictions_of([said], 1), predictions_of([other], 1)
    return PairComparer().compare(one, two, task, classes)


@pytest.mark.parametrize(
    ("said", "other", "difference"),
    [
        (10.0, 10.0, 0.0),
        (10.0, 9.0, 0.1),
        (10.0, 8.0, 0.2),
        (1.0, -1.0, 2.0),
        (0.0, 0.0, 0.0),
        (0.0, 1e-300, 1.0),
        (1e308, -1e308, INF),
        (3, 4.0, 0.25),
        (NAN, NAN, 0.0),
        (NAN, 1.0, INF),
        (1.0, NAN, INF),
        (INF, INF, 0.0),
        (INF, 1.0, INF),
        ([1.0, 100.0], [1.0, 50.0], 0.5),
        ({"a": 10, "b": "x"}, {"a": 8, "b": "x"}, 0.2),
        ([[1, 2.0], [4]], [[1, 1.0], [4]], 0.5),
        ({"a": [1.0, {"b": 2.0}]}, {"a": [1.0, {"b": 2.0}]}, 0.0),
    ],
)
def test_numbers_agree_within_a_tenth(said, other, difference):
    pair = compared(said, other)
    assert pair.difference == pytest.approx(difference)
    assert (pair.agrees, pair.retyped) == (difference <= 0.1, False)


@pytest.mark.parametrize(
    ("said", "other"),
    [
        (1.0, "1.0"),
        (True, 1),
        ("a", ["a"]),
        ([1.0, 2.0], 1.0),
        ([1.0, 2.0], [1.0, 2.0, 3.0]),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": "one"}),
        ([{"a": 1}, 2], [{"a": 1}, "2"]),
    ],
)
@pytest.mark.parametrize("task", ["classification", "regression", "other"])
def test_another_type_or_shape_is_told_apart_from_another_value(said, other, task):
    assert compared(said, other, task) == compared(other, said, task) == Pair(agrees=False, retyped=True)


@pytest.mark.parametrize(
    ("said", "other", "agrees"),
    [
        ("a", "a", True),
        ("a", "b", False),
        (1, 1.0, True),
        (100, 101, False),
        (True, False, False),
        (None, None, True),
        (None, "a", False),
        (["a", "b"], ["a", "c"], False),
        ({"label": "a", "score": 0.5}, {"label": "a", "score": 0.501}, False),
    ],
)
def test_classes_must_be_equal(said, other, agrees):
    assert compared(said, other, "classification") == Pair(agrees=agrees)


def test_a_class_that_the_first_version_does_not_have_is_another_type():
    assert compared(1, 2, "classification", [0, 1]).retyped
    assert not compared(1, 0, "classification", [0, 1]).retyped
    assert not compared(1, 2, "classification", None).retyped
    assert not compared("a", "b", "classification", ["b"]).retyped
    assert not compared(["a"], ["b"], "classification", [["a"], ["c"]]).retyped, "several outputs are not looked up"


def test_numbers_near_zero_are_compared_with_what_is_usual_in_their_place():
    comparer = PairComparer()

    def pair(said, other):
        return comparer.compare(np.array([said]), np.array([other]), "regression")

    for _ in range(10):
        assert pair([100.0, 1.0], [100.0, 1.0]).agrees
    assert pair([0.001, 1.0], [0.002, 1.0]).agrees
    assert not pair([100.0, 0.1], [100.0, 0.5]).agrees, "each output has a size of its own"


def test_large_arrays_are_compared_at_once():
    comparer = PairComparer()
    said = np.linspace(0.5, 1.5, 10_000).reshape(1, 100, 100)
    assert comparer.compare(said, said, "other") == Pair(agrees=True, difference=0.0)
    other = said.copy()
    other[0, 5, 5] *= 2
    assert not comparer.compare(said, other, "other").agrees
    other[0, 5, 5] = NAN
    assert comparer.compare(said, other, "other") == Pair(agrees=False, difference=INF)
    assert comparer.compare(other, other, "other").agrees
    assert comparer.compare(said, said[:, :50], "other").retyped


def test_what_it_remembers_is_bounded():
    comparer = PairComparer()
    for key in range(MOST_PLACES + 500):
        row = predictions_of([{f"key {key}": 1.0}], 1)
        assert comparer.compare(row, row, "other").agrees
    assert len(comparer._sizes) <= MOST_PLACES + 1


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(values, values, st.sampled_from(["classification", "regression", "other"]))
def test_any_two_values_can_be_compared_and_each_agrees_with_itself(one, two, task):
    def held(value):
        array = np.empty(1, dtype=object)
        array[0] = value
        return array

    pair = PairComparer().compare(held(one), held(two), task)
    assert not (pair.agrees and pair.retyped)
    assert PairComparer().compare(held(one), held(one), task).agrees
    assert pair.agrees == PairComparer().compare(held(two), held(one), task).agrees
