import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.errors import InvalidInput
from streamb.monitoring.drift.drift import LEAST_ROWS, Sensitivity, compare
from streamb.monitoring.drift.report import score_of
from streamb.monitoring.profiles.baseline import Baseline
from streamb.store.plain import to_plain

pytestmark = pytest.mark.slow


def normal(seed, rows, shift=0.0, spread=1.0):
    return np.random.default_rng(seed).normal(shift, spread, rows)


BASELINE = Baseline.learn({"x": normal(0, 20_000), "y": normal(1, 20_000)})


def report(x, sensitivity="medium", y=None, **options):
    rows = BASELINE.fold({"x": x, "y": normal(2, len(x)) if y is None else y})
    return compare(BASELINE, rows, sensitivity, **options)


class TestScore:
    @pytest.mark.parametrize("sensitivity", list(Sensitivity))
    def test_the_shift_of_a_sensitivity_scores_three_tenths(self, sensitivity):
        found = report(normal(3, 200_000, shift=sensitivity.shift), sensitivity).features["x"]
        assert found.score == pytest.approx(0.3, abs=0.04)
        assert score_of(sensitivity.shift, sensitivity) == pytest.approx(0.3)

    @pytest.mark.parametrize("rows", [500, 5000, 50_000])
    def test_a_score_does_not_depend_on_the_number_of_rows(self, rows):
        scores = [report(normal(seed, rows, shift=0.5)).features["x"].score for seed in range(5)]
        assert np.mean(scores) == pytest.approx(0.5, abs=0.05)

    @settings(max_examples=30, deadline=None)
    @given(st.floats(0, 5), st.floats(0.05, 5), st.integers(200, 3000))
    def test_drifted_is_the_same_as_a_score_above_the_threshold(self, shift, spread, rows):
        found = report(normal(4, rows, shift, spread), "high")
        for one in found.columns:
            assert 0.0 <= one.score < 1.0
            assert one.drifted == (one.score > 0.3) == (one.status == "drifted")
        assert found.drifted == (found.overall_drift_score > 0.3)

    def test_a_higher_threshold_names_less(self):
        x = normal(5, 5000, shift=0.4)
        assert report(x).features["x"].drifted
        assert not report(x, threshold=0.6).features["x"].drifted
        with pytest.raises(InvalidInput):
            report(x, threshold=1.0)

    def test_the_guides_example(self):
        random = np.random.default_rng(0)
        calm = random.normal([25, 100], [5, 20], (7000, 2))
        names = ("temperature", "emissions")
        baseline = Baseline.learn(
            {name: calm[:5000, index] for index, name in enumerate(names)}, predictions=random.normal(0.5, 0.1, 5000)
        )
        first = baseline.fold(calm[5000:], random.normal(0.5, 0.1, 2000))
        later = first.plus(baseline.fold(random.normal([25, 140], [5, 20], (4000, 2)), random.normal(0.5, 0.1, 4000)))
        assert compare(baseline, first).overall_drift_score < 0.3
        found = compare(baseline, later)
        assert found.features["emissions"].score >= 0.3 > found.features["temperature"].score
        assert found.outputs["prediction"].status == "stable"
        assert found.drifted


class TestChanges:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda x: x + 1.9, "mean moved up by 1.9 sd"),
            (lambda x: x - 0.6, "mean moved down by 0.58 sd"),
            (lambda x: 1.8 * x, "spread 1.8 times what it was"),
            (lambda x: np.where(np.arange(x.size) % 5 < 2, np.nan, x), "missing 0 % -> 40 %"),
            (lambda x: np.where(np.arange(x.size) % 20 == 0, 1e9, x), "the baseline's maximum, 0.005 % -> 5 %"),
            (lambda x: np.where(np.arange(x.size) % 20 == 0, -np.inf, x), "minus infinity 0 % -> 5 %"),
            (lambda x: np.where(np.abs(x) < 0.3, 0.0, x), "from -"),
        ],
    )
    def test_of_numbers(self, change, words):
        found = report(change(normal(6, 4000)), "high").features["x"]
        assert found.drifted
        assert words in found.detail
        assert "chance alone does this" in found.detail

    def test_rates_are_told(self):
        x = normal(7, 1000)
        x[:400], x[400:500] = np.nan, 1e9
        found = report(x).features["x"]
        assert (found.missing_rate, found.unseen_rate) == pytest.approx((0.4, 0.1), abs=2e-3)

    def test_text_among_numbers(self):
        found = report(["?" if index % 10 == 0 else value for index, value in enumerate(normal(8, 2000))]).features["x"]
        assert "not a number 0 % -> 10 %" in found.detail

    def test_of_categories(self):
        random = np.random.default_rng(9)
        colours = random.choice(["red", "green", "blue"], 5000, p=[0.5, 0.3, 0.2])
        baseline = Baseline.learn({"colour": colours})
        window = colours[:2000].copy().astype(object)
        window[:240] = "mauve"
        found = compare(baseline, baseline.fold({"colour": window})).features["colour"]
        assert found.drifted
        assert 'new category "mauve" 12 %' in found.detail
        assert found.unseen_rate == 0.12
        fewer = random.choice(["red", "green", "blue"], 2000, p=[0.2, 0.3, 0.5])
        found = compare(baseline, baseline.fold({"colour": fewer})).features["colour"]
        assert '"blue" 20 % -> 48 %; "red" 50 % -> 22 %' in found.detail

    def test_of_texts(self):
        random = np.random.default_rng(10)
        words, others = [f"word{i}" for i in range(300)], [f"term{i}" for i in range(300)]
        texts = [" ".join(random.choice(words, random.integers(4, 12))) for _ in range(3000)]
        baseline = Baseline.learn(texts)
        same = [" ".join(random.choice(words, random.integers(4, 12))) for _ in range(2000)]
        assert not compare(baseline, baseline.fold(same), "high").drifted
        mixed = [*same[:1400], *(" ".join(random.choice(others, 8)) for _ in range(600))]
        assert "unknown words" in compare(baseline, baseline.fold(mixed)).features["text"].detail
        longer = [" ".join(random.choice(words, 30)) for _ in range(500)]
        assert compare(baseline, baseline.fold(longer)).drifted

    def test_columns_that_no_longer_belong_together(self):
        random = np.random.default_rng(11)
        x = random.normal(size=8000)
        table = {"x": x, "y": 0.8 * x + 0.6 * random.normal(size=8000), "z": random.normal(size=8000)}
        baseline = Baseline.learn({name: values[:5000] for name, values in table.items()})
        calm = {name: values[5000:] for name, values in table.items()}
        assert not compare(baseline, baseline.fold(calm), "high").drifted
        broken = {**calm, "y": random.permutation(calm["y"])}
        found = compare(baseline, baseline.fold(broken))
        assert [one.name for one in found.columns if one.drifted] == ["multivariate"]
        assert "the correlation of 'x' and 'y' was 0.79 and is -0.02" in found.multivariate.detail
        new = {**calm, "z": 0.5 * calm["x"] + 0.75**0.5 * random.normal(size=3000)}
        assert compare(baseline, baseline.fold(new)).multivariate.drifted

    def test_data_that_were_seen_before_are_no_drift(self):
        table = {
            "id": [f"id{index}" for index in range(3000)],
            "note": [f"note number {i} of many" for i in range(3000)],
        }
        baseline = Baseline.learn(table)
        assert not compare(baseline, baseline.fold(table), "high").drifted


class TestTooFew:
    def test_rows(self):
        found = report(normal(12, LEAST_ROWS - 1, shift=3))
        assert found.status == "insufficient_data"
        assert found.overall_drift_score == 0.0
        assert all(one.score is None and not one.drifted for one in found.columns)
        assert "too few" in found.summary
        assert report(normal(12, LEAST_ROWS, shift=3)).drifted

    def test_rows_of_the_baseline(self):
        baseline = Baseline.learn({"x": normal(13, 150)})
        assert compare(baseline, baseline.fold({"x": normal(14, 1000)})).status == "insufficient_data"

    def test_outputs_that_were_not_recorded(self):
        baseline = Baseline.learn({"x": normal(15, 1000)}, predictions=normal(16, 1000))
        found = compare(baseline, baseline.fold({"x": normal(17, 1000)}))
        assert found.outputs["prediction"].status == "insufficient_data"
        assert found.status == "stable"

    def test_no_rows_at_all(self):
        assert report(np.zeros(0)).status == "insufficient_data"


def stationary(random, rows):
    z = random.normal(size=(rows, 75))
    z[:, 25:50] = np.exp(z[:, 25:50])
    z[:, 50:] = np.where(random.random((rows, 25)) < 0.6, 0.0, np.exp(z[:, 50:]))
    table = {f"n{index}": z[:, index] for index in range(75)}
    for index, values in enumerate([2, 5, 20, 200, 2000] * 5):
        shares = 1 / np.arange(1, values + 1) ** 1.1
        table[f"c{index}"] = [f"v{code}" for code in random.choice(values, rows, p=shares / shares.sum())]
    return table


@pytest.mark.parametrize("rows", [200, 1000, 4000])
def test_a_hundred_features_that_stay_as_they_are_raise_no_alarm(rows):
    random = np.random.default_rng(18)
    baseline = Baseline.learn(stationary(random, 1000))
    for _ in range(4):
        found = compare(baseline, baseline.fold(stationary(random, rows)), "high")
        assert not found.drifted, found.summary


def test_a_report_is_json_and_a_table():
    found = report(normal(19, 1000, shift=1))
    body = json.loads(json.dumps(to_plain(found), allow_nan=False))
    assert body["features"]["x"]["drifted"]
    assert math.isclose(body["overall_drift_score"], found.overall_drift_score, abs_tol=1e-6)
    lines = found.table().splitlines()
    assert lines[0] == found.summary
    assert lines[3].startswith("x ")
    assert "drifted" in lines[3]


@pytest.mark.parametrize(
    "values",
    [[0.1], [0.1, 0.2, 0.3], [1 / 3, 2 / 3, 1.1, 1.7], [100.1, 100.2, 100.3], [5.49, 19.99, 24.99, 29.99], [-0.7, 0.1]],
)
@pytest.mark.parametrize(
    "rounded", [np.float32, lambda x: x * 3 / 3 + 1e-15, lambda x: x - 1e-15, lambda x: x + 0.3 - 0.3]
)
def test_values_that_are_rounded_otherwise_are_the_same(values, rounded):
    random = np.random.default_rng(8)
    before, after = (np.where(random.random(4_000) < 0.9, random.choice(values, 4_000), 3.0) for _ in range(2))
    for one, other in ((before, rounded(after)), (rounded(before), after)):
        baseline = Baseline.learn({"x": one})
        report = compare(baseline, baseline.fold({"x": other}), "high")
        assert not report.drifted, report.table()
        assert report.features["x"].unseen_rate == 0.0


def test_what_could_not_be_judged_is_not_called_stable():
    rows = np.random.default_rng(5).normal(size=(1000, 2))
    report = compare(Baseline.learn(rows, rows[:, 0]), Baseline.learn(rows, rows[:, 0]).fold(rows))
    assert report.summary == "none of 4 drifted over 1,000 rows (1 with too few to judge)"
    assert str(report) == report.table()


def test_a_window_of_another_baseline_is_refused():
    other = Baseline.learn({"x": normal(20, 500), "y": normal(21, 500)})
    with pytest.raises(InvalidInput, match="another baseline"):
        compare(BASELINE, other.fold({"x": normal(20, 500), "y": normal(21, 500)}))
