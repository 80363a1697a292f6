"""`streamb tune`, for people and for scripts: run as a child, watched, stopped, resumed, reported."""

from __future__ import annotations

import pytest

from streamb.hpo.study.files import describe
from streamb.hpo.study.folder import State, Studies
from streamb.hpo.study.records import FINISHED_FILE, Kept, Records
from tests.hpo.studied import SPACE, result, trials
from tests.tune_jobs.conftest import plain_csv

__all__ = ["plain_csv"]


@pytest.fixture
def here(tmp_path):
    """Runs commands on a state directory where no platform runs: studies need none."""
    from tests.cli.conftest import Cli

    return Cli(tmp_path / "state")


@pytest.fixture
def study(here):
    """A study of 40 trials that has ended."""
    folder = Studies(here.state_dir).get("svc-1")
    folder.create(
        {
            "model": "svm", "data": "digits.csv", "objective": "accuracy", "direction": "maximize", "n_trials": 40,
            "seed": 3, "created_at": 1e9, "space": describe(SPACE), "arguments": {},
        }
    )  # fmt: skip
    records = Records(folder.path / FINISHED_FILE, {})
    for trial in trials():
        records.append(Kept(trial, trial.score, None))
    records.close()
    folder.keep_result(result())
    folder.mark(State.COMPLETED)
    return folder


def test_list(here, study):
    shown = here("tune", "list")
    assert "svc-1" in shown
    assert "40/40" in shown
    (row,) = here.json("tune", "list")
    assert (row["state"], row["best_number"]) == ("completed", result().best_number)


def test_nothing_was_searched_yet(here):
    assert "there are no studies yet" in here("tune", "list")
    assert here.json("tune", "list") == []


def test_show(here, study):
    shown = here("tune", "show", "svc-1", "--limit", "3")
    assert "40 of 40" in shown
    assert f"{result().best_score:g}" in shown
    assert shown.splitlines()[-1].split()[2] == "completed"
    found = here.json("tune", "show", "svc-1")
    assert len(found["trials"]) == 40
    assert found["result"]["best_parameters"] == result().to_json()["best_parameters"]
    assert found["study"]["model"] == "svm"


def test_report(here, study, tmp_path):
    html, table = tmp_path / "r.html", tmp_path / "r.csv"
    shown = here("tune", "report", "svc-1", "--html", str(html), "--csv", str(table))
    assert shown.splitlines()[1].split()[0] == "C"
    assert html.read_text().count("<svg") == 5
    assert "svc-1" in html.read_text()
    assert len(table.read_text().splitlines()) == 41
    found = here.json("tune", "report", "svc-1")
    assert found["importance"][0]["names"] == ["C"]
    assert found["importance"][0]["share"] > 0.8
    assert found["files"] == []
    here("tune", "report", "svc-1", "--html", str(tmp_path / "no" / "r.html"), code=1)


def test_stop_and_resume_of_what_does_not_run(here, study):
    assert "is completed" in here.run("tune", "stop", "svc-1", "--state-dir", str(here.state_dir), code=1).stderr
    with study.working():
        assert "is stopping" in here("tune", "stop", "svc-1")
        assert here.json("tune", "stop", "svc-1")["reason"] == "asked to stop"
        done = here.run("tune", "resume", "svc-1", "--state-dir", str(here.state_dir), code=1)
        assert "is still running" in done.stderr


def test_what_is_not_there(here):
    for command in ("show", "stop", "resume", "report"):
        done = here.run("tune", command, "nobody", "--state-dir", str(here.state_dir), code=1)
        assert done.stderr.endswith("[not_found]\n")
    here.run("tune", "run", "missing.csv", "--target", "y", code=2)
    here.run("tune", "run", "pyproject.toml", code=2)


def test_run_show_resume(cli, plain_csv, capfd):
    """The searches are processes of their own: what they print goes where this process prints."""
    asked = ("--target", "amount", "--model", "ridge", "--preset", "fast", "--trials", "3", "--folds", "2")
    to = ("--study", "mine", "--executor", "sequential", "--model-id", "amounts", "--version", "1.0.0")
    run = ("tune", "run", str(plain_csv), *asked, *to)
    done = cli.run(*run, "--state-dir", str(cli.state_dir))
    assert capfd.readouterr().out.count("] trial ") == 3
    assert "streamb tune show mine" in done.stderr
    assert "3 of 3" in cli("tune", "show", "mine")
    assert "already" in cli.run(*run, "--state-dir", str(cli.state_dir), code=1).stderr
    made = cli.json("tune", "resume", "mine", "--trials", "4", "--version", "1.1.0")
    assert (made["state"], made["trials"]) == ("completed", 4)
    said = capfd.readouterr()
    assert said.out == ""
    assert "trial 3 [4/4]" in said.err
    newest = cli.json("models", "show", "amounts")["versions"][0]
    assert newest["version"] == "1.1.0"
    assert newest["hyperparameters"] == {"alpha": made["best_parameters"]["estimator__alpha"]}
    assert newest["metrics"]["cv_r2"] == made["best_score"]
    assert newest["lineage"]["data_digest"] == Studies(cli.state_dir).get("mine").about()["data_digest"]


def test_what_the_job_refuses_is_wrong_use(here, plain_csv, capfd):
    here("tune", "run", str(plain_csv), "--target", "amount", "--preset", "hasty", code=2)
    assert "choose from 'fast', 'balanced', 'thorough'" in capfd.readouterr().err


def test_a_search_is_handed_to_the_platform(cli, live, plain_csv):
    asked = ("--target", "label", "--drop", "a", "--drop", "b", "--model-id", "churn", "--version", "1.0.0")
    job = cli("tune", "run", str(plain_csv), *asked, "--submit").strip()
    submitted = live.backend.jobs.submitted[0]
    words = submitted["entrypoint"].split()
    assert words[:3] == ["python", "-m", "tune_jobs.optimize"]
    assert words.count("--drop") == 2
    assert words[words.index("--csv") + 1] == str(plain_csv)
    assert job in cli("jobs", "list")
