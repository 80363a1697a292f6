"""Axes: where values lie, and what is written beside them."""

from __future__ import annotations

import pytest

from streamb.charts.axes import Axis, axis_around, axis_through


class TestAxes:
    @pytest.mark.parametrize(
        ("axis", "labels"),
        [
            (Axis("C", low=1e-3, high=1e3, log=True), ["0.001", "0.1", "10", "1000"]),
            (Axis("x", low=0.0, high=1.0), ["0", "0.5", "1"]),
            (Axis("x", low=-3.0, high=37.0), ["0", "10", "20", "30"]),
            (Axis("x", low=2.0, high=5.0, log=True), ["2", "3.162", "5"]),
            (Axis("k", ("a", None)), ["a", "None"]),
            (Axis("x", low=4.0, high=4.0), ["4"]),
            (
                Axis("gamma", low=1e-3, high=10.0, log=True, others=("scale",)),
                ["0.001", "0.01", "0.1", "1", "10", "scale"],
            ),
        ],
    )
    def test_ticks(self, axis, labels):
        assert [label for _, label in axis.ticks()] == labels
        assert all(0.0 <= position <= 1.0 for position, _ in axis.ticks())

    def test_an_axis_is_read_off_what_is_drawn(self):
        assert axis_through("C", [0.01, 1.0, 100.0]) == Axis("C", low=0.01, high=100.0, log=True)
        assert axis_through("k", ["a", "b", "a"]) == Axis("k", ("a", "b"))
        assert axis_through("k", ["a", "a"]) is None

    def test_scores_have_room_around_them_even_if_there_is_one_or_none(self):
        for scores in ([0.2, 0.4], [0.3], [0.0], [float("nan"), 0.3]):
            axis = axis_around("score", scores)
            assert all(axis.low < score < axis.high for score in scores if score == score)
        assert axis_around("score", []) == Axis("score")
