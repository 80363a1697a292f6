"""What a schema learns from each form of example, and that a model gets the example back as it was."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from streamb import Feature, FeatureKind, FeatureSchema
from streamb.errors import InvalidInput
from streamb.models.columns.rows import wire_rows

WHEN = pd.to_datetime(["2024-01-31 12:00:00.5", "1999-12-31"], format="ISO8601")


def served(data):
    """What a model gets from a request with these rows, after they went through JSON."""
    schema = FeatureSchema.from_json(json.loads(json.dumps(FeatureSchema.learn(data).to_json())))
    rows = json.loads(json.dumps(wire_rows(data), allow_nan=False))
    return schema.to_input(schema.check_rows(rows))


COLUMNS = {
    **{f"{name} column": np.array([3, 4], name) for name in ("int8", "int16", "int32", "int64")},
    **{f"{name} column": np.array([3, 4], name) for name in ("uint8", "uint16", "uint32", "uint64")},
    "int64, large": [2**53 + 1, -(2**63)],
    "uint64, large": np.array([2**64 - 1, 0], np.uint64),
    "float16": np.array([0.1, np.nan], np.float16),
    "float32": np.array([0.1, 2.5], np.float32),
    "float64": [0.1, np.nan],
    "bool": [True, False],
    "Int8": pd.array([1, None], "Int8"),
    "UInt64": pd.array([2**64 - 1, None], "UInt64"),
    "Float32": pd.array([0.1, None], "Float32"),
    "boolean": pd.array([True, None], "boolean"),
    "string": pd.array(["a", None], "string"),
    "str": pd.array(["a", None], "str"),
    "int64[pyarrow]": pd.array([1, None], "int64[pyarrow]"),
    "double[pyarrow]": pd.array([1.5, None], "double[pyarrow]"),
    "datetime64[s]": WHEN.round("s").as_unit("s"),
    "datetime64[ms]": WHEN.as_unit("ms"),
    "datetime64[us]": WHEN.as_unit("us"),
    "datetime64[ns]": (WHEN + pd.Timedelta(1, "ns")).as_unit("ns"),
    "datetime with NaT": pd.to_datetime(["2024-01-31", None]),
    "UTC": WHEN.tz_localize("UTC"),
    "Europe/Berlin": WHEN.tz_localize("Europe/Berlin").as_unit("ns"),
    "fixed offset": WHEN.tz_localize("+05:30"),
    "category of strings": pd.Categorical(["m", None], categories=["s", "m"], ordered=True),
    "category of integers": pd.Categorical([3, 1], categories=[3, 2, 1]),
    "category of floats": pd.Categorical([0.5, None], categories=[0.5, 1.0]),
    "category of booleans": pd.Categorical([True, False], categories=[False, True]),
    "objects, None": pd.Series(["a", None], dtype=object),
    "objects, NaN": pd.Series(["a", np.nan], dtype=object),
    "objects, mixed": pd.Series([1, "a"], dtype=object),
    "objects, integers": pd.Series([1, None], dtype=object),
    "objects, numbers": pd.Series([1, 2.5], dtype=object),
    "objects, booleans": pd.Series([True, None], dtype=object),
    "objects, only None": pd.Series([None, None], dtype=object),
    "dates": pd.Series([dt.date(2024, 1, 31), None], dtype=object),
    "Python datetimes": pd.Series([dt.datetime.fromisoformat("2024-01-31T12:00"), None], dtype=object),
    "lists": pd.Series([[1, 2], [3]], dtype=object),
    "lists of lists": pd.Series([[["a"], []], None], dtype=object),
    "dicts": pd.Series([{"a": [1]}, {"b": None}], dtype=object),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=list(COLUMNS))
def test_a_column_comes_back_with_its_type_and_values(column):
    frame = pd.DataFrame({"before": [1.5, 2.5], "x": column, "after": ["a", "b"]})
    pd.testing.assert_frame_equal(served(frame), frame)
    pd.testing.assert_frame_equal(served(frame[["x"]]), frame[["x"]])


def test_a_column_of_arrays_comes_back_as_arrays():
    frame = pd.DataFrame({"x": pd.Series([np.ones(2, np.float32), np.zeros(3, np.float32)])})
    found = served(frame)["x"]
    assert [value.dtype for value in found] == [np.float32, np.float32]
    assert [value.tolist() for value in found] == [[1.0, 1.0], [0.0, 0.0, 0.0]]
    decimals = served(pd.DataFrame({"x": pd.Series([Decimal("1.5"), Decimal(2)], dtype=object)}))
    assert decimals["x"].tolist() == [1.5, 2.0]


ARRAYS = {
    "float64": np.array([[0.1, np.nan], [2.0, 3.0]]),
    "float32": np.array([[0.1, 2.5]], np.float32),
    "int64": np.array([[1, 2], [3, 4]]),
    "int64, large": np.array([[2**53 + 1, 2]]),
    "uint8": np.array([[0, 255]], np.uint8),
    "bool": np.array([[True, False]]),
    "str": np.array([["a", "bcd"], ["e", "f"]]),
    "datetime64[s]": np.array([["2024-01-31", "NaT"]], "datetime64[s]"),
    "objects": np.array([[1, "a"], [None, "b"]], object),
    "objects, integers": np.array([[1, 2], [3, 4]], object),
    "one column": np.array([["a"], ["b"]]),
    "image": np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2),
    "sequence of float32": np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 3, 2),
    "sequence with NaN": np.array([[[1.0, np.nan]]]),
    "strings in three dimensions": np.array([[["a"], ["b"]]]),
    "one dimension": np.array([1.5, 2.5]),
    "one dimension of integers": np.array([1, 2], np.int32),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=list(ARRAYS))
def test_an_array_comes_back_with_its_shape_type_and_values(array):
    found = served(array)
    assert found.dtype == array.dtype or array.dtype.kind == found.dtype.kind == "U"
    np.testing.assert_array_equal(found, array)


def test_a_tensor_tells_its_shape_and_type():
    schema = FeatureSchema.learn(np.zeros((5, 3, 8, 8), np.float32))
    assert schema == FeatureSchema((Feature("input", FeatureKind.TENSOR, dtype="float32", shape=(3, 8, 8)),), "tensor")


def test_a_dict_of_arrays_comes_back_as_one():
    data = {
        "ids": np.array([[1, 2, 3], [4, 5, 6]], np.int32),
        "mask": np.array([[True, False, True]] * 2),
        "length": np.array([3, 2]),
        "name": np.array(["a", "b"]),
    }
    schema = FeatureSchema.learn(data)
    assert schema.container == "tensors"
    assert [(str(f.kind), f.dtype, f.shape) for f in schema.features] == [
        ("tensor", "int32", (3,)), ("tensor", "bool", (3,)), ("integer", "int64", ()), ("text", "str", ()),
    ]  # fmt: skip
    found = served(data)
    assert list(found) == list(data)
    for name, array in data.items():
        np.testing.assert_array_equal(found[name], array, strict=name != "name")


LISTS = [
    (["a text", "another"], "texts"),
    ([{"a": 1, "b": "x"}, {"a": 2.5}], "records"),
    ([{"a": None}, {"a": [1, {"b": 2}]}], "records"),
    ([{"n": 3, "t": True, "d": None}, {"n": 4, "t": False, "d": 2}], "records"),
    ([[1, 2], [3]], "list"),
    ([[[1], []], [[2]]], "list"),
    ([["a", ["b"]], ["c", []]], "list"),
    ([None, "a text"], "list"),
    ([True, False], "list"),
]


@pytest.mark.parametrize(("rows", "container"), LISTS)
def test_lists_come_back_as_lists(rows, container):
    assert FeatureSchema.learn(rows).container == container
    assert served(rows) == rows


@pytest.mark.parametrize(
    ("rows", "array"),
    [
        ([[1, 2.5], [3, 4]], np.array([[1, 2.5], [3, 4]])),
        ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])),
        ([[1, None], [2.5, 3]], np.array([[1, np.nan], [2.5, 3]])),
        ([[True, 1.5]], np.array([[1.0, 1.5]])),
        ([[1, "a"], [2, None]], np.array([[1, "a"], [2, None]], object)),
        ([[[1], [2]], [[3], [4]]], np.array([[[1], [2]], [[3], [4]]])),
        ([np.array([1.5, 2.5]), np.array([3.5, 4.5])], np.array([[1.5, 2.5], [3.5, 4.5]])),
        ([1, 2], np.array([1, 2])),
    ],
)
def test_rows_of_equal_lengths_become_an_array(rows, array):
    found = served(rows)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_torch_tensors_are_arrays():
    torch = pytest.importorskip("torch")
    assert served(torch.ones(2, 3, dtype=torch.float32)).dtype == np.float32
    assert FeatureSchema.learn(torch.zeros(2, 3, 4, dtype=torch.int8)).features[0].shape == (3, 4)
    assert FeatureSchema.learn([torch.zeros(2, 2)]).container == "tensor"
    assert served({"a": torch.ones(2, 3, dtype=torch.bfloat16)})["a"].dtype == np.float32


def test_an_array_of_whole_numbers_takes_fractions_too():
    schema = FeatureSchema.learn(np.array([[1, 2], [3, 4]], np.int16))
    assert schema.to_input(schema.check_rows([[1.5, 2]])).tolist() == [[1.5, 2.0]]
    assert schema.to_input(schema.check_rows([[5, 6]])).dtype == np.int16
    with pytest.raises(InvalidInput, match="70000 does not fit int16"):
        schema.check_rows([[70_000, 1]])


def test_a_sparse_matrix_is_known_by_its_width():
    assert FeatureSchema.learn(csr_array(np.eye(3))) == FeatureSchema.numbers(3)


REFUSED = {
    "two columns of one name": (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns have the same name: 'a'"),
    "two names of one text": (pd.DataFrame([[1, 2]], columns=[1, "1"]), "two columns have the same name: '1'"),
    "timedelta": (pd.DataFrame({"t": pd.to_timedelta([1], "s")}), "'t' has durations; convert them to numbers"),
    "period": (pd.DataFrame({"p": pd.period_range("2024", periods=1)}), "'p' has the type period"),
    "interval levels": (pd.DataFrame({"c": pd.cut([1, 2], 2)}), r"'c' has categories of the type interval.*astype"),
    "bytes": (pd.DataFrame({"b": [b"x"]}), "column 'b': a value of the type bytes cannot be sent"),
    "complex": (np.array([[1j]]), "'x0' has values of the type complex128"),
    "durations": (np.array([[1]], "timedelta64[s]"), "'x0' has durations"),
    "a tensor of objects": (np.array([[[None, "a"]]], object), "tensor 'input' has the type object"),
    "an infinite tensor": (np.array([[[np.inf]]]), "infinite values"),
    "no rows": ([], "no rows"),
    "no columns": (np.ones((2, 0)), "no columns"),
    "an empty frame": (pd.DataFrame(), "no columns"),
    "an empty dict": ({}, "no arrays"),
    "one row as a dict": ({"a": 1.5, "b": "x"}, "'a' holds a single value; give a list of dicts"),
    "arrays of different lengths": ({"a": np.ones(2), "b": np.ones(3)}, "'a' has 2, 'b' has 3"),
    "a number": (5, "an example is a frame, an array"),
    "nothing": (None, "an example is a frame, an array"),
}


@pytest.mark.parametrize(("data", "sentence"), REFUSED.values(), ids=list(REFUSED))
def test_an_example_that_no_schema_describes_is_refused(data, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        FeatureSchema.learn(data)


CELLS = {
    "float64": st.floats(allow_infinity=False),
    "float32": st.floats(width=32, allow_infinity=False),
    "int8": st.integers(-128, 127),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "bool": st.booleans(),
    "Int16": st.integers(-(2**15), 2**15 - 1) | st.none(),
    "boolean": st.booleans() | st.none(),
    "str": st.text(max_size=3) | st.none(),
    "string": st.text(max_size=3) | st.none(),
    "object": st.text(max_size=2) | st.none() | st.integers() | st.booleans(),
    "datetime64[s]": st.datetimes(dt.datetime(1, 1, 1)).map(lambda when: when.replace(microsecond=0)) | st.none(),  # noqa: DTZ001
    "datetime64[us]": st.datetimes(dt.datetime(1, 1, 1)) | st.none(),  # noqa: DTZ001
    "datetime64[ns]": st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)),  # noqa: DTZ001
    "datetime64[us, America/New_York]": st.datetimes(dt.datetime(1900, 1, 1), timezones=st.just(dt.UTC)),  # noqa: DTZ001
}


@st.composite
def frames(draw):
    count = draw(st.integers(1, 5))
    types = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=6))
    columns = {}
    for index, dtype in enumerate(types):
        values = draw(st.lists(CELLS[dtype], min_size=count, max_size=count))
        columns[f"{dtype} {index}"] = pd.Series(values, dtype=dtype)
        if draw(st.booleans()) and dtype in ("str", "int8", "bool"):
            order = draw(st.permutations(sorted(set(columns[f"{dtype} {index}"].dropna()))))
            if order:  # without any level there is nothing to know
                levels = pd.CategoricalDtype(order, ordered=draw(st.booleans()))
                columns[f"{dtype} {index}"] = columns[f"{dtype} {index}"].astype(levels)
    return pd.DataFrame(columns)


@settings(deadline=None)
@given(frame=frames())
def test_any_frame_comes_back_as_it_was(frame):
    pd.testing.assert_frame_equal(served(frame), frame, check_exact=True)
