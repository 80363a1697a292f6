"""`streamb logs`: of a platform that runs, of one that did not start, and where there is nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from streamb.cli.app import app
from streamb.cluster.ray_logs import keep_logs, note_logs
from tests.cluster.processes import until


@pytest.fixture
def state_dir(tmp_path):
    logs = tmp_path / "ray" / "logs"
    (logs / "serve").mkdir(parents=True)
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    (logs / "raylet.out").write_text("a line of Ray\n")
    lines = "".join(f"line {number}\n" for number in range(100))
    (logs / "worker-a-01000000-11.err").write_text(f":job_id:01000000\n:actor_name:ControllerActor\n{lines}")
    (logs / "worker-b-01000000-12.err").write_text(":job_id:01000000\n:actor_name:MonitorActor\n")
    note_logs(state_dir, logs)
    (state_dir / "up.log").write_text("waiting for Ray\nerror: it did not start [start_failed]\n")
    return state_dir


def logs(state_dir, *arguments, code=0):
    done = CliRunner().invoke(app, ["logs", "--state-dir", str(state_dir), *arguments])
    assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
    return done


@pytest.mark.parametrize("kept", [False, True], ids=["running", "did not start"])
def test_each_part_and_all_of_them(state_dir, tmp_path, kept):
    if kept:
        keep_logs(tmp_path / "ray" / "logs", state_dir)
        (tmp_path / "ray" / "logs").rename(tmp_path / "gone")
    everything = logs(state_dir).stdout
    assert "error: it did not start" in everything
    assert "line 99" in everything
    assert "a line of Ray" not in everything
    assert "monitor" not in everything, "what has written nothing is not shown"
    assert logs(state_dir, "controller", "--lines", "2").stdout.splitlines()[1:] == ["line 98", "line 99"]
    assert "a line of Ray" in logs(state_dir, "ray").stdout
    (told,) = json.loads(logs(state_dir, "start", "-n", "1", "--json").stdout)
    assert told["lines"] == ["error: it did not start [start_failed]"]
    assert told["file"].endswith("up.log")


def test_a_reference_is_found_wherever_it_is(state_dir):
    found = logs(state_dir, "--find", "line 3", "-n", "1").stdout.splitlines()
    assert found[1:] == ["line 3", *(f"line {number}" for number in range(30, 40))]
    assert "line with 'absent'" in logs(state_dir, "--find", "absent", code=1).stderr
    assert "[invalid_input]" in logs(state_dir, "--find", "line", "--follow", code=1).stderr


def test_where_there_is_nothing_it_says_so(state_dir, tmp_path):
    assert "[not_found]" in logs(state_dir, "monitor", code=1).stderr
    assert "parts: start, ray, controller" in logs(state_dir, "nonsense", code=1).stderr
    assert "no platform runs there" in logs(tmp_path / "none", code=1).stderr


def test_what_is_added_is_followed(state_dir, tmp_path):
    out = tmp_path / "out"
    with out.open("w") as output:
        command = [sys.executable, "-m", "streamb", "logs", "controller", "-f", "--state-dir", str(state_dir)]
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE)
    try:
        until(lambda: "line 99" in out.read_text(), 60, "the last lines are shown")
        with (tmp_path / "ray" / "logs" / "worker-a-01000000-11.err").open("a") as file:
            file.write("a new line\n")
        until(lambda: out.read_text().endswith("a new line\n"), 60, "the new line is shown")
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 0
    finally:
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
        child.stderr.close()
        child.wait(60)
