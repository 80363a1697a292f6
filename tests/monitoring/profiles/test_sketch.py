import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.errors import InvalidInput
from streamb.monitoring.profiles.sketch import MOST_COLUMNS, Sketch
from streamb.monitoring.profiles.sketch_column import MOST_CELLS, MOST_LABELS, ColumnSketch

NUMBERS = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.integers(-(2**70), 2**70), st.none())


def plain(column: ColumnSketch):
    return column.to_plain()


class TestNumbers:
    @settings(max_examples=50)
    @given(st.lists(NUMBERS, max_size=300), st.integers(1, 5), st.randoms())
    def test_any_sharding_and_order_gives_the_same_bits(self, values, shards, random):
        whole = ColumnSketch.of_values(values)
        random.shuffle(values)
        parts = [ColumnSketch.of_values(values[start::shards]) for start in range(shards)]
        total = parts[0]
        for part in parts[1:]:
            total = total.plus(part)
        assert plain(total) == plain(whole)
        assert whole.keys.size <= MOST_CELLS
        assert whole.numbers + whole.missing + whole.infinite == len(values)

    @pytest.mark.parametrize(
        "numbers",
        [
            np.random.default_rng(0).normal(0, 1, 20_000),
            np.random.default_rng(1).lognormal(0, 2, 20_000),
            np.random.default_rng(2).normal(1_013, 10, 20_000),
            np.random.default_rng(3).uniform(-1e-6, 1e12, 20_000),
        ],
        ids=["around zero", "heavy tail", "far from zero", "many octaves"],
    )
    def test_quantiles_are_close_enough_for_bins(self, numbers):
        column = ColumnSketch.of_numbers(numbers)
        found = np.quantile(np.array(column.values(2_000)), np.arange(1, 20) / 20)
        shares = np.searchsorted(np.sort(numbers), found) / numbers.size
        assert np.abs(shares - np.arange(1, 20) / 20).max() < 0.02

    @pytest.mark.parametrize("values", [[0, 1], list(range(50)), [True, False], [2**20 - 1, 2**20], [-3, -3, 7]])
    def test_whole_numbers_stay_whole(self, values):
        assert set(ColumnSketch.of_values(values * 20).values(len(values) * 20)) == {float(one) for one in values}

    def test_one_outlier_spoils_nothing(self):
        numbers = np.append(np.random.default_rng(0).normal(20, 1, 1_000), 1e300)
        middle = ColumnSketch.of_numbers(numbers).values(1_000)[500]
        assert middle == pytest.approx(20, abs=0.1)

    def test_missing_ones_keep_their_share_and_infinities_are_left_out(self):
        column = ColumnSketch.of_values([1.5, math.nan, None, math.inf] * 10)
        assert column.values(10) == [None] * 7 + [pytest.approx(1.5, rel=1e-5)] * 3
        assert column.infinite == 10

    @pytest.mark.parametrize("numbers", [[], [math.nan] * 3, [math.inf]])
    def test_nothing_to_see_is_all_missing(self, numbers):
        assert ColumnSketch.of_numbers(np.array(numbers)).values(3) == [None] * 3


class TestLabels:
    def test_few_labels_are_exact(self):
        column = ColumnSketch.of_values(["red"] * 30 + ["blue"] * 10 + [None] * 10)
        assert column.labels == {"red": 30, "blue": 10}
        assert sorted(map(str, column.values(50))) == ["None"] * 10 + ["blue"] * 10 + ["red"] * 30

    def test_of_a_million_the_frequent_ones_are_found_whatever_the_sharding(self):
        parts = []
        for shard in range(20):
            rare = [f"user-{shard}-{number}" for number in range(500)]
            parts.append(ColumnSketch.of_values(rare + ["frequent"] * 300))
        total = parts[0]
        for part in parts[1:]:
            total = total.plus(part)
        assert len(total.labels) <= MOST_LABELS
        seen = sum(total.labels.values()) + total.others
        assert seen == 20 * 800
        assert 6_000 - seen / (MOST_LABELS + 1) <= total.labels["frequent"] <= 6_000

    def test_unicode_is_cut_by_bytes_and_lone_surrogates_do_no_harm(self):
        column = ColumnSketch.of_values(["é" * 100, "\ud800", "日本"])
        assert {len(label.encode()) <= 48 for label in column.labels} == {True}
        assert plain(ColumnSketch.from_plain(plain(column))) == plain(column)


class TestTables:
    def test_a_column_takes_at_most_a_kilobyte(self):
        rng = np.random.default_rng(0)
        sketch = None
        for _ in range(30):
            part = Sketch.of(rng.lognormal(0, 3, (1_024, 8)) * rng.choice([-1, 1], (1_024, 8)), rng.normal(size=1_024))
            sketch = part if sketch is None else sketch.plus(part)
        assert len(sketch.to_bytes()) <= 1_024 * 9
        assert Sketch.from_bytes(sketch.to_bytes()).to_bytes() == sketch.to_bytes()

    def test_several_outputs_and_mixed_columns(self):
        sketch = Sketch.of([[1, "x"], [2, None]], np.array([[0.1, 0.9], [0.2, 0.8]]), ["n", "c"])
        assert sketch.names == ("n", "c", "prediction.0", "prediction.1")
        assert sketch.columns[1].labels == {"x": 1}

    def test_very_wide_tables_are_cut(self):
        sketch = Sketch.of(np.zeros((2, 50, 50)), np.zeros(2))
        assert len(sketch.columns) == len(sketch.names) == MOST_COLUMNS + 1

    @pytest.mark.parametrize(
        ("rows", "predictions", "names"),
        [([[1], [1, 2]], [0, 0], None), ([[1], [2]], [0], None), ([[1], [2]], [0, 0], ["a", "b"])],
    )
    def test_what_is_no_table_is_refused(self, rows, predictions, names):
        with pytest.raises(InvalidInput):
            Sketch.of(rows, np.array(predictions), names)

    def test_damaged_bytes_are_refused(self):
        data = Sketch.of([[1.0]], np.array([1.0])).to_bytes()
        for cut in range(len(data)):
            with pytest.raises(InvalidInput):
                Sketch.from_bytes(data[:cut])

    def test_a_table_with_other_columns_does_not_mix_in(self):
        one, other = Sketch.of([[1.0], [2.0]], np.zeros(2), ["a"]), Sketch.of([[1.0]], np.zeros(1), ["b"])
        assert one.plus(other) is one
        assert other.plus(one) is one
