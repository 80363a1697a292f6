import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.monitoring.profiles.category_bins import CategoryBins, name_of
from streamb.monitoring.profiles.cells import CELLS, cell_keys, place_start, places
from streamb.monitoring.profiles.number_bins import CUT, NumberBins
from streamb.monitoring.profiles.number_block import NumberBlock
from streamb.monitoring.profiles.text_bins import TextBins
from streamb.monitoring.profiles.vocabulary import Vocabulary


def count(bins, values):
    (counters,), _ = NumberBlock([bins], None, []).count([np.asarray(values, np.float64)])
    return counters


def occupied(bins, values):
    counters = count(bins, values)[bins.below + 1 : bins.above]
    return counters[counters > 0].tolist()


@settings(max_examples=50)
@given(st.lists(st.floats(allow_nan=False, width=64), min_size=2, max_size=50))
def test_places_ascend_with_the_values(values):
    ascending = np.sort(np.array(values))
    found = places(cell_keys(ascending))
    assert (np.diff(found) >= 0).all()
    finite = np.abs(ascending) < 3e38
    starts = np.array([place_start(place) for place in found[finite].tolist()])
    assert (starts <= ascending[finite] + 1e-37).all()


def test_the_table_of_cells_says_what_searching_would():
    random = np.random.default_rng(0)
    values = random.normal(3, 2, 5000)
    bins = NumberBins.learn(values)
    table = bins.table()
    every = np.arange(CELLS, dtype=np.uint16)
    ordered = table[every[np.argsort(places(every), kind="stable")]]
    inside = ordered[0x80:0xFF80]
    assert (np.diff(inside.astype(int)) >= 0).all()
    assert ordered[-1] == ordered[0] == bins.missing


class TestNumbers:
    def test_a_baseline_has_twenty_bins_of_about_equal_counts_whatever_its_tails(self):
        random = np.random.default_rng(1)
        for values in (random.normal(25, 5, 5000), np.exp(2 * random.normal(size=5000)), random.standard_cauchy(5000)):
            found = occupied(NumberBins.learn(values), values)
            assert 19 <= len(found) <= 20
            assert max(found) <= 1.7 * min(found)  # cells are 1/128 of the distance from the centre wide

    def test_a_frequent_value_has_a_bin_of_its_own(self):
        random = np.random.default_rng(2)
        values = np.where(random.random(4000) < 0.6, 0.0, np.exp(random.normal(size=4000)))
        bins = NumberBins.learn(values)
        zeros = count(bins, np.zeros(10))
        place = int(zeros[: bins.classes].argmax())
        assert count(bins, values)[place] == (values == 0).sum()

    def test_few_whole_numbers_are_counted_one_by_one(self):
        values = np.repeat(np.arange(7.0), [100, 5, 200, 50, 300, 40, 5])
        assert occupied(NumberBins.learn(values), values) == [100, 5, 200, 50, 300, 40, 5]

    def test_what_is_out_of_range_infinite_or_missing_is_counted_apart(self):
        bins = NumberBins.learn(np.random.default_rng(3).normal(size=1000))
        counters = count(bins, [-np.inf, -9, -9, 9, np.inf, np.inf, np.nan, 0])
        assert counters[bins.infinite[0]] == 1
        assert counters[bins.below] == 2
        assert counters[bins.above] == 1
        assert counters[bins.infinite[1]] == 2
        assert counters[bins.missing] == 1
        assert counters[: bins.classes].sum() == 8

    def test_one_row_of_the_baseline_is_below_its_range_and_one_above(self):
        values = np.random.default_rng(4).normal(size=1000)
        bins = NumberBins.learn(values)
        counters = count(bins, values)
        assert (counters[bins.below], counters[bins.above]) == (1, 1)

    @pytest.mark.parametrize(
        "values", [[], [5.0] * 300, [np.nan] * 300, [1e308, -1e308] * 150, [5e-324] * 9, [2.0**63] * 300, [np.inf] * 5]
    )
    def test_any_column_has_bins(self, values):
        bins = NumberBins.learn(np.array(values, np.float64))
        counters = count(bins, [*values, 7.0, np.nan, np.inf])
        assert counters[: bins.classes].sum() == len(values) + 3
        assert np.isfinite(bins.edges()).all()
        assert NumberBins.from_plain(bins.to_plain()) == bins

    def test_sums_are_those_of_the_values_in_units_of_the_deviation(self):
        values = np.random.default_rng(5).normal(100, 7, 3000)
        bins = NumberBins.learn(values)
        total, square = count(bins, values)[bins.classes :] / np.array([1024, 1024**2])
        z = (values - bins.centre) / bins.scale
        assert total == pytest.approx(z.sum(), abs=3)
        assert square == pytest.approx((z**2).sum(), rel=1e-3)
        assert count(bins, [1e300])[bins.classes] == CUT


class TestCategories:
    def test_frequent_values_by_name_and_the_rest_together(self):
        bins = CategoryBins.learn({"a": 500, "b": 300, "rare": 3})
        counters = bins.count({"a": 5, "rare": 2, "new": 7}, missing=4)
        assert bins.named == ("a", "b")
        assert counters[: bins.missing + 1].tolist() == [5, 0, 2, 7, 4]

    def test_the_new_category_is_named_though_only_sums_are_kept(self):
        bins = CategoryBins.learn({"a": 500})
        parts = [bins.count(counts, 0) for counts in ({"kiwi": 30}, {"a": 10, "plum": 4}, {"kiwi": 9, "fig": 3})]
        assert bins.new_name(sum(parts)) == "kiwi"
        assert bins.new_name(bins.count({"kiwi": 30, "plum": 30}, 0)) is None
        assert bins.new_name(bins.count({"名前": 5}, 0)) == "名前"

    def test_names_take_bounded_room(self):
        bins = CategoryBins.learn({name_of(f"{index:03d}" + "é" * 300): 100 for index in range(50)})
        assert len(bins.named) > 5
        assert sum(len(name.encode()) for name in bins.named) <= 400
        assert name_of("x" * 99 + "a") != name_of("x" * 99 + "b")
        assert name_of(True) != name_of(1) == name_of(1.0)


class TestTexts:
    def test_each_row_is_counted_once_in_each_histogram(self):
        texts = [f"the {word} jumps over the lazy dog" for word in ("fox", "cat", "hen")] * 100 + ["", "one"]
        bins, counters = TextBins.learn(texts)
        assert [counters[b.start : b.start + b.classes].sum() for b in bins.blocks] == [302, 151, 302]
        found = bins.count(["the fox", None, "", "an entirely unknown phrase"])
        assert [found[b.start : b.start + b.classes].sum() for b in bins.blocks] == [4, 4, 4]
        assert [found[b.start + b.classes - 1] for b in bins.blocks] == [1, 1, 1]

    def test_unknown_words_are_noticed(self):
        texts = ["the quick brown fox", "jumps over the lazy dog"] * 200
        bins, _ = TextBins.learn(texts)
        assert bins.unknown_share(bins.count(texts)) == 0.0
        assert bins.unknown_share(bins.count(["completely different words here", "other stuff entirely"])) > 0.8

    def test_a_large_vocabulary_keeps_its_frequent_words(self):
        hits = np.random.default_rng(0).integers(0, 100, 4096)
        known = Vocabulary.learn(hits).known
        assert 0.4 < known.mean() <= 0.5
        assert hits[known].min() > hits[~known].max()
