"""Each kind of feature: what passes and what the row then holds, and the sentence for everything else."""

from __future__ import annotations

import numpy as np
import pytest

from streamb import Feature, FeatureKind, FeatureSchema
from streamb.errors import InvalidFeatures, InvalidInput
from streamb.models.schema import FeatureSchema as Schema

K = FeatureKind
INT8 = Feature("a", K.INTEGER, dtype="int8")
DAYS = Feature("a", K.DATETIME, dtype="date")
SECONDS = Feature("a", K.DATETIME, dtype="datetime64[s]")
ZONED = Feature("a", K.DATETIME, dtype="datetime64[ms]", zone="Europe/Berlin")
LEVELS = Feature("a", K.CATEGORY, categories=(1, 2, 3), dtype="int64")
FLAGS = Feature("a", K.CATEGORY, categories=(True, False), dtype="bool")
MIXED_LEVELS = Feature("a", K.CATEGORY, categories=(1, True, "x"), dtype="object")
PAIR = Feature("a", K.TENSOR, dtype="int8", shape=(None, 2))


def checked(feature, value):
    (row,) = FeatureSchema((feature,), "frame").check_rows([[value]])
    return row.item() if isinstance(row, np.ndarray) else row[0]


PASSES = [
    (Feature("a", K.INTEGER), 2**53 + 1, 2**53 + 1),
    (Feature("a", K.INTEGER), -(2**63), -(2**63)),
    (Feature("a", K.INTEGER, dtype="uint64"), 2**64 - 1, 2**64 - 1),
    (INT8, 127, 127),
    (Feature("a", dtype="int64"), 2**53 + 1, 2**53 + 1),
    (Feature("a", dtype="float32"), 0.1, 0.10000000149011612),
    (Feature("a", dtype="bfloat16"), 0.1, 0.10009765625),
    (Feature("a", takes_booleans=True), True, 1.0),
    (Feature("a", K.BOOLEAN), True, 1.0),
    (LEVELS, 2.0, 2),
    (FLAGS, False, False),
    (MIXED_LEVELS, True, True),
    (MIXED_LEVELS, 1, 1),
    (Feature("a", K.CATEGORY), "anything", "anything"),
    (DAYS, "1970-01-02", 1),
    (SECONDS, "1970-01-01T00:01", 60),
    (SECONDS, "1969-12-31 23:59:59.000", -1),
    (ZONED, "1970-01-01T01:00:00.5+01:00", 500),
    (ZONED, "1970-01-01T00:00Z", 0),
    (ZONED, "1970-01-01T00:00-0130", 5_400_000),
    (PAIR, [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
    (PAIR, [[1.0, 2]], [[1, 2]]),
    (Feature("a", K.LIST), (1, "a"), [1, "a"]),
    (Feature("a", K.ANY), {"b": [1]}, {"b": [1]}),
    (Feature("a", K.ANY), True, True),
    (Feature("a", K.ANY, nullable=True), None, None),
]


@pytest.mark.parametrize(("feature", "value", "wanted"), PASSES)
def test_what_a_kind_accepts(feature, value, wanted):
    found = checked(feature, value)
    assert (found, type(found)) == (wanted, type(wanted))


REFUSED = [
    (INT8, 128, "128 does not fit int8 (-128 to 127)"),
    (Feature("a", K.INTEGER), 2**63, f"{2**63} does not fit int64 (-{2**63} to {2**63 - 1})"),
    (Feature("a", K.INTEGER, dtype="uint8"), -1, "-1 does not fit uint8 (0 to 255)"),
    (Feature("a", dtype="float32"), 1e39, "1e+39 does not fit float32"),
    (Feature("a"), True, "expected a number, got the boolean true"),
    (LEVELS, 4, "4 is not one of 1, 2, 3"),
    (LEVELS, "1", "expected a category (a whole number), got the string '1'"),
    (LEVELS, True, "true is not one of 1, 2, 3"),
    (FLAGS, "yes", "expected a category (true or false), got the string 'yes'"),
    (MIXED_LEVELS, [1], "expected a category (one of 1, true, 'x'), got a list"),
    (
        SECONDS,
        "1970-01-01T00:00:00.5",
        ("'1970-01-01T00:00:00.5' is more precise than this column, which has whole seconds"),
    ),
    (
        SECONDS,
        "1970-01-01T00:00Z",
        ("'1970-01-01T00:00Z' has an offset from UTC, but this column has no time zone; leave the offset out"),
    ),
    (SECONDS, "2024-02-30", "'2024-02-30' names no moment: such a date or time does not exist"),
    (SECONDS, "today", "'today' is not a date and time such as 2024-01-31T12:00:00"),
    (SECONDS, 5, "expected a date and time (a string such as 2024-01-31T12:00:00), got the number 5"),
    (
        ZONED,
        "1970-01-01T00:00",
        ("'1970-01-01T00:00' has no offset from UTC; write it behind the time, such as 2024-01-31T12:00:00+01:00"),
    ),
    (
        Feature("a", K.DATETIME, dtype="datetime64[ns]"),
        "2300-01-01",
        ("'2300-01-01' is too far from 1970 for 64 bits of nanoseconds"),
    ),
    (PAIR, [[1, 2, 3]], "expected a tensor of shape [-1, 2], got shape [1, 3]"),
    (PAIR, [[1, 2], [3]], "expected a tensor of shape [-1, 2], got nested lists of different lengths"),
    (PAIR, [[1, 300]], "expected a tensor of shape [-1, 2], got a number that does not fit int8 (-128 to 127)"),
    (PAIR, [[1, 0.5]], "expected a tensor of shape [-1, 2], got fractions where int8 is wanted"),
    (PAIR, [["a", "b"]], "expected a tensor of shape [-1, 2], got strings where int8 is wanted"),
    (
        Feature("a", K.TENSOR, shape=(1,)),
        [None],
        ("expected a tensor of shape [1], got null, NaN or infinity among its values"),
    ),
    (Feature("a", K.LIST), "ab", "expected a list, got the string 'ab'"),
    (Feature("a", K.ANY), None, "expected a value, got null"),
]  # fmt: skip


@pytest.mark.parametrize(("feature", "value", "sentence"), REFUSED)
def test_what_a_kind_refuses(feature, value, sentence):
    with pytest.raises(InvalidFeatures) as caught:
        checked(feature, value)
    assert caught.value.details["problems"] == [f"row 0, column 'a': {sentence}"]


def test_an_array_of_anything_takes_numbers_on_the_short_path():
    schema = FeatureSchema((Feature("a", K.ANY, optional=True), Feature("b", takes_booleans=True)))
    assert schema.check_rows([[1, 2.5]]).tolist() == [[1.0, 2.5]]
    assert schema.check_rows([{"b": True}, [True, 2]]).tolist()[1] == [1.0, 2.0]
    assert schema.to_input(schema.check_rows([["x", 2], [2**53 + 1, 3]])).tolist() == [["x", 2.0], [2**53 + 1, 3.0]]


@pytest.mark.parametrize(
    ("body", "feature"),
    [
        ({"name": "a", "kind": "number", "optional": True}, Feature("a", nullable=True, optional=True)),
        ({"name": "a", "kind": "category", "categories": ["x", "1"]}, Feature("a", K.CATEGORY, categories=("x", "1"))),
        (
            {"name": "a", "kind": "integer", "minimum": 0, "observed_max": 3.0},
            Feature("a", K.INTEGER, 0, observed_max=3),
        ),
    ],
)
def test_stored_features_of_before_are_read_as_before(body, feature):
    assert Feature.from_json(body) == feature
    assert feature.to_json() == body


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "colour"},
        {"kind": K.DATETIME, "dtype": "datetime64[D]"},
        {"kind": K.INTEGER, "dtype": "int7"},
        {"kind": K.NUMBER, "dtype": "str"},
    ],
)
def test_a_feature_of_no_such_kind_or_type_is_refused(options):
    with pytest.raises(InvalidInput, match="column 'a'"):
        Feature("a", **options)


@pytest.mark.parametrize("container", ["tensor", "list", "texts"])
def test_containers_of_one_value_hold_one_column(container):
    with pytest.raises(InvalidInput, match=f"container '{container}' holds exactly one"):
        Schema((Feature("a", K.TEXT), Feature("b", K.TEXT)), container)
