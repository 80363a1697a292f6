import datetime as dt
import decimal
import math
from functools import reduce

import numpy as np
import pandas as pd
import pytest

from streamb.errors import InvalidFeatures, InvalidInput
from streamb.monitoring.drift.drift import compare
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.profiles.profile import Profile

N = 1000
MOMENTS = pd.date_range("2020-01-01", periods=N, freq="h")


def odd_columns():
    random = np.random.default_rng(0)
    return {
        "constant": np.full(N, 5.0),
        "all missing": np.full(N, np.nan),
        "none": [None] * N,
        "some missing": np.where(random.random(N) < 0.1, np.nan, random.normal(size=N)),
        "infinite": np.where(random.random(N) < 0.05, np.inf, random.normal(size=N)),
        "near 2**63": 2**63 - 1 - random.integers(0, 1000, N),
        "unsigned": np.full(N, 2**64 - 1, np.uint64),
        "past 2**63": [2**70 + index for index in range(N)],
        "past any float": [10**400 * (-1) ** index for index in range(N)],
        "huge": random.uniform(-1, 1, N) * 1.7e308,
        "tiny": random.uniform(-1, 1, N) * 5e-320,
        "имя 名前 🎉": random.normal(size=N),
        "truth": random.random(N) < 0.5,
        "moment": MOMENTS,
        "python moment": [dt.datetime(2020, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=index) for index in range(N)],
        "zoned": pd.Series(MOMENTS.tz_localize("Europe/Berlin")),
        "duration": np.arange(N).astype("timedelta64[s]"),
        "never": np.array(["NaT"] * N, "datetime64[ns]"),
        "decimal": [decimal.Decimal(index % 7) / 3 for index in range(N)],
        "mixed": [index if index % 3 else decimal.Decimal(index) if index % 2 else "x" for index in range(N)],
        "dicts": [{"a": index % 3} for index in range(N)],
        "lists": [[1, 2]] * N,
        "category": pd.Categorical(random.choice(list("abc"), N)),
        "surrogate": ["\ud800x"] * N,
        "empty": [""] * N,
        "ids": [f"user-{index}" for index in range(N)],
        "nullable": pd.array([1, None, 3, 4] * (N // 4), dtype="Int64"),
        "nullable truth": pd.array([True, None] * (N // 2), dtype="boolean"),
        "strings": pd.array(["a", None, "b", "c"] * (N // 4), dtype="string"),
        "text": [f"a text about {word} and more" for word in random.integers(0, 9999, N)],
    }


def test_any_column_can_be_watched():
    table = odd_columns()
    baseline = Baseline.learn(table, predictions=["yes", "no"] * (N // 2))
    again = Baseline.from_bytes(baseline.to_bytes())
    assert again == baseline
    window = again.fold(table, ["yes", "no"] * (N // 2))
    report = compare(baseline, window, "high")
    assert not report.drifted, report.summary
    assert all(math.isfinite(one.score) for one in report.columns)
    assert list(report.features) == list(table)
    kinds = {column.name: column.kind for column in baseline.columns}
    assert {name for name, kind in kinds.items() if kind == "category"} == {
        *("dicts", "lists", "category", "surrogate", "empty", "ids", "strings", "prediction")
    }
    assert [name for name, kind in kinds.items() if kind == "text"] == ["text"]


def test_the_same_table_in_any_form_has_the_same_profile():
    table = {
        name: values for name, values in odd_columns().items() if name != "surrogate"
    }  # Arrow refuses half a letter
    baseline = Baseline.learn(table)
    rows = [dict(zip(table, row, strict=True)) for row in zip(*map(list, table.values()), strict=True)]
    expected = baseline.fold(table)
    assert baseline.fold(rows) == expected
    assert baseline.fold([list(row.values()) for row in rows]) == expected
    assert baseline.fold(pd.DataFrame(table)) == expected
    shuffled = pd.DataFrame(table)[list(table)[::-1]]
    assert baseline.fold(shuffled) == expected
    assert baseline.fold([list(row.values())[::-1] for row in rows], names=list(table)[::-1]) == expected


def test_rows_by_the_numbers_of_columns_without_names():
    frame = pd.DataFrame(np.random.default_rng(4).normal(size=(N, 2)))
    baseline = Baseline.learn(frame)
    assert baseline.fold(frame.to_dict("records")) == baseline.fold(frame) == baseline.fold(frame.to_numpy())
    with pytest.raises(InvalidFeatures, match="unknown: '7'"):
        baseline.fold([{7: 1.0}])


def test_values_that_python_takes_for_equal_are_counted_alike_in_any_order():
    values = [["a", "b", "c", True, 1, 1.0, False, 0, None][place % 9] for place in range(4_500)]
    values = ["a"] * 4_000 + values
    baseline = Baseline.learn({"x": values})
    assert baseline.columns[0].kind == "category"
    whole = baseline.fold({"x": values})
    for step in (3, 7, 3_000):
        parts = [baseline.fold({"x": values[at : at + step]}) for at in range(0, len(values), step)]
        assert reduce(Profile.plus, parts) == whole
    assert baseline.fold({"x": values[::-1]}) == whole
    assert baseline.fold({"x": np.array(values, dtype=object)}) == whole


def test_a_table_of_numbers_takes_the_short_way_to_the_same_counts():
    values = np.random.default_rng(1).normal(size=(N, 5))
    baseline = Baseline.learn(pd.DataFrame(values, columns=list("abcde")))
    expected = baseline.fold({name: values[:, index] for index, name in enumerate("abcde")})
    for table in (values, values.tolist(), pd.DataFrame(values, columns=list("abcde")), np.asfortranarray(values)):
        assert baseline.fold(table) == expected
    assert baseline.fold([]).rows == baseline.fold(values[:0]).rows == 0


def test_a_kilobyte_for_each_feature_and_no_rows():
    random = np.random.default_rng(2)
    numbers = Baseline.learn(np.exp(random.normal(size=(2_000, 100))))
    assert len(numbers.to_bytes()) <= 100 * 1024
    assert len(numbers.fold(random.normal(size=(3_000, 100))).to_bytes()) <= 100 * 1024
    names = [f"a rather long name of a category {index}" for index in range(3000)]
    table = {
        "categories": random.choice(names, 3_000),
        "few": random.choice(["é" * 40 + str(index) for index in range(40)], 3_000),
        "text": [" ".join(random.choice(names, 3)) for _ in range(3_000)],
    }
    mixed = Baseline.learn(table)
    assert len(mixed.to_bytes()) <= 3 * 1024
    assert len(mixed.fold(table).to_bytes()) <= 3 * 1024


def test_a_million_categories():
    values = np.array([f"id{index}" for index in range(1_000_000)], dtype=object)
    baseline = Baseline.learn({"id": values[:20_000]})
    window = baseline.fold({"id": values})
    assert window.rows == 1_000_000
    assert window.counters.size < 200
    assert compare(baseline, window, "high").features["id"].score < 0.3


class TestRefusals:
    baseline = Baseline.learn({"age": np.arange(300.0), "height": np.arange(300.0)}, predictions=np.arange(300.0))

    @pytest.mark.parametrize(
        ("table", "names"),
        [
            (
                pd.DataFrame({"age": [1.0], "size": [2.0]}),
                ["height: missing", "size: the baseline has no such feature"],
            ),
            ({"age": [1.0]}, ["height: missing"]),
            ([{"age": 1.0, "heigth": 2.0}], ["heigth: the baseline has no such feature"]),
            ([[1.0, 2.0, 3.0]], ["3 values"]),
            ([[1.0, 2.0], [3.0]], ["1 values"]),
            ([[1.0, 2.0], None], ["is a NoneType"]),
            ([{"age": 1.0}, [1.0, 2.0]], ["row 1: list"]),
            ([{"age": 1.0}, None], ["row 1: NoneType"]),
            (np.zeros((4, 3)), ["shape [4, 3]"]),
            (pd.DataFrame([[1, 2, 3]], columns=["age", "height", "height"]), ["height: twice"]),
        ],
    )
    def test_wrong_columns_are_named(self, table, names):
        with pytest.raises(InvalidFeatures) as caught:
            self.baseline.fold(table)
        assert caught.value.details["problems"] == names

    def test_predictions_must_be_those_of_the_rows(self):
        with pytest.raises(InvalidInput, match="2 predictions for 3 rows"):
            self.baseline.fold(np.zeros((3, 2)), [1.0, 2.0])
        with pytest.raises(InvalidInput, match="has answered 2 values a row"):
            self.baseline.fold(np.zeros((3, 2)), np.zeros((3, 2)))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (({},), "at least one column"),
            ((np.zeros((0, 3)),), "needs rows"),
            (({"a": [1, 2], "b": [1]},), "'a': 2, 'b': 1"),
            (({"a": 5},), "column 'a' must be a list"),
            (([[1, 2], [3]],), "different lengths"),
            ((np.zeros((3, 2)), [1.0]), "1 values of 'prediction' for 3 rows"),
            ((np.zeros((3, 2)), None, [1, 2, 3]), "labels need predictions"),
            ((pd.DataFrame([[1, 2]], columns=["a", "a"]),), "must differ"),
        ],
    )
    def test_a_baseline_needs_a_table(self, arguments, message):
        with pytest.raises(InvalidInput, match=message):
            Baseline.learn(*arguments)


def test_a_window_becomes_the_new_normal():
    random = np.random.default_rng(3)
    baseline = Baseline.learn(random.normal(size=(2000, 2)))
    window = baseline.fold(random.normal(1, 1, size=(2000, 2)))
    assert compare(baseline, window).drifted
    updated = baseline.relearn(window)
    assert updated.baseline_id != baseline.baseline_id
    later = random.normal(1, 1, size=(2000, 2))
    assert not compare(updated, updated.fold(later)).drifted
    assert compare(updated, updated.fold(later - 1)).drifted
    with pytest.raises(InvalidInput, match="empty"):
        baseline.relearn(baseline.fold(later[:0]))


def test_labels_make_the_performance():
    answers, truth = ["a", "b"] * 100, ["a", "a"] * 100
    baseline = Baseline.learn(np.zeros((200, 1)), answers, truth, probabilities=np.tile([0.7, 0.3], (200, 1)))
    again = Baseline.from_bytes(baseline.to_bytes())
    assert again.performance == baseline.performance
    assert again.performance.error_rate == 0.5
    assert again.performance.calibration is not None


def test_errors_as_large_as_prices():
    prices = np.random.default_rng(6).normal(500_000, 100_000, 30_000)
    baseline = Baseline.learn({"x": np.arange(30_000.0)}, prices + 90_000.0, prices)
    again = Baseline.from_bytes(baseline.to_bytes())
    assert again == baseline
    assert again.performance == baseline.performance
    assert again.performance.mean_loss == pytest.approx(90_000)
    assert again.performance.loss_scale == pytest.approx(0, abs=1)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "uint64", "float16", "float32"])
def test_rows_of_any_type_of_numbers_are_counted_alike(dtype):
    random = np.random.default_rng(0)
    table = np.stack([random.integers(0, 100, 500), random.integers(0, 2, 500)], axis=1).astype(np.float64)
    baseline = Baseline.learn({"a": table[:, 0], "b": table[:, 1]}, table[:, 0])
    rows = table[:50].astype(dtype)
    counts = [baseline.fold(one, table[:50, 0], names=("a", "b")).to_bytes() for one in (rows, rows.astype(np.float64))]
    assert counts[0] == counts[1]
