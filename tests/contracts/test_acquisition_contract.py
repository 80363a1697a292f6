"""What holds for every acquisition that a search may use: derivatives, direction, finite values, and a line of docs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamb.hpo import ACQUISITIONS
from streamb.hpo.gp.acquisition import acquisition_for

ALL = list(dict.fromkeys(one for turns in ACQUISITIONS.values() for one in turns))


@pytest.mark.parametrize("acquisition", ALL, ids=repr)
class TestAcquisition:
    def test_derivatives_are_differences(self, acquisition):
        mean = np.concatenate([np.linspace(-3.0, 3.0, 25), np.linspace(4.0, 60.0, 15)])
        deviation, step = np.full_like(mean, 0.7), 1e-5
        _, by_mean, by_deviation = acquisition(mean, deviation, 0.2)
        numeric = acquisition(mean + step, deviation, 0.2)[0] - acquisition(mean - step, deviation, 0.2)[0]
        assert by_mean == pytest.approx(numeric / (2 * step), rel=1e-5, abs=1e-5)
        numeric = acquisition(mean, deviation + step, 0.2)[0] - acquisition(mean, deviation - step, 0.2)[0]
        assert by_deviation == pytest.approx(numeric / (2 * step), rel=1e-5, abs=1e-5)

    def test_lower_means_promise_more(self, acquisition):
        value = acquisition(np.linspace(-5.0, 500.0, 400), np.full(400, 0.5), 0.0)[0]
        assert np.all(np.diff(value) < 0)

    def test_is_finite_everywhere(self, acquisition):
        mean, deviation = np.meshgrid([-1e6, -1.0, 0.0, 1.0, 1e6], [1e-9, 1e-3, 1.0, 1e3])
        found = acquisition(mean.ravel(), deviation.ravel(), 0.0)
        assert all(np.isfinite(part).all() for part in found)


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_each_name_has_its_turns_and_is_documented(name: str):
    assert {acquisition_for(name, turn) for turn in range(5)} == set(ACQUISITIONS[name])
    assert f"`{name}`:" in (Path(__file__).parents[2] / "docs/tuning.md").read_text()
