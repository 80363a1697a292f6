"""Presets and settings: what they hold, and what is refused."""

from __future__ import annotations

import pytest

from streamb.errors import InvalidInput
from streamb.hpo.presets import PRESETS, preset


def test_the_presets():
    shapes = {name: (one.n_trials, one.folds, one.repeats, one.scheduler) for name, one in PRESETS.items()}
    assert shapes == {"fast": (20, 3, 1, "asha"), "balanced": (50, 5, 1, "asha"), "thorough": (150, 5, 2, "asha")}
    assert all(one.deadline_s for one in PRESETS.values())


def test_settings_can_be_changed():
    assert preset("fast", n_trials=7, deadline_s=None).n_trials == 7


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_trials": 0}, "n_trials"),
        ({"n_trials": 2.5}, "valid integer"),
        ({"folds": 1}, "folds"),
        ({"folds": True}, "folds"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"trial_timeout_s": float("nan")}, "trial_timeout_s"),
        ({"acquisition": "best"}, "auto, ei, pi, ucb"),
        ({"scheduler": "hyperband"}, "'asha' or 'none'"),
        ({"executor": "dask"}, "'sequential', 'processes' or 'ray'"),
        ({"splitting": "random"}, "stratified"),
        ({"max_concurrent_trials": 0}, "max_concurrent_trials"),
        ({"trials": 3}, "there are: n_trials"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, said):
    with pytest.raises(InvalidInput, match=said):
        preset("fast", **changes)


def test_unknown_presets_are_refused():
    with pytest.raises(InvalidInput, match="fast, balanced, thorough"):
        preset("quick")
