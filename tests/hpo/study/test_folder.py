"""A study's folder: what is in it while a study runs, after it ended, and after a crash."""

from __future__ import annotations

import json

import pytest

from streamb.clock import ManualClock
from streamb.errors import AlreadyRunning, Conflict, InvalidInput, NotFound, StorageFailed
from streamb.hpo.study.folder import State, Studies
from streamb.hpo.study.records import FINISHED_FILE, Kept, Records
from tests.hpo.studied import result, trials

ABOUT = {"model": "SVC", "objective": "accuracy", "direction": "maximize", "n_trials": 40, "created_at": 5.0}


@pytest.fixture
def folder(tmp_path):
    study = Studies(tmp_path).get("svc-1")
    study.create(ABOUT)
    return study


def test_a_study_from_beginning_to_end(tmp_path, folder):
    assert folder.trials() == []
    records = Records(folder.path / FINISHED_FILE, {"model": "SVC"})
    with folder.working():
        folder.mark(State.RUNNING)
        assert folder.state() == (State.RUNNING, "")
        for trial in trials(3):
            records.append(Kept(trial, trial.score, None))
        assert folder.trials() == trials(3)
        folder.request_stop()
        assert folder.state() == (State.RUNNING, "asked to stop")
        folder.keep_result(result())
        folder.mark(State.COMPLETED)
    records.close()
    assert folder.state() == (State.COMPLETED, "")
    row = folder.row()
    assert (row["state"], row["trials"], row["best_score"]) == ("completed", 3, result().best_score)
    assert [study.study_id for study in Studies(tmp_path).all()] == ["svc-1"]
    folder.reopen()
    assert folder.result() is None
    assert not folder.stop_requested
    best = max(trials(3), key=lambda trial: trial.score)
    assert (folder.row()["best_number"], folder.row()["best_score"]) == (best.number, best.score)


def test_a_process_that_died_leaves_an_interrupted_study(folder):
    with folder.working():
        folder.mark(State.RUNNING)
    state, reason = folder.state()
    assert state is State.INTERRUPTED
    assert "tune resume" in reason
    folder.mark(State.FAILED, "no memory")
    assert folder.state() == (State.FAILED, "no memory")


def test_a_line_that_is_being_written_is_left_out(folder):
    records = Records(folder.path / FINISHED_FILE, {})
    records.append(Kept(trials(1)[0], 0.5, None))
    records.close()
    path = folder.path / FINISHED_FILE
    path.write_bytes(path.read_bytes() + b'{"number": 1, "para')
    assert folder.trials() == trials(1)
    path.write_text("{}\nnonsense\n")
    with pytest.raises(StorageFailed, match=r"finished\.jsonl cannot be read"):
        folder.trials()
    (folder.path / "study.json").write_text("[]")
    with pytest.raises(StorageFailed, match="no JSON object"):
        folder.about()


def test_two_processes_do_not_work_on_one_study(folder):
    with folder.working(), pytest.raises(AlreadyRunning, match="svc-1"), folder.working():
        pass
    with folder.working():
        pass


def test_what_is_refused(tmp_path, folder):
    with pytest.raises(Conflict, match="already"):
        folder.create(ABOUT)
    with pytest.raises(Conflict, match="interrupted"):
        folder.request_stop()
    with pytest.raises(NotFound, match="tune list"):
        Studies(tmp_path).get("nobody").about()
    for name in ("", "../x", "A", ".hidden", "x" * 65):
        with pytest.raises(InvalidInput, match="cannot name a study"):
            Studies(tmp_path).get(name)


def test_ids_and_order(tmp_path):
    studies, clock = Studies(tmp_path), ManualClock(86400.0 * 365)
    assert studies.all() == []
    for place in range(2):
        study = studies.get(studies.new_id("RandomForest (fast)", clock))
        study.create({**ABOUT, "created_at": float(place)})
    ids = [study.study_id for study in studies.all()]
    assert ids == ["randomforest--fast-19710101-2", "randomforest--fast-19710101-1"]
    studies.all()[0].amend(n_trials=60)
    assert json.loads((studies.all()[0].path / "study.json").read_text())["n_trials"] == 60
