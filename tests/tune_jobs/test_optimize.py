"""The search job from its command line to its study, report and artifact, without a platform."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from streamb.crypto import SigningKey
from streamb.hpo.study.folder import State, Studies
from streamb.models import load_artifact, sign_artifact
from streamb.sdk.job_options import SearchOptions
from tests.tune_jobs.conftest import customers
from tune_jobs.estimators import MODELS
from tune_jobs.optimize import main
from tune_jobs.optimize_plan import going_on
from tune_jobs.searchable import find_searchable, own_names
from tune_jobs.searched_rows import rows_to_search
from tune_jobs.table import read_table

UNHURRIED = "tests.tune_jobs.unhurried:Unhurried"
QUICK = ("--folds", "2", "--executor", "sequential")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ML_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def unhurried(tmp_path: Path) -> tuple[str, ...]:
    """A model of the user's own, by its import path, with a space of its own."""
    space = tmp_path / "space.json"
    space.write_text(json.dumps({"max_depth": {"type": "int", "low": 1, "high": 60}}))
    return ("--model", UNHURRIED, "--space", str(space))


def search(csv: Path, *options: str, target: str = "label", trials: int = 4) -> int:
    asked = ("--csv", str(csv), "--target", target, "--preset", "fast", "--trials", str(trials))
    return main([*asked, "--model", "logistic", *QUICK, *options])  # the last of two wins


class TestTheJob:
    def test_it_searches_reports_and_writes_the_best_model(
        self, customers_csv: Path, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        more = ("--drop", "note", "--study", "first", "--output", str(out), "--tensorboard")
        assert search(customers_csv, *more, "--model", "ridge", target="spending") == 0
        lines = capsys.readouterr().out.splitlines()
        assert sum("] trial " in line for line in lines) == 4
        study = Studies(state).get("first")
        assert study.state()[0] is State.COMPLETED
        result = study.result()
        assert result is not None
        assert len(study.trials()) == 4
        about = study.about()
        assert (about["objective"], about["task"], about["n_trials"]) == ("r2", "regression", 4)
        assert "<svg" in (study.path / "report.html").read_text()
        assert len((study.path / "trials.csv").read_text().splitlines()) == 5
        assert list((study.path / "tensorboard").rglob("events.*"))
        report = json.loads((out / "report.json").read_text())
        metrics = report["metadata"]["metrics"]
        assert metrics["r2"] > 0.95
        assert metrics["cv_r2"] == result["best_score"]
        assert metrics["training_rows"] + metrics["test_rows"] == 240
        assert report["metadata"]["study"] == "first"
        assert report["metadata"]["hyperparameters"] == own_names(result["best_parameters"])
        assert report["lineage"]["data_digest"] == about["data_digest"]
        key = SigningKey.load_or_create(tmp_path / "key.pem")
        sign_artifact(out / "model", key)
        assert load_artifact(out / "model", trusted=[key.public]).task == "regression"

    def test_a_study_is_stopped_and_goes_on_to_the_same_best(
        self, plain_csv: Path, state: Path, unhurried: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert search(plain_csv, *unhurried, "--study", "whole", trials=8) == 0
        stopping = Studies(state).get("cut")

        def stop_soon() -> None:
            while len(stopping.trials()) < 2:
                time.sleep(0.01)
            stopping.request_stop()

        threading.Thread(target=stop_soon, daemon=True).start()
        assert search(plain_csv, *unhurried, "--study", "cut", trials=8) == 1
        before = stopping.trials()
        assert 2 <= len(before) < 8
        assert stopping.state()[0] is State.STOPPED
        assert "tune resume cut" in capsys.readouterr().out
        assert main(["--resume", "cut"]) == 0
        whole = Studies(state).get("whole")
        assert [t.parameters for t in stopping.trials()] == [t.parameters for t in whole.trials()]
        assert stopping.trials()[: len(before)] == before
        assert stopping.row()["best_score"] == whole.row()["best_score"]

    def test_more_trials_can_be_asked_for(self, plain_csv: Path, state: Path) -> None:
        assert search(plain_csv, "--study", "s", trials=3) == 0
        study = Studies(state).get("s")
        first = study.trials()
        assert main(["--resume", "s", "--trials", "5"]) == 0
        assert len(study.trials()) == 5
        assert study.trials()[:3] == first
        assert study.about()["n_trials"] == 5

    def test_changed_data_is_refused_on_resume(
        self, plain_csv: Path, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        csv = tmp_path / "own.csv"
        csv.write_bytes(plain_csv.read_bytes())
        assert search(csv, "--study", "s", trials=2) == 0
        csv.write_text(csv.read_text() + csv.read_text().splitlines()[-1] + "\n")
        assert main(["--resume", "s"]) == 2
        assert "has changed since" in capsys.readouterr().err

    def test_what_does_not_fit_any_more_is_a_wrong_argument_on_resume(
        self, plain_csv: Path, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        csv, out = tmp_path / "own.csv", tmp_path / "out"
        csv.write_bytes(plain_csv.read_bytes())
        assert search(csv, "--study", "s", "--output", str(out), trials=2) == 0
        assert main(["--resume", "s"]) == 2
        assert "it exists already; name a new folder" in capsys.readouterr().err
        assert main(["--resume", "s", "--output", str(tmp_path / "other"), "--version", "1.0.0"]) == 2
        assert "--model-id and --version go together" in capsys.readouterr().err
        assert main(["--resume", "s", "--output", str(tmp_path / "other")]) == 0
        assert (tmp_path / "other" / "report.json").exists()
        csv.unlink()
        assert main(["--resume", "s", "--output", str(tmp_path / "third")]) == 2
        assert "own.csv: Path does not point to a file" in capsys.readouterr().err

    def test_a_signal_before_the_first_trial_has_ended_stops_it_in_order(
        self, plain_csv: Path, state: Path, unhurried: tuple[str, ...]
    ) -> None:
        asked = ("--csv", str(plain_csv), "--target", "label", "--study", "early", *QUICK, *unhurried)
        slow = ("--folds", "50", "--trials", "3")  # the first trial takes a while
        study = Studies(state).get("early")
        command = [sys.executable, "-m", "tune_jobs.optimize", *asked, *slow]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            until = time.monotonic() + 60
            while not (study.path / "journal.jsonl").exists() and time.monotonic() < until:
                time.sleep(0.01)
            child.send_signal(signal.SIGTERM)
            said, wrong = child.communicate(timeout=60)
        assert child.returncode == 1
        assert "tune resume early" in said
        assert wrong == ""
        assert study.state() == (State.STOPPED, "by its user")

    def test_kill_loses_no_finished_trial(self, plain_csv: Path, state: Path, unhurried: tuple[str, ...]) -> None:
        """SIGKILL of the process in the midst of a study, then resume."""
        asked = ("--csv", str(plain_csv), "--target", "label", "--trials", "99", "--study", "killed", *QUICK)
        command = [sys.executable, "-m", "tune_jobs.optimize", *asked, *unhurried]
        study = Studies(state).get("killed")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            until = time.monotonic() + 60
            while len(study.trials()) < 3 and time.monotonic() < until:
                time.sleep(0.02)
            os.kill(child.pid, signal.SIGKILL)
        before = study.trials()
        assert len(before) >= 3
        assert study.state()[0] is State.INTERRUPTED
        planned = len(before) + 1
        assert main(["--resume", "killed", "--trials", str(planned)]) == 0
        assert study.trials()[: len(before)] == before
        assert len(study.trials()) == planned

    def test_a_model_of_ones_own_with_a_space_of_ones_own(
        self, plain_csv: Path, state: Path, unhurried: tuple[str, ...]
    ) -> None:
        options = (*unhurried, "--study", "own", "--objective", "balanced_accuracy")
        assert search(plain_csv, *options, trials=3) == 0
        trials = Studies(state).get("own").trials()
        assert {name for trial in trials[1:] for name in trial.parameters} == {"estimator__max_depth"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model", "magic"), "--model magic: no such model; there are random_forest"),
        (("--model", "ridge"), "not for classification; allowed: random_forest"),
        (("--model", "nowhere:Model"), "it cannot be imported"),
        (("--model", "json:dumps"), "cannot be made without arguments"),
        (("--model", "sklearn.neighbors:RadiusNeighborsClassifier"), "give one with --space"),
        (("--space", "pyproject.toml"), "cannot be read as JSON"),
        (("--group", "nothing"), "--group nothing: no such column"),
        (("--group", "a", "--order-by", "a"), "exclude each other"),
        (("--model-id", "churn"), "go together"),
        (("--deploy", "immediate"), "--deploy needs --model-id"),
        (("--trials", "0"), "--trials 0"),
        (("--resume", "x"), "leave out --csv"),
    ],
)
def test_wrong_arguments_end_with_code_2(
    plain_csv: Path, state: Path, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(plain_csv, *options) == 2
    assert said in capsys.readouterr().err
    assert Studies(state).all() == []


def test_what_fails_ends_with_code_1(plain_csv: Path, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--resume", "nobody"]) == 1
    assert "there is no study 'nobody'" in capsys.readouterr().out
    assert search(plain_csv, "--study", "s", "--objective", "magic") == 1
    assert "not a scikit-learn scorer" in capsys.readouterr().out
    assert Studies(state).get("s").state()[0] is State.FAILED
    assert main(["--csv", "a.csv"]) == 2


def test_rows_of_a_group_stay_together_and_time_goes_forward(tmp_path: Path) -> None:
    frame = customers()
    frame["day"] = np.arange(len(frame))[::-1]
    frame["shop"] = [f"shop{k % 12}" for k in range(len(frame))]
    frame.to_csv(tmp_path / "t.csv", index=False)
    table = read_table(tmp_path / "t.csv", "spending")
    grouped, rows = rows_to_search(table, "shop", None, 0.25, seed=1)
    assert "shop" not in grouped.schema.names
    assert rows.groups is not None
    assert not {*rows.groups[rows.training]} & {*rows.groups[rows.testing]}
    assert 0.2 <= len(rows.testing) / len(frame) <= 0.4
    ordered, rows = rows_to_search(table, None, "day", 0.25, seed=1)
    days = table.frame["day"].to_numpy()
    assert "day" not in ordered.frame.columns
    assert days[rows.training].max() < days[rows.testing].min()
    assert (np.diff(days[rows.training]) > 0).all()
    assert rows.splitting == "time"


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_named_model_has_a_space(task: str) -> None:
    from streamb.hpo import Space

    for name, paths in MODELS.items():
        if paths[0 if task == "classification" else 1] is None:
            continue
        found = find_searchable(name, task, None)  # type: ignore[arg-type]
        known = found.estimator.get_params()
        assert {*found.space} <= {*known}, name
        Space.of(found.space_of_pipeline())


def test_a_study_remembers_what_it_was_asked(plain_csv: Path) -> None:
    args = SearchOptions(csv=plain_csv, target="label", trials=7, drop=("note",), seed=3, state_dir=Path("here"))
    told = args.remembered()
    assert told == {"csv": str(plain_csv), "target": "label", "trials": 7, "drop": ["note"], "seed": 3}
    again = going_on(SearchOptions(resume="s", trials=9, workers=2), json.loads(json.dumps(told)))
    assert (again.csv, again.trials, again.workers, again.drop, again.seed) == (plain_csv, 9, 2, ("note",), 3)
    assert (again.study, again.state_dir) == ("s", None)
