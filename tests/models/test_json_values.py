import enum
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import orjson
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.errors import ModelFailed
from streamb.models.json_values import DEEPEST, has_not_finite, json_value, plain_array

WHOLE = st.integers(-(2**63), 2**64 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclass
class Box:
    corner: tuple
    label: str


@settings(max_examples=40, deadline=None)
@given(JSON)
def test_what_json_holds_stays_as_it_is(value):
    assert orjson.dumps(json_value(value)) == orjson.dumps(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int8(-3), -3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.longdouble(1.5), 1.5),
        ((1, (2, "b")), [1, [2, "b"]]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({1: "a", None: "c", 2.5: "d", np.int64(7): "e"}, {"1": "a", "null": "c", "2.5": "d", "7": "e"}),
        (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
        (np.array([1, "a", None], dtype=object), [1, "a", None]),
        (np.array([(1, "a")], dtype=[("x", int), ("y", "U3")]), [{"x": 1, "y": "a"}]),
        (torch.tensor([[1.5, 2.0]]), [[1.5, 2.0]]),
        (torch.tensor([1.5], dtype=torch.bfloat16), [1.5]),
        (torch.ones(2, requires_grad=True), [1.0, 1.0]),
        (b"\xff\x00", {"b64": "/wA="}),
        (bytearray(b"hi"), {"b64": "aGk="}),
        (Decimal("1.10"), "1.10"),
        (Color.RED, "red"),
        (Level.HIGH, 3),
        (Box((1, 2), "dog"), {"corner": [1, 2], "label": "dog"}),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC), "2026-01-02T03:04:05.000600+00:00"),
        (pd.Timestamp("2026-01-02T03:04:05.123456789", tz="UTC"), "2026-01-02T03:04:05.123456789+00:00"),
        (np.datetime64("2026-01-02T03:04:05.123456789"), "2026-01-02T03:04:05.123456789"),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (np.datetime64("NaT"), None),
        (pd.NaT, None),
        (pd.NA, None),
        (pd.Series([1, 2]), [1, 2]),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.Series(["a", None], dtype="str"), ["a", None]),
        (pd.Series(["a", "b"], dtype="category"), ["a", "b"]),
        (pd.Series([True, None], dtype="boolean"), [True, None]),
        (pd.date_range("2026-01-01", periods=1, tz="UTC"), ["2026-01-01T00:00:00+00:00"]),
        (pd.DataFrame({"a": [1, 2], 3: ["x", "y"]}), [{"a": 1, "3": "x"}, {"a": 2, "3": "y"}]),
    ],
)
def test_values_with_a_counterpart_in_json(value, expected):
    found = json_value({"nested": [value]})["nested"][0]
    assert found == expected
    orjson.dumps(found)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({1, 2}, "set"),
        (object(), "object"),
        (1j, "complex"),
        (timedelta(1), "datetime.timedelta"),
        (np.timedelta64(1, "s"), "numpy.timedelta64"),
        (np.array([1j]), "complex128"),
        (pd.Period("2026-01"), "pandas.Period"),
        ({(1, 2): 3}, "tuple"),
        (Color, "EnumType"),
        (np.array([b"\xff"]), "bytes"),
        (2**64, "65 bits"),
    ],
)
def test_what_json_cannot_hold_is_named(value, name):
    with pytest.raises(ModelFailed, match=name):
        json_value([value])


def test_two_keys_with_the_same_text_are_refused():
    with pytest.raises(ModelFailed, match="two keys"):
        json_value({1: "a", "1": "b"})


def test_a_value_that_contains_itself_is_refused():
    value = []
    value.append(value)
    with pytest.raises(ModelFailed, match=f"more than {DEEPEST} levels"):
        json_value(value)


@settings(max_examples=40, deadline=None)
@given(JSON)
def test_finite_values_are_finite(value):
    assert not has_not_finite(json_value(value))


@pytest.mark.parametrize(
    "value", [float("nan"), [1, float("inf")], {"a": [{"b": -np.inf}]}, Decimal("NaN"), np.array([1, np.nan])]
)
def test_numbers_that_are_not_finite_are_found_at_any_depth(value):
    assert has_not_finite(json_value({"x": [value]}))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array(["2026-01-01", "NaT"], dtype="M8[D]"), ["2026-01-01", None]),
        (np.array(["2026-01-01T01:02:03"], dtype="M8[ms]"), ["2026-01-01T01:02:03.000"]),
        (np.array([b"a", b"b"]), ["a", "b"]),
        (np.array([[1.5, 2.5]]), [[1.5, 2.5]]),
        (np.array([["a", 1], [None, True]], dtype=object), [["a", 1], [None, True]]),
    ],
)
def test_arrays_keep_their_shape(array, expected):
    found = plain_array(array)
    assert found.shape == array.shape
    assert found.tolist() == expected
