"""Rows of any form become what JSON can carry: datetimes as ISO text, missing values as null."""

from __future__ import annotations

import datetime as dt
import json
import math
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from streamb.errors import InvalidInput
from streamb.models.columns.rows import wire_rows, wire_value

NOON = "2024-01-31T12:00:00"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (np.int8(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (math.nan, None),
        (np.float32("nan"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (np.datetime64("NaT"), None),
        (Decimal("12.5"), 12.5),
        (Decimal("12.0"), 12),
        (Decimal("NaN"), None),
        (dt.date(2024, 1, 31), "2024-01-31"),
        (dt.datetime.fromisoformat(NOON), NOON),
        (dt.datetime(2024, 1, 31, 12, tzinfo=dt.UTC), f"{NOON}+00:00"),
        (pd.Timestamp(f"{NOON}.000000001"), f"{NOON}.000000001"),
        (np.datetime64(NOON, "ms"), f"{NOON}.000"),
        (np.array([1.0, np.nan], np.float32), [1.0, None]),
        ((1, [np.int64(2)]), [1, [2]]),
        ({"a": np.float64(1.5), 2: None}, {"a": 1.5, "2": None}),
        (10**30, 10**30),
    ],
)
def test_each_value_has_its_json_form(value, wanted):
    found = wire_value(value)
    assert found == wanted
    assert type(found) is type(wanted)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    "value", [dt.timedelta(1), np.timedelta64(1, "s"), pd.Timedelta(1), b"bytes", object(), {1}, Decimal("inf")]
)
def test_what_json_cannot_carry_is_refused_with_what_to_do(value):
    with pytest.raises(InvalidInput, match=r"cannot be sent; (convert|make)"):
        wire_rows([[1, value]])
    with pytest.raises(InvalidInput, match=r"column 'odd': .* cannot be sent"):
        wire_rows(pd.DataFrame({"odd": pd.Series([value], dtype=object)}))


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pd.to_datetime([NOON, None]).as_unit("s"), [NOON, None]),
        (pd.to_datetime([NOON, None]).as_unit("ns"), [f"{NOON}.000000000", None]),
        (pd.to_datetime([NOON]).tz_localize("Europe/Berlin").as_unit("ms"), ["2024-01-31T11:00:00.000Z"]),
        (pd.array([1, None], "Int8"), [1, None]),
        (pd.array([True, None], "boolean"), [True, None]),
        (pd.array(["a", None], "string"), ["a", None]),
        (pd.Categorical([2, None, 1], categories=[1, 2]), [2, None, 1]),
        (np.array([0.1, np.nan], np.float32), [float(np.float32(0.1)), None]),
        ([[1, 2], np.array([3])], [[1, 2], [3]]),
        ([2**63, 2**53 + 1], [2**63, 2**53 + 1]),
    ],
)
def test_columns_of_a_frame_go_by_name(column, wanted):
    rows = wire_rows(pd.DataFrame({"x": column}))
    assert rows == [{"x": value} for value in wanted]
    assert [type(row["x"]) for row in rows] == [type(value) for value in wanted]


def test_two_columns_of_one_name_are_refused_by_name():
    for columns in (["a", "b", "a"], [1, "1", "b"]):
        with pytest.raises(InvalidInput, match=r"two columns have the same name: '(a|1)'; rename or drop"):
            wire_rows(pd.DataFrame([[1, 2, 3]], columns=columns))


def test_arrays_of_any_shape_and_dicts_of_arrays():
    image = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)
    assert wire_rows(image) == image.tolist()
    assert wire_rows(np.array([[NOON, "NaT"]], "datetime64[s]")) == [[NOON, None]]
    assert wire_rows(np.array([["a", None], [1, pd.NaT]], object)) == [["a", None], [1, None]]
    assert wire_rows({"a": np.array([[1.5], [2.5]]), "b": ["x", "y"]}) == [
        {"a": [1.5], "b": "x"},
        {"a": [2.5], "b": "y"},
    ]
    with pytest.raises(InvalidInput, match="'a' has 2, 'b' has 1"):
        wire_rows({"a": np.ones(2), "b": np.ones(1)})


def test_tensors_of_torch_are_rows_too():
    torch = pytest.importorskip("torch")
    assert wire_rows(torch.tensor([[1, 2]], dtype=torch.int8)) == [[1, 2]]
    assert wire_rows({"a": torch.ones(1, 2, dtype=torch.bfloat16)}) == [{"a": [1.0, 1.0]}]
    assert "torch" in sys.modules


@pytest.mark.parametrize("rows", [5, "text", None, b"bytes", iter([1])])
def test_what_is_no_list_of_rows_is_refused(rows):
    with pytest.raises(InvalidInput, match="rows are a list, an array or a DataFrame"):
        wire_rows(rows)


def test_rows_that_are_plain_already_are_not_copied():
    rows = [[1, 2.5, "a", None, True], {"a": 1}]
    assert all(found is row for found, row in zip(wire_rows(rows), rows, strict=True))


def test_infinity_never_becomes_null_without_a_word():
    for rows in (
        np.array([[1.0, np.inf]]),
        pd.DataFrame({"a": [np.nan, -np.inf]}),
        [[np.float32("inf")]],
        [[1, math.inf]],
    ):
        with pytest.raises(InvalidInput, match="infinite numbers cannot be sent"):
            wire_rows(rows)
