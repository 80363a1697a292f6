"""The schema: what passes, what does not, and that each refusal names row, column and reason."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.errors import InvalidFeatures, InvalidInput
from streamb.models import Feature, FeatureKind, FeatureSchema
from streamb.models import schema as models_schema

NUMBERS = FeatureSchema((Feature("mean radius"), Feature("mean texture")))
MIXED = FeatureSchema(
    (
        Feature("age", FeatureKind.INTEGER, minimum=0, maximum=150),
        Feature("income", FeatureKind.NUMBER, optional=True),
        Feature("member", FeatureKind.BOOLEAN),
        Feature("colour", FeatureKind.CATEGORY, categories=("red", "green")),
        Feature("note", FeatureKind.TEXT, optional=True),
    ),
    "frame",
)
GOOD = [41, 10.5, True, "red", "hello"]


def problems(schema, rows) -> list[str]:
    with pytest.raises(InvalidFeatures) as caught:
        schema.check_rows(rows)
    return caught.value.details["problems"]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (["abc", 1.0], "row 0, column 'mean radius': expected a number, got the string 'abc'"),
        ([1.0, "1.5"], "row 0, column 'mean texture': expected a number, got the string '1.5'"),
        ([True, 1.0], "row 0, column 'mean radius': expected a number, got the boolean true"),
        ([1.0, None], "row 0, column 'mean texture': expected a number, got null"),
        ([1.0, [2.0]], "row 0, column 'mean texture': expected a number, got a list"),
        ([1.0, {"a": 1}], "row 0, column 'mean texture': expected a number, got an object"),
        ([math.nan, 1.0], "row 0, column 'mean radius': expected a number, got NaN"),
        ([1.0, -math.inf], "row 0, column 'mean texture': expected a number, got -infinity"),
        ([10**400, 1.0], "row 0, column 'mean radius': the number is too large for a 64-bit float"),
        ([1.0], "row 0: expected 2 values, got 1; the columns are 'mean radius', 'mean texture'"),
        ({"mean radius": 1, "radius": 2}, "row 0: unknown column 'radius'"),
        ({"mean radius": 1, "radius": 2}, "row 0: missing column 'mean texture'"),
        (
            "ab",
            (
                "row 0: expected a list of 2 values or an object by column name, got the string 'ab'; "
                "even a single row is written as a list within the list: [[…]]"
            ),
        ),
    ],
)
def test_each_mistake_in_a_row_of_numbers_has_its_sentence(row, sentence):
    assert sentence in problems(NUMBERS, [row])


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        (0, 4.5, "expected a whole number, got 4.5"),
        (0, -1, "-1 is below the minimum 0"),
        (0, 151, "151 is above the maximum 150"),
        (0, True, "expected a whole number, got the boolean true"),
        (0, None, "expected a whole number, got null"),
        (1, "much", "expected a number, got the string 'much'"),
        (2, 2, "expected true or false, got the number 2"),
        (2, "true", "expected true or false, got the string 'true'"),
        (3, "blue", "'blue' is not one of 'red', 'green'"),
        (3, 7, "expected a category (a string), got the number 7"),
        (3, None, "expected a category (a string), got null"),
        (4, ["x"], "expected a text (a string), got a list"),
    ],
)
def test_each_kind_says_what_it_expected(column, value, sentence):
    row = list(GOOD)
    row[column] = value
    assert problems(MIXED, [row]) == [f"row 0, column {MIXED.names[column]!r}: {sentence}"]


def test_every_problem_is_named_up_to_twenty():
    assert len(problems(NUMBERS, [["a", "b"], [1, 2], [1], {"mean radius": "c"}])) == 5
    many = problems(NUMBERS, [["a", "b"]] * 1000)
    assert len(many) == 20
    assert many[-1].startswith("row 9, ")


@pytest.mark.parametrize("rows", [None, 5, "text", {"mean radius": 1}, []])
def test_what_is_no_list_of_rows_is_refused(rows):
    assert problems(NUMBERS, rows)


def test_numbers_come_back_as_floats_in_column_order():
    checked = NUMBERS.check_rows([[1, 2.5], {"mean texture": 4, "mean radius": 3}, (np.float32(5), np.int64(6))])
    assert checked.dtype == np.float64
    assert checked.tolist() == [[1, 2.5], [3, 4], [5, 6]]


def test_large_finite_numbers_pass_although_their_sum_overflows():
    assert NUMBERS.check_rows([[1e308, 1e308]]).tolist() == [[1e308, 1e308]]


def test_mixed_rows_come_back_as_lists_and_fill_a_frame():
    checked = MIXED.check_rows([GOOD, {"age": 7.0, "member": 0, "colour": "green"}])
    assert checked[0] == [41, 10.5, True, "red", "hello"]
    frame = MIXED.to_input(checked)
    assert list(frame.columns) == list(MIXED.names)
    assert [frame[name].dtype.kind for name in ("age", "income", "member")] == ["i", "f", "b"]
    assert isinstance(frame["colour"].dtype, pd.CategoricalDtype)
    assert list(frame["colour"].cat.categories) == ["red", "green"]
    assert math.isnan(frame["income"][1])
    assert pd.isna(frame["note"][1])


def test_optional_numbers_are_nan_where_missing_in_few_rows_and_in_many():
    schema = FeatureSchema((Feature("a"), Feature("b", optional=True), Feature("n", FeatureKind.INTEGER, minimum=0)))
    for repeat in (1, 50):
        checked = schema.check_rows([[1.0, None, 3], [1.0, 2.0, 4.0]] * repeat)
        np.testing.assert_array_equal(checked[:2], [[1, np.nan, 3], [1, 2, 4]])
    for wrong in ([1.0, None, 3.5], [1.0, 2.0, -1], [None, 2.0, 1], [1.0, math.inf, 1], [1.0, 2.0, 2**63]):
        assert problems(schema, [[1.0, None, 3]] * 49 + [wrong])[0].startswith("row 49, ")
    assert schema.check_rows([{"a": 1, "n": 2}]).shape == (1, 3)


def test_a_numeric_frame_keeps_its_types():
    schema = FeatureSchema(
        (Feature("n", FeatureKind.INTEGER), Feature("b", FeatureKind.BOOLEAN), Feature("x")), "frame"
    )
    assert schema.is_numeric
    frame = schema.to_input(schema.check_rows([[3, True, 0.5], [4, 0, 1]]))
    assert [str(dtype) for dtype in frame.dtypes] == ["int64", "bool", "float64"]


def test_texts_are_taken_bare_in_a_list_or_by_name():
    schema = FeatureSchema.texts()
    assert schema.to_input(schema.check_rows(["a", ["b"], {"text": "c"}])) == ["a", "b", "c"]
    assert problems(schema, [1, ["a", "b"], None])


class TestArrays:
    def test_a_tensor_of_the_right_shape_passes(self):
        for dtype in (np.float64, np.float32, np.int32):
            assert NUMBERS.check_array(np.ones((3, 2), dtype)).dtype == np.float64
        assert FeatureSchema.numbers(1).check_array(np.ones(3)).shape == (3, 1)

    @pytest.mark.parametrize(
        "tensor",
        [np.ones((3, 3)), np.ones(2), np.ones((1, 2, 1)), np.full((1, 2), np.nan), np.ones((1, 2), bool),
         np.array([["1", "2"]]), np.ones((0, 2)), np.array([[1, None]], object)],
    )  # fmt: skip
    def test_any_other_tensor_is_refused(self, tensor):
        with pytest.raises(InvalidFeatures):
            NUMBERS.check_array(tensor)

    def test_columns_by_name_in_any_order(self):
        checked = NUMBERS.check_array({"mean texture": np.array([3.0, 4.0]), "mean radius": np.array([[1], [2]])})
        assert checked.tolist() == [[1, 3], [2, 4]]

    @pytest.mark.parametrize(
        ("columns", "match"),
        [
            ({"mean radius": np.ones(2)}, "missing column 'mean texture'"),
            ({"mean radius": np.ones(2), "mean texture": np.ones(3)}, "different numbers of rows"),
            ({"mean radius": np.ones((2, 2)), "mean texture": np.ones(2)}, "shape"),
            ({}, "no columns"),
        ],
    )
    def test_columns_that_do_not_fit_are_named(self, columns, match):
        with pytest.raises(InvalidFeatures, match=match):
            NUMBERS.check_array(columns)


class TestOpenSchema:
    SCHEMA = FeatureSchema.open()

    def test_any_rectangular_rows_pass_and_numbers_become_an_array(self):
        table = self.SCHEMA.to_input(self.SCHEMA.check_rows([[1, 2.5], [3, 4]]))
        assert table.dtype == np.float64
        mixed = self.SCHEMA.to_input(self.SCHEMA.check_rows([[1, "a"], [None, True]]))
        assert mixed.tolist() == [[1, "a"], [None, True]]
        assert self.SCHEMA.to_input(self.SCHEMA.check_rows(["a", "b"])) == ["a", "b"]
        assert self.SCHEMA.to_input(self.SCHEMA.check_rows([{"a": 1}, {"a": 2}])) == [{"a": 1}, {"a": 2}]
        assert self.SCHEMA.to_input(self.SCHEMA.check_rows([[[1], [2]], [[3], [4]]])).shape == (2, 2, 1)

    @pytest.mark.parametrize("rows", [[[1, 2], [1]], [[1], "a"], [{"a": 1}, {"b": 1}], [3], [], None])
    def test_anything_else_is_refused(self, rows):
        with pytest.raises(InvalidFeatures):
            self.SCHEMA.check_rows(rows)

    def test_rows_of_different_requests_must_have_one_length(self):
        with pytest.raises(InvalidFeatures, match="different lengths"):
            self.SCHEMA.to_input([[1, 2], [3]])

    def test_its_json_is_empty(self):
        assert self.SCHEMA.to_json() == {}
        assert FeatureSchema.from_json({}).is_open


NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6, unique=True)


@settings(deadline=None)
@given(names=NAMES, data=st.data())
def test_a_schema_round_trips_through_json_and_pickle(names, data):
    numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
    features = tuple(
        Feature(
            name,
            data.draw(st.sampled_from(FeatureKind)),
            observed_min=data.draw(numbers),
            maximum=data.draw(numbers),
            categories=tuple(data.draw(st.lists(st.text(max_size=4), max_size=3))),
            optional=data.draw(st.booleans()),
        )
        for name in names
    )
    schema = FeatureSchema(features, data.draw(st.sampled_from(["array", "frame"])))
    again = FeatureSchema.from_json(json.loads(json.dumps(schema.to_json())))
    assert again == schema
    assert again.names == tuple(names)
    assert pickle.loads(pickle.dumps(schema)).check_rows  # the derived fields travel too
    assert pickle.loads(pickle.dumps(schema)).names == schema.names


CELLS = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=3), st.lists(st.integers(), max_size=2)
)


@settings(deadline=None)
@given(rows=st.lists(st.lists(CELLS, min_size=1, max_size=3), max_size=4))
def test_only_finite_numbers_ever_pass_and_nothing_else_is_raised(rows):
    try:
        checked = NUMBERS.check_rows(rows)
    except InvalidFeatures:
        good = bool(rows) and all(
            len(row) == 2 and all(type(value) in (int, float) and math.isfinite(value) for value in row) for row in rows
        )
        assert not good
        return
    assert np.isfinite(checked).all()
    assert checked.tolist() == [[float(value) for value in row] for row in rows]
    assert not any(isinstance(value, bool | str) for row in rows for value in row)


@pytest.mark.parametrize(
    "body",
    [[], {"features": 3}, {"features": [{}]}, {"features": [{"name": "a", "kind": "colour"}]},
     {"features": [{"name": "a", "kind": "number"}] * 2},
     {"features": [{"name": "a", "kind": "number"}], "container": "box"},
     {"features": [{"name": "a", "kind": "number", "minimum": "low"}]}, {"features": [3]},
     {"features": [{"name": "a", "kind": "number", "minimum": 2, "maximum": 1}]},
     {"features": [{"name": "a", "kind": "number"}], "container": "texts"}],
)  # fmt: skip
def test_json_that_is_no_schema_is_refused(body):
    with pytest.raises(InvalidInput):
        FeatureSchema.from_json(body)


def test_plain_numbers_take_the_short_path(monkeypatch):
    def thorough(*_given):
        raise AssertionError("every cell would be looked at")

    rows = np.linspace(0, 1, 60).reshape(2, 30)
    monkeypatch.setattr(models_schema, "check_table", thorough)
    np.testing.assert_array_equal(FeatureSchema.numbers(30).check_rows(rows.tolist()), rows)
