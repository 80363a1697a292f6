"""The tuning benchmark measures what it says: a small part of it, and its own judgement."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import tuning, tuning_victim
from streamb.hpo.study.records import FINISHED_FILE

GOOD = {"kills": 3, "lost": 0, "repeated": 0, "same_trials": True, "same_best": True}


def test_kills_cost_nothing() -> None:
    told = tuning.kills(2, 12, 0.1)
    assert told == {"kills": 2, "trials": 12, "lost": 0, "repeated": 0, "same_trials": True, "same_best": True}
    assert tuning.survives(told, 2)


def test_whatever_is_lost_or_done_again_misses_the_goal() -> None:
    assert tuning.survives(GOOD, 3)
    for worse in ({"kills": 2}, {"lost": 1}, {"repeated": 1}, {"same_trials": False}, {"same_best": False}):
        assert not tuning.survives({**GOOD, **worse}, 3)


def test_what_was_evaluated_and_what_has_finished_are_told_alike(tmp_path: Path) -> None:
    """Else no repetition would ever be seen."""
    tuning_victim.search(tmp_path, 4, 0.0)
    finished, evaluated = tuning._finished(tmp_path), tuning._evaluated(tmp_path)
    assert [finished[number] for number in range(4)] == evaluated
    last = (tmp_path / FINISHED_FILE).read_bytes().splitlines(keepends=True)[-1]
    assert json.loads(last)["number"] == 3


def test_sequential_trials_are_measured() -> None:
    told = tuning.busy("sequential", 1, 3)
    assert 0.0 < told["busy"] <= 1.0
    assert 0.0 <= tuning.deadline("sequential", 0.5)["overrun_s"] < 20.0, "a trial that never ends was waited for"
