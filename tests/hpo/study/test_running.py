"""Studies as a whole: order, limits, deadlines, failures, workers that die or hang, and going on after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from streamb.clock import SystemClock
from streamb.config import child_environment
from streamb.errors import DeadlineExceeded, InvalidInput
from streamb.hpo.presets import OptimizationConfig
from streamb.hpo.space import Space
from streamb.hpo.study.evaluation import FunctionEvaluator
from streamb.hpo.study.executing import InProcess
from streamb.hpo.study.pool import ProcessPool
from streamb.hpo.study.records import FINISHED_FILE
from streamb.hpo.study.running import Plan, Study
from streamb.hpo.study.study import NoTrialSucceeded, Outcome, StoppedBy
from tests.hpo import killed_study

SPACE = {"x": (-5.0, 5.0), "y": (0.0, 1.0)}


def bowl(p):
    return (p["x"] - 1.0) ** 2 + p["y"]


class Watcher:
    def __init__(self):
        self.views, self.seen, self.results = [], [], []

    def began(self, study):
        self.views.append(study)

    def trial(self, result, best, left_s):
        self.seen.append((result, best, left_s))

    def ended(self, result):
        self.results.append(result)


def study(function=bowl, *, workers=0, space=None, watchers=(), direction="minimize", **settings):
    config = OptimizationConfig(**{"n_trials": 12, "deadline_s": None, "seed": 1, **settings})
    space = Space.of(space or SPACE)
    plan = Plan("test", space, "value", direction, FunctionEvaluator(function), config, watchers=watchers)

    def make(evaluator):
        return ProcessPool(evaluator, workers, SystemClock()) if workers else InProcess(evaluator, SystemClock())

    return Study(plan, make, SystemClock())


class TestSequential:
    def test_the_same_seed_gives_the_same_search(self):
        one, other = study().run(), study().run()
        assert [t.parameters for t in one.trials] == [t.parameters for t in other.trials]
        assert one.best_score == min(t.score for t in one.trials)
        assert one.stopped_by is StoppedBy.TRIALS
        assert one.improvements.default_score is None
        assert one.rescored is None

    def test_defaults_of_the_space_come_first(self):
        space = {"x": {"type": "float", "low": -5.0, "high": 5.0, "default": 3.0}}
        result = study(lambda p: (p["x"] - 1) ** 2, space=space).run()
        assert result.trials[0].parameters == {"x": 3.0}
        assert result.improvements.default_score == 4.0
        assert result.improvements.relative_improvement > 50.0

    def test_watchers_hear_everything_in_order(self):
        watcher = Watcher()
        result = study(watchers=[watcher], deadline_s=60.0).run()
        assert (watcher.views[0].n_trials, watcher.views[0].executor) == (12, "sequential")
        assert [seen.number for seen, _, _ in watcher.seen] == list(range(12))
        assert watcher.seen[-1][1].score == min(t.score for t in result.trials)
        assert all(0.0 <= left <= 60.0 for _, _, left in watcher.seen)
        assert watcher.results == [result]

    def test_failures_are_shown_and_do_not_end_it(self):
        def sometimes(p):
            if p["x"] < 0:
                raise ValueError("x must not be negative")
            return float("nan") if p["y"] > 0.8 else bowl(p)

        result = study(sometimes, n_trials=20).run()
        failed = [t for t in result.trials if t.status is Outcome.FAILED]
        assert failed
        assert any("negative" in t.error for t in failed)
        assert result.best_parameters["x"] >= 0

    def test_when_all_fail_the_first_reason_is_the_error(self):
        def never(p):
            raise RuntimeError("no data")

        with pytest.raises(NoTrialSucceeded, match=r"none of 3 trials.*RuntimeError: no data"):
            study(never, n_trials=3).run()

    def test_a_finite_space_is_exhausted(self):
        result = study(lambda p: p["k"], space={"k": [1, 2, 3]}).run()
        assert result.stopped_by is StoppedBy.EXHAUSTED
        assert len(result.trials) == 3

    def test_a_user_can_stop_it(self):
        runs = study(lambda p: runs.stop() or 1.0)
        result = runs.run()
        assert (result.stopped_by, len(result.trials)) == (StoppedBy.USER, 1)

    def test_ctrl_c_stops_it_with_what_was_found(self):
        def interrupted(p):
            if p["x"] < 0:
                raise KeyboardInterrupt
            return p["x"]

        result = study(interrupted).run()
        assert result.stopped_by is StoppedBy.USER
        assert result.trials

    def test_ctrl_c_before_anything_was_found_goes_on_its_way(self):
        def interrupted(p):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            study(interrupted).run()

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_stop_does_not_wait_for_the_trial_that_runs(self, workers):
        def slow(p):
            time.sleep(20.0 if p["x"] < 2.9 else 0.0)
            return p["x"]

        space = {"x": {"type": "float", "low": -5.0, "high": 5.0, "default": 3.0}}
        watcher = Watcher()
        runs = study(slow, space=space, workers=workers, deadline_s=60.0, watchers=[watcher])
        watcher.trial = lambda *_: threading.Timer(0.3, runs.stop).start()
        began = time.monotonic()
        result = runs.run()
        assert time.monotonic() - began < 10.0
        assert result.stopped_by is StoppedBy.USER
        assert result.trials[-1].error == "stopped by the user"

    def test_a_stop_before_anything_was_found_says_so(self):
        runs = study(lambda p: time.sleep(20.0), deadline_s=60.0)
        threading.Timer(0.3, runs.stop).start()
        with pytest.raises(NoTrialSucceeded, match="stopped before any trial"):
            runs.run()

    def test_the_deadline_is_hard_though_a_trial_hangs(self):
        def slow(p):
            time.sleep(60.0 if p["x"] < 0 else 0.0)
            return bowl(p)

        began = time.monotonic()
        result = study(slow, deadline_s=0.6).run()
        assert time.monotonic() - began < 20.0, "it waited for the trial"
        assert result.stopped_by is StoppedBy.DEADLINE
        assert result.trials[-1].status is Outcome.TIMED_OUT
        assert "deadline" in result.trials[-1].error

    def test_one_trial_may_take_too_long(self):
        result = study(lambda p: time.sleep(5.0 if p["x"] < -3 else 0.0) or bowl(p), trial_timeout_s=0.05).run()
        assert result.stopped_by is StoppedBy.TRIALS
        late = [t for t in result.trials if t.status is Outcome.TIMED_OUT]
        assert late
        assert "0.05 s" in late[0].error


class TestWorkers:
    def test_trials_run_beside_each_other_and_any_of_them_may_die(self):
        def deadly(p):
            time.sleep(0.02)
            if p["x"] < -2:
                os._exit(7)
            return bowl(p)

        result = study(deadly, workers=2).run()
        assert sorted(t.number for t in result.trials) == list(range(12))
        dead = [t for t in result.trials if t.status is Outcome.FAILED]
        assert dead
        assert all("exited with 7" in t.error for t in dead)
        assert len({t.node for t in result.trials if t.node}) >= 2

    def test_a_hanging_trial_is_killed_by_its_limit_and_by_the_deadline(self):
        def hangs(p):
            while p["x"] < 1.0:
                pass
            return bowl(p)

        began = time.monotonic()
        space = {"x": {"type": "float", "low": -5.0, "high": 5.0, "default": 3.0}, "y": 0.0}
        result = study(hangs, workers=1, deadline_s=3.0, trial_timeout_s=0.2, n_trials=500, space=space).run()
        assert time.monotonic() - began < 30.0, "five hundred trials of 0.2 s take longer"
        assert result.stopped_by is StoppedBy.DEADLINE
        assert any("0.2 s" in t.error for t in result.trials)

    def test_nothing_in_time_is_an_error(self):
        with pytest.raises(DeadlineExceeded, match="more time"):
            study(lambda p: time.sleep(60), workers=1, deadline_s=0.3).run()

    def test_what_cannot_travel_is_refused(self):
        lock = threading.Lock()
        with pytest.raises(InvalidInput, match="executor='sequential'"):
            study(lambda p: lock, workers=1).run()
        with pytest.raises(InvalidInput, match="value in the search space"):
            study(workers=1, space={**SPACE, "guard": [lock, None]}, n_trials=30).run()

    def test_memory_is_named_as_a_reason_to_be_killed(self):
        space = {"x": {"type": "float", "low": -5.0, "high": 5.0, "default": 3.0}}

        def dies(p):
            return 1.0 if p["x"] == 3.0 else os.kill(os.getpid(), signal.SIGKILL)

        result = study(dies, workers=1, space=space, n_trials=2).run()
        assert result.trials[1].error.endswith("killed by signal 9; perhaps the machine ran out of memory")


def numbers(folder: Path) -> list[int]:
    lines = (folder / FINISHED_FILE).read_text().splitlines()[1:]
    return [json.loads(line)["number"] for line in lines]


class TestGoingOn:
    def test_a_finished_study_is_not_run_again(self, tmp_path):
        once = study(folder=tmp_path).run()
        again = study(lambda p: pytest.fail("it ran again"), folder=tmp_path).run()
        assert again.best_parameters == once.best_parameters
        assert [t.parameters for t in again.trials] == [t.parameters for t in once.trials]

    def test_more_trials_continue_as_if_never_interrupted(self, tmp_path):
        study(folder=tmp_path, n_trials=8).run()
        watcher = Watcher()
        result = study(folder=tmp_path, n_trials=16, watchers=[watcher]).run()
        assert len(watcher.views[0].finished) == 8
        assert [t.parameters for t in result.trials] == [t.parameters for t in study(n_trials=16).run().trials]

    def test_another_study_is_refused(self, tmp_path):
        study(folder=tmp_path, n_trials=2).run()
        with pytest.raises(InvalidInput, match="another search"):
            study(folder=tmp_path, n_trials=2, direction="maximize").run()

    @pytest.mark.parametrize("lost", ["journal.jsonl", FINISHED_FILE])
    def test_files_that_do_not_belong_together_are_refused(self, tmp_path, lost):
        study(folder=tmp_path, n_trials=3).run()
        (tmp_path / lost).unlink()
        with pytest.raises(InvalidInput, match="holds other trials"):
            study(folder=tmp_path, n_trials=5).run()

    def test_other_lists_of_values_are_another_search(self, tmp_path):
        study(lambda p: p["k"][0], space={"k": [(1,), (2,)]}, folder=tmp_path, n_trials=2).run()
        with pytest.raises(InvalidInput, match="another search"):
            study(lambda p: p["k"][0], space={"k": [(3,), (4,)]}, folder=tmp_path, n_trials=2).run()

    def test_a_line_cut_short_costs_one_trial(self, tmp_path):
        study(folder=tmp_path, n_trials=5).run()
        file = tmp_path / FINISHED_FILE
        file.write_bytes(file.read_bytes()[:-9])
        journal = tmp_path / "journal.jsonl"
        journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
        result = study(folder=tmp_path, n_trials=5).run()
        assert [t.score for t in result.trials] == [t.score for t in study(n_trials=5).run().trials]

    def test_killed_at_any_moment_nothing_is_lost_and_nothing_repeated(self, tmp_path):
        expected = killed_study.search(None, 14, 0.0)
        command = [sys.executable, "-m", "tests.hpo.killed_study", str(tmp_path), "14", "0.03"]
        root = Path(__file__).parents[3]
        before = 0
        for least in (3, 11):
            with subprocess.Popen(command, cwd=root, env=child_environment(OMP_NUM_THREADS="1")) as child:
                while not (tmp_path / FINISHED_FILE).exists() or len(numbers(tmp_path)) < least:
                    assert child.poll() is None
                    time.sleep(0.003)
                child.send_signal(signal.SIGKILL)
            kept = numbers(tmp_path)
            assert len(kept) >= max(least, before)
            before = len(kept)
        result = killed_study.search(tmp_path, 14, 0.0)
        assert numbers(tmp_path) == list(range(14))
        assert [(t.parameters, t.score, t.status) for t in result.trials] == [
            (t.parameters, t.score, t.status) for t in expected.trials
        ]
        assert (result.best_parameters, result.best_score) == (expected.best_parameters, expected.best_score)
