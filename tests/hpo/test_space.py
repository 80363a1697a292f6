"""Search spaces: read from plain data, refused with the parameter's name, and turned into rows and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.errors import InvalidInput
from streamb.hpo import Categorical, Float, Integer, Ordinal, Space
from streamb.hpo.parameters import INACTIVE, INACTIVE_CATEGORY

TREE = {
    "kind": ["svm", "mlp"],
    "C": {"type": "float", "low": 1e-3, "high": 1e3, "log": True, "when": {"kind": "svm"}},
    "kernel": {"type": "categorical", "values": ["rbf", "linear"], "when": {"kind": "svm"}},
    "gamma": {"type": "float", "low": 1e-4, "high": 1.0, "log": True, "when": {"kernel": ["rbf"]}},
    "layers": {"type": "int", "low": 1, "high": 3, "when": {"kind": "mlp"}},
    "second": {"type": "int", "low": 8, "high": 512, "log": True, "when": {"layers": [2, 3]}},
    "verbose": 0,
}


class TestReading:
    def test_every_way_of_writing_a_parameter(self):
        space = Space.of(
            {
                "a": {"type": "float", "low": 0, "high": 1},
                "b": (1, 10),
                "c": (1e-4, 1.0, "log"),
                "d": ["x", "y"],
                "e": {"type": "ordinal", "values": [16, 64, 256]},
                "f": {"type": "bool"},
                "g": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.1},
                "h": 7,
                "i": (0.5, 2),
            }
        )
        kinds = [type(p) for p in space.searched]
        assert kinds == [Float, Integer, Float, Categorical, Ordinal, Categorical, Float, Float]
        assert space.searched[2].log
        assert space.decode(space.sample(np.random.default_rng(0), 1)[0])["h"] == 7
        assert space.searched[6].value(0.35) == 0.3

    @pytest.mark.parametrize(
        ("what", "why"),
        [
            ({"type": "flaot", "low": 0, "high": 1}, "not known"),
            ({"type": "float", "low": 2, "high": 1}, "above"),
            ({"type": "float", "low": 0, "high": 1, "log": True}, "above 0"),
            ({"type": "int", "low": 0, "high": 9, "log": True}, "above 0"),
            ({"type": "float", "low": 0, "high": math.inf}, "finite"),
            ({"type": "float", "low": 0, "high": math.nan}, "finite"),
            ({"type": "float", "low": -1e308, "high": 1e308}, "too wide"),
            ({"type": "float", "low": 1e-300, "high": 1e300, "log": True}, "too wide"),
            ({"type": "float", "low": "0", "high": 1}, "number"),
            ({"type": "int", "low": 0.5, "high": 3}, "whole"),
            ({"type": "float", "low": 0, "high": 1, "step": -1}, "step"),
            ({"type": "float", "low": 0.1, "high": 1, "step": 0.1, "log": True}, "exclude"),
            ({"type": "float", "low": 0, "high": 1, "scale": "log"}, "scale"),
            ({"type": "float", "low": 0, "high": 1, "default": 3}, "default"),
            ({"type": "float", "low": 0, "high": 1, "log": "yes"}, "True or False"),
            ({"type": "categorical", "values": []}, "at least one"),
            ({"type": "fixed"}, "value"),
            ([1, 1], "twice"),
            ((1, 2, 3), "tuple"),
            ({"type": "float", "low": 0, "high": 1, "when": "kind"}, "when"),
            (object(), "does not describe"),
        ],
    )
    def test_a_bad_parameter_is_refused_by_name(self, what: object, why: str):
        with pytest.raises(InvalidInput, match="'broken'") as refused:
            Space.of({"fine": (0.0, 1.0), "broken": what})
        assert why in refused.value.message

    @pytest.mark.parametrize("described", [{}, [("a", (0, 1))], {3: (0, 1)}])
    def test_what_is_no_space_is_refused(self, described: object):
        with pytest.raises(InvalidInput):
            Space.of(described)

    def test_conditions_must_lead_somewhere(self):
        with pytest.raises(InvalidInput, match=r"'b'.*not in the search space"):
            Space.of({"a": (0, 1), "b": {"type": "int", "low": 0, "high": 1, "when": {"c": 1}}})
        circle = {n: {"type": "int", "low": 0, "high": 1, "when": {p: 1}} for n, p in (("a", "b"), ("b", "a"))}
        with pytest.raises(InvalidInput, match="form a cycle"):
            Space.of(circle)


class TestRows:
    @settings(max_examples=30)
    @given(st.integers(0, 2**32 - 1))
    def test_values_and_rows_agree(self, seed: int):
        space = Space.of(TREE)
        for row in space.sample(np.random.default_rng(seed), 5):
            values = space.decode(row)
            assert space.key(space.encode(values)) == space.key(row)
            assert np.array_equal(space.snap(row[None, :])[0], row)

    @settings(max_examples=30)
    @given(st.integers(1, 1000), st.integers(0, 5000), st.data())
    def test_logarithmic_integers_come_back(self, low: int, more: int, data: st.DataObject):
        parameter = Integer("n", low, low + more, log=True)
        value = data.draw(st.integers(low, low + more))
        assert parameter.value(parameter.position(value)) == value

    def test_every_value_has_its_fair_share(self):
        space = Space.of({"n": (0, 4), "c": ["a", "b", "c"], "o": {"type": "ordinal", "values": [1, 10]}})
        rows = space.spread(np.random.default_rng(0).random((6000, 3)))
        for j, levels in enumerate((5, 3, 2)):
            _, counts = np.unique(rows[:, j], return_counts=True)
            assert len(counts) == levels
            assert counts.min() > 0.85 * 6000 / levels

    def test_only_what_is_active_has_a_value(self):
        space = Space.of(TREE)
        mlp = space.encode({"kind": "mlp", "layers": 1})
        assert space.decode(mlp) == {"kind": "mlp", "layers": 1, "verbose": 0}
        at = dict(zip(space.names, mlp, strict=True))
        assert at["C"] == INACTIVE
        assert at["kernel"] == INACTIVE_CATEGORY
        linear = {"kind": "svm", "C": 1.0, "kernel": "linear"}
        assert "gamma" not in space.decode(space.encode(linear))
        with pytest.raises(InvalidInput, match="'gamma' has no value"):
            space.encode({**linear, "kernel": "rbf"})
        with pytest.raises(InvalidInput, match="'C': 5000"):
            space.encode({**linear, "C": 5000})

    def test_neighbours_differ_in_one_choice_and_are_points(self):
        space = Space.of(TREE)
        row = space.encode({"kind": "svm", "C": 10.0, "kernel": "rbf", "gamma": 0.01})
        told = [space.decode(one) for one in space.neighbours(row)]
        assert {"kind": "svm", "C": pytest.approx(10.0), "kernel": "linear", "verbose": 0} in told
        assert {one["kind"] for one in told} == {"svm", "mlp"}
        for one in told:
            space.encode(one)  # raises for what lies outside

    def test_a_small_space_is_listed_without_repetitions(self):
        space = Space.of({"flag": {"type": "bool"}, "n": {"type": "int", "low": 1, "high": 3, "when": {"flag": True}}})
        assert space.size == 4
        assert {tuple(sorted(space.decode(row).items())) for row in space.every} == {
            (("flag", False),),
            *((("flag", True), ("n", n)) for n in (1, 2, 3)),
        }

    def test_true_is_not_one(self):
        space = Space.of({"x": [1, True, None]})
        assert [space.decode(np.array([k]))["x"] for k in (0.0, 1.0, 2.0)] == [1, True, None]
        assert space.encode({"x": True})[0] == 1.0

    def test_defaults_fill_up_with_the_middle(self):
        space = Space.of(
            {
                "C": {"type": "float", "low": 0.01, "high": 100.0, "log": True, "default": 1.5},
                "n": (1, 9),
                "k": ["a", "b"],
            }
        )
        assert space.defaults() == {"C": pytest.approx(1.5), "n": 5, "k": "a"}
