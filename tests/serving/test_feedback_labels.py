import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.errors import BadRequest, InvalidInput
from streamb.metrics.truth import same_class
from streamb.serving.labels import LIMIT, Feedback, compare


def decode(**document):
    return Feedback.decode(orjson.dumps({"request_id": "r", **document}))


def test_what_a_body_tells():
    assert decode(label="a") == Feedback("r", ("a",))
    assert decode(label=[1, None]) == Feedback("r", (1, None))
    assert decode(success=False, label=None) == Feedback("r", success=False)
    assert decode(label=0, success=False, value=0).fields == ("label", "success", "value")
    assert decode(value=-2.5).fields == ("value",)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"label": None},
        {"label": []},
        {"label": [None]},
        {"label": [[1]]},
        {"label": {"a": 1}},
        {"label": "x" * 1001},
        {"label": 1e13},
        {"label": [1] * 17},
        {"success": 1},
        {"success": "true"},
        {"value": "1"},
        {"value": True},
        {"value": -1e13},
        {"success": True, "value": [1]},
        {"lable": "a", "success": True},
        {"request_id": "", "success": True},
        {"request_id": 7, "success": True},
        {"request_id": None, "success": True},
        {"request_id": "r" * 3000, "success": True},
    ],
)
def test_what_is_refused(document):
    with pytest.raises(InvalidInput):
        decode(**document)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"value": NaN}'])
def test_what_is_not_json(body):
    with pytest.raises(BadRequest):
        Feedback.decode(body)


@pytest.mark.parametrize(
    ("label", "prediction"),
    [
        *((1, 1), (1, 1.0), ("1", 1), ("1.0", 1), (True, 1), (1.0, True), ("1e0", 1.0), ("+1", 1), ("-1", -1)),
        *(("true", True), ("False", False), ("FALSE", 0), ("a", "a"), ("0.5", 0.5), ("9007199254740993", 2**53 + 1)),
    ],
)
def test_the_same_class(label, prediction):
    assert same_class(label, prediction)
    assert same_class(prediction, label)


@pytest.mark.parametrize(
    ("label", "prediction"),
    [
        *((1, 2), ("01", "1"), ("1", "1.0"), ("a", "A"), ("a", 1), ("", 0), ("-", 0), ("nan", 0), ("1_0", 10)),
        *((True, 0), (True, 2), ("true", 2), (" 1", 1), ("9007199254740993", 2**53), ("1e999", 1)),
    ],
)
def test_another_class(label, prediction):
    assert not same_class(label, prediction)
    assert not same_class(prediction, label)


@given(st.text(max_size=20), st.one_of(st.integers(), st.floats(), st.booleans()))
def test_any_text_can_be_compared_with_any_number(text, number):
    assert same_class(text, number) == same_class(number, text)


@pytest.mark.parametrize(
    ("task", "predictions", "labels", "counts"),
    [
        ("classification", [0, 1], [0, "0"], {"labels": 2, "correct": 1}),
        ("classification", ["a", "b", "c"], ["a", None, "b"], {"labels": 2, "correct": 1}),
        ("classification", [1.0], ["cat"], {"labels": 1}),
        ("regression", [1.0, 5], [1.5, 3], {"labels": 2, "error_micro": 2_500_000, "squared_error_micro": 4_250_000}),
        ("regression", ["long"], ["long"], {"labels": 1, "correct": 1}),
        ("other", [-1], [-1], {"labels": 1, "correct": 1}),
        ("other", [-1], [1], {"labels": 1, "error_micro": 2_000_000, "squared_error_micro": 4_000_000}),
        ("other", [True, "a"], ["true", "b"], {"labels": 2, "correct": 1}),
    ],
)
def test_what_labels_count(task, predictions, labels, counts):
    assert {name: count for name, count in compare(task, predictions, labels).items() if count} == counts


def test_one_error_counts_for_no_more_than_the_limit():
    counts = compare("regression", [1e300], [0])
    assert counts["error_micro"] == int(LIMIT) * 10**6
    assert not compare("regression", [float("nan")], [0]), "a row that failed has no prediction to compare with"


@pytest.mark.parametrize(
    ("task", "predictions", "labels"),
    [
        ("classification", [1, 2], [1]),
        ("classification", [1], [1, 2]),
        ("regression", [1.0], ["1.0"]),
        ("regression", [1.0], [True]),
        ("other", [1], ["fraud"]),
    ],
)
def test_labels_that_do_not_fit(task, predictions, labels):
    with pytest.raises(InvalidInput):
        compare(task, predictions, labels)
