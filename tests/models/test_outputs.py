from datetime import date
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from streamb.errors import InvalidFeatures, ModelFailed, Overloaded
from streamb.models.exact_arrays import as_array
from streamb.models.named_outputs import joined, positions, row_values
from streamb.models.outputs import (
    answer_of,
    bad_rows,
    class_labels,
    predictions_of,
    probabilities_of,
)
from streamb.models.shown_outputs import outputs_of
from streamb.models.signature import Output
from tests.models.test_json_values import JSON

ROWS = ("rows", "expected", "kind")


def table():
    """What a model returns for two rows, the predictions in JSON, and the kind of the output."""
    box = {"label": "dog", "score": 0.5}
    times = np.array(["2026-01-01", "2026-01-02"], dtype="M8[D]")
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    outputs = {"logits": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "label": ["x", "y"]}
    return [
        ("floats", np.array([0.5, 1.5]), [0.5, 1.5], "number"),
        ("integers", np.array([1, 2], np.int8), [1, 2], "integer"),
        ("booleans", np.array([True, False]), [True, False], "boolean"),
        ("texts", np.array(["a", "bc"]), ["a", "bc"], "text"),
        ("texts as objects", np.array(["a", "b"], object), ["a", "b"], "text"),
        ("texts as bytes", np.array([b"a", b"b"]), ["a", "b"], "text"),
        ("a list of texts", ["a", "b"], ["a", "b"], "text"),
        ("a text with a null character at its end", ["a\0", "b"], ["a\0", "b"], "text"),
        ("a list of numbers", [1, 2.5], [1, 2.5], "number"),
        ("numbers that no float holds", [2**53 + 1, 0.5], [2**53 + 1, 0.5], "any"),
        ("numbers and texts", ["a", 1], ["a", 1], "any"),
        ("numbers and booleans", [True, 2], [True, 2], "any"),
        ("missing values", [None, 1.5], [None, 1.5], "any"),
        ("vectors", np.eye(2), [[1, 0], [0, 1]], "tensor"),
        ("lists", [[1, 2], [3, 4]], [[1, 2], [3, 4]], "tensor"),
        ("lists of different lengths", [[1, 2], [3]], [[1, 2], [3]], "list"),
        ("arrays of different lengths", [np.arange(2), np.arange(1)], [[0, 1], [0]], "list"),
        ("rows as tuples", ((1, 2), (3, 4)), [[1, 2], [3, 4]], "tensor"),
        ("a tuple of arrays", (np.array([1, 2]), np.eye(2)), [[1, [1, 0]], [2, [0, 1]]], "named"),
        (
            "a dict of arrays",
            {"a": np.array([1, 2]), "b": np.eye(2)},
            [{"a": 1, "b": [1, 0]}, {"a": 2, "b": [0, 1]}],
            "named",
        ),
        ("a dict of tensors", outputs, [{"logits": [1, 2], "label": "x"}, {"logits": [3, 4], "label": "y"}], "named"),
        ("dicts inside a dict", {"a": {"b": np.array([1, 2])}}, [{"a": {"b": 1}}, {"a": {"b": 2}}], "named"),
        ("a list of dicts", [box, box], [box, box], "object"),
        ("lists of dicts", [[box], [box, box]], [[box], [box, box]], "list"),
        ("a dict in an array", np.asarray({"a": [1, 2]}), [{"a": 1}, {"a": 2}], "named"),
        ("a DataFrame", frame, [{"a": 1, "b": "x"}, {"a": 2, "b": None}], "named"),
        ("a Series", pd.Series([1.5, 2.5]), [1.5, 2.5], "number"),
        ("a Series of categories", pd.Series(["a", "b"], dtype="category"), ["a", "b"], "text"),
        ("a tensor", torch.tensor([1.5, 2.5]), [1.5, 2.5], "number"),
        ("a list of tensors", [torch.tensor(1.0), torch.tensor(2.0)], [1, 2], "number"),
        ("a sparse matrix", scipy.sparse.eye(2).tocsr(), [[1, 0], [0, 1]], "tensor"),
        ("days", times, ["2026-01-01", "2026-01-02"], "text"),
        ("dates", [date(2026, 1, 1), date(2026, 1, 2)], ["2026-01-01", "2026-01-02"], "text"),
        ("bytes", [b"\xff", b"b"], [{"b64": "/w=="}, {"b64": "Yg=="}], "object"),
    ]


CASES = table()


@pytest.mark.parametrize(("raw", "expected", "kind"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_predictions_of_every_kind(raw, expected, kind):
    found = predictions_of(raw, 2)
    assert len(found) == 2
    assert row_values(found) == expected
    assert ("named" if found.dtype.names else outputs_of(found)[0].kind) == kind
    assert row_values(predictions_of(found, 2)) == expected, "checked predictions stay as they are"


@settings(max_examples=40, deadline=None)
@given(st.lists(JSON, min_size=1, max_size=6))
def test_what_json_holds_comes_out_equal(rows):
    found = predictions_of(rows, len(rows))
    assert found.tolist() == rows
    assert [type(value) is bool for value in found.tolist()] == [type(value) is bool for value in rows]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros(3), r"shape \(3,\) for 2 rows"),
        (np.float64(3.0), "one value of type float64"),
        (None, "one value of type NoneType"),
        ("ab", "one value of type str"),
        ([1, 2, 3], r"shape \(3,\) for 2 rows"),
        ([1, "a", None], "3 predictions for 2 rows"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, r"output 'b': .*shape \(3,\) for 2 rows"),
        ({"a": 1}, "output 'a': .*one value of type int"),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), "with the same name"),
        ({1: [1, 2], "1": [3, 4]}, "two keys that are '1'"),
        ((np.zeros(2), np.zeros(1)), "output output_1: "),
        ([{1}, {2}], "type set"),
        (np.array([1j, 2]), "complex128"),
    ],
)
def test_what_is_no_prediction_is_refused_with_its_reason(raw, message):
    with pytest.raises(ModelFailed, match=message):
        predictions_of(raw, 2)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (np.array([[0.25, 0.75], [1, 0]]), [[0.25, 0.75], [1, 0]]),
        ([[0.25, 0.75], [1, 0]], [[0.25, 0.75], [1, 0]]),
        (torch.tensor([[0.25, 0.75], [1, 0]]), [[0.25, 0.75], [1, 0]]),
        (pd.DataFrame({"a": [0.25, 1], "b": [0.75, 0]}), [[0.25, 0.75], [1, 0]]),
        ([np.array([[0.25, 0.75], [1, 0]]), np.eye(2)], [[[0.25, 0.75], [1, 0]], [[1, 0], [0, 1]]]),
        ([np.array([[0.25, 0.75], [1, 0]]), np.ones((2, 1))], [[[0.25, 0.75], [1]], [[1, 0], [1]]]),
    ],
)
def test_probabilities_of_one_and_of_several_outputs(raw, expected):
    found = probabilities_of(raw, 2)
    assert found.tolist() == expected
    assert found.flags.c_contiguous


@pytest.mark.parametrize(
    "raw", [np.zeros(2), np.zeros((3, 2)), [[0.1], [0.2, 0.8]], [["a"], ["b"]], None, [np.eye(2), np.eye(3)], "ab"]
)
def test_what_are_no_probabilities_is_refused(raw):
    with pytest.raises(ModelFailed, match="probabilities"):
        probabilities_of(raw, 2)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.float64, arrays.array_shapes(min_dims=1, max_dims=3, min_side=1)))
def test_bad_rows_are_those_with_nan_or_infinity(values):
    expected = [not np.isfinite(row).all() for row in values]
    as_objects = predictions_of([{"x": row.tolist()} for row in values], len(values))
    for bad in (bad_rows(values), bad_rows(as_objects)):
        assert (bad.tolist() if bad is not None else [False] * len(values)) == expected


def test_answers_of_different_kinds_are_joined_without_a_change():
    parts = [np.array([1, 2]), np.array(["a"]), predictions_of([{"x": 1}], 1), np.eye(2)]
    assert joined(parts).tolist() == [1, 2, "a", {"x": 1}, [1, 0], [0, 1]]
    assert joined([np.eye(2), np.eye(2)]).shape == (4, 2)
    assert joined([]).shape == (0,)


@settings(max_examples=40, deadline=None)
@given(st.lists(JSON, max_size=6))
def test_an_array_holds_what_the_list_holds(values):
    found = as_array(values)
    assert (found.tolist() if isinstance(found, np.ndarray) else found) == values


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([2**64 - 1, 1], "uint64"),
        ([[2**63], [1]], "uint64"),
        ([2**63, -1], None),
        ([2**63, 1.0], None),
        ([np.array([2**64 - 1], np.uint64), np.array([1])], None),
        ([np.array([2**63], np.uint64), np.array([1.5])], None),
        ([np.array([1], np.uint64), np.array([1])], "float64"),
    ],
)
def test_no_whole_number_becomes_another_one(values, dtype):
    found = as_array(values)
    assert (found.dtype.name if isinstance(found, np.ndarray) else None) == dtype
    assert [int(row) if np.ndim(row) == 0 else int(row[0]) for row in found] == [
        int(row) if np.ndim(row) == 0 else int(row[0]) for row in values
    ]


@pytest.mark.parametrize(
    ("found", "labels"),
    [
        (np.array(["no", "yes"]), ["no", "yes"]),
        (np.array([3, 5]), [3, 5]),
        (np.array([False, True]), [False, True]),
        (["a", "b"], ["a", "b"]),
        ([np.array([0, 1]), np.array(["a", "b", "c"])], [[0, 1], ["a", "b", "c"]]),
        (None, None),
    ],
)
def test_class_labels(found, labels):
    assert class_labels(found) == labels


def test_outputs_name_the_values_of_dicts_and_the_probabilities():
    predictions = predictions_of({"logits": np.eye(2, 3, dtype=np.float32), "label": ["a", "b"]}, 2)
    assert outputs_of(predictions, np.zeros((2, 4, 3), np.float32)) == (
        Output("logits", "tensor", "float32", (3,)),
        Output("label", "text"),
        Output("probabilities", "tensor", "float32", (4, 3)),
    )
    assert outputs_of(predictions_of([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], 2)) == (
        Output("predictions", "object"),
        Output("predictions.a", "integer", "int64"),
        Output("predictions.b", "text"),
    )
    assert outputs_of(predictions_of([[1], [2, 3]], 2)) == (Output("predictions", "list", "", (None,)),)


def test_an_output_of_the_model_named_probabilities_is_told_from_its_class_probabilities():
    named = predictions_of({"label": ["a", "b"], "probabilities": np.eye(2)}, 2)
    assert [one.name for one in outputs_of(named)] == ["probabilities", "label"]
    assert [one.name for one in outputs_of(named, np.eye(2))] == ["probabilities", "label"]
    assert [one.name for one in outputs_of(np.zeros(2), np.eye(2))] == ["predictions", "probabilities"]


def test_a_declared_name_and_a_column_that_is_answered_as_values():
    declared = [Output("variable", "tensor", "float32", (1,))]
    assert outputs_of(np.zeros(2, np.float32), declared=declared) == (Output("variable", "tensor", "float32", (1,)),)


VALUES = {
    "float": arrays.arrays(np.float32, (3, 2), elements=st.floats(width=32)),
    "small": arrays.arrays(np.int8, (3,)),
    "large": arrays.arrays(np.uint64, (3,)),
    "none": arrays.arrays(np.float64, (3, 0)),
    "text": st.lists(st.text(), min_size=3, max_size=3),
    "objects": st.lists(JSON, min_size=3, max_size=3),
    "flag": arrays.arrays(np.bool_, (3,)),
}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, unique=True), st.booleans(), st.data())
def test_named_outputs_keep_values_types_and_shapes(names, as_tuple, data):
    columns = [data.draw(VALUES[name]) for name in names]
    raw = tuple(map(as_ndarrays, columns)) if as_tuple else dict(zip(names, columns, strict=True))
    found = predictions_of(raw, 3)
    assert found.dtype.names == (positions(len(names)) if as_tuple else tuple(names))
    for name, column in zip(found.dtype.names, columns, strict=True):
        if isinstance(column, np.ndarray):
            assert (found[name].dtype, found[name].shape) == (column.dtype, column.shape)
    single = [row_values(found[index : index + 1]) for index in range(3)]
    assert repr(row_values(found)) == repr([row for (row,) in single])
    again = joined([found[:1], found[1:]])
    assert (again.dtype, repr(row_values(again))) == (found.dtype, repr(row_values(found)))


@pytest.mark.parametrize("names", [[""], ["output_0", "output_1"], []])
def test_names_that_an_array_cannot_tell_apart_become_objects(names):
    raw = {name: [1, 2] for name in names}
    assert predictions_of(raw, 2).tolist() == [dict.fromkeys(names, 1), dict.fromkeys(names, 2)]


def as_ndarrays(column):
    return column if isinstance(column, np.ndarray) else predictions_of(column, len(column))


def model_that(raises=None, returns=None):
    def predict(_rows):
        if raises is not None:
            raise raises
        return returns

    return SimpleNamespace(has_probabilities=True, predict=predict, predict_proba=lambda _rows: np.array([[0.5, 0.5]]))


def test_an_answer_with_and_without_probabilities():
    model = model_that(returns=[{"a": 1}])
    assert answer_of(model, None, 1).probabilities is None
    assert answer_of(model, None, 1, probabilities=True).probabilities.tolist() == [[0.5, 0.5]]
    model.has_probabilities = False
    assert answer_of(model, None, 1, probabilities=True).probabilities is None


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (InvalidFeatures("wrong"), InvalidFeatures),
        (Overloaded("mine"), ModelFailed),
        (ValueError("odd"), ModelFailed),
        (RecursionError(), ModelFailed),
    ],
)
def test_what_a_model_raises(raised, becomes):
    with pytest.raises(becomes) as caught:
        answer_of(model_that(raises=raised), None, 1)
    assert type(caught.value) is becomes


def test_an_answer_with_nan_is_a_failure():
    with pytest.raises(ModelFailed, match=r"not finite .* to row 0"):
        answer_of(model_that(returns=[{"a": float("nan")}]), None, 1)
