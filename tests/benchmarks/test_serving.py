"""The benchmark's command line, its workload, and one peer run through the whole procedure."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from benchmarks import serving, workload
from benchmarks.servers import SERVERS, ServerError, Target, check_answers
from streamb.clock import SystemClock

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_the_workload_is_the_same_every_time() -> None:
    rows = workload.rows()
    assert np.shape(rows) == (workload.DIFFERENT_ROWS, workload.FEATURES)
    predictions = workload.answer(rows)["predictions"]
    assert {*predictions} == {0, 1}
    assert predictions == workload.pipeline().predict(rows).tolist()


@pytest.mark.parametrize("argv", [["--only", "a,z"], ["--rounds", "0"], ["--soak", "-1"], ["--seconds", "x"]])
def test_wrong_arguments_end_with_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        serving.main(argv)
    assert ended.value.code == 2
    assert "error: argument" in capsys.readouterr().err


def test_without_wrk_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    assert serving.main(["--only", "b"]) == 2
    assert "wrk is not installed" in capsys.readouterr().err


def test_wrong_answers_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = httpx.Response(200, json={"predictions": [2]})
    monkeypatch.setattr(httpx.Client, "post", lambda *_, **__: wrong)
    with pytest.raises(ServerError, match="answered row 0 wrong"):
        check_answers(Target("http://127.0.0.1:1/predict", psutil.Process()))


@pytest.mark.fault  # starts and ends a real server; not for `make fast`
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_peer_is_started_checked_loaded_and_ended(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    command = [sys.executable, "-m", "benchmarks.serving", "--only", "b", "--rounds", "1", "--seconds", "1"]
    begun = SystemClock().now()
    finished = subprocess.run([*command, "--json", file], capture_output=True, text=True, check=False, timeout=150)
    assert finished.returncode == 0, finished.stderr
    assert "(b) FastAPI + uvicorn" in finished.stdout
    assert "PASS  failed requests over all runs: 0" in finished.stdout
    document = json.loads(file.read_text())
    assert [sample["connections"] for sample in document["samples"]] == [1, 16, 64]
    assert all(sample["rate"] > 0 for sample in document["samples"])
    assert not [p for p in psutil.process_iter() if p.create_time() > begun and SERVERS[1].module in p.cmdline()]
