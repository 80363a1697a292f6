"""Ray's log files: which belong to a part, what they say about a failed start, and what is kept of them."""

from __future__ import annotations

import pytest

from streamb.cluster.ray_logs import KEPT_BYTES, KEPT_FILES, cause_in, files_of, find_logs, keep_logs, note_logs

LINE = "[2026-11-30 19:05:18,240 {level} 399 399] (raylet) main.cc:283: {message}\n"


def actor(logs, number, name, said="it says something\n"):
    file = logs / f"worker-{number}-01000000-{number}.err"
    file.write_text(f":job_id:01000000\n:actor_name:{name}\n{said}")
    return file


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "ray" / "logs"
    (folder / "serve").mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ([("I", "all is well")], ""),
        ([("E", "the first error"), ("I", "then nothing"), ("E", "the last error")], "the last error"),
        ([("C", "You have likely discovered a bug. Check failed: port > 0"), ("E", "later")], "Check failed: port > 0"),
        ([("W", "write: No space left on device"), ("C", "Check failed")], "a disk is full: write: No space left on"),
        ([("E", "bind: Address already in use")], "a port that Ray wants is taken: bind: Address already in use"),
        ([("E", "open /x: Read-only file system")], "a folder that Ray needs is read-only: open /x"),
    ],
)
@pytest.mark.parametrize("file", ["gcs_server.err", "raylet.out"])
def test_the_cause_of_a_failed_start_in_one_clause(logs, said, cause, file):
    (logs / file).write_text("".join(LINE.format(level=level, message=message) for level, message in said))
    assert cause_in(logs).startswith(cause)
    assert bool(cause_in(logs)) is bool(cause)


def test_without_logs_there_is_no_cause(tmp_path):
    assert cause_in(tmp_path / "none") == ""


def test_each_part_has_its_files(logs):
    wanted = {
        "controller": actor(logs, 1, "ControllerActor"),
        "monitor": actor(logs, 2, "MonitorActor"),
        "gateway": actor(logs, 3, "ServeReplica:streamb-gateway:Gateway"),
        "console": actor(logs, 4, "ServeReplica:streamb-console:Console"),
        "edge": actor(logs, 5, "EdgeActor"),
        "iris": actor(logs, 6, "ServeReplica:iris--1.0.0--210d6316:ModelVersion"),
        "iris-two": actor(logs, 7, "ServeReplica:iris-two--1.0.0--210d6317:ModelVersion"),
    }
    for part, file in wanted.items():
        assert files_of(part, logs) == [file], part
    assert files_of("models", logs) == [wanted["iris"], wanted["iris-two"]]
    served = logs / "serve" / "replica_iris--1.0.0--210d6316_ModelVersion_ubfk0nti.log"
    served.write_text("a line")
    (logs / "serve" / "controller_515.log").write_text("a line")
    assert files_of("iris", logs) == [wanted["iris"], served]
    assert [file.name for file in files_of("serve", logs)] == ["controller_515.log"]
    (logs / "raylet.out").write_text("a line")
    (logs / "raylet.err").touch()
    assert [file.name for file in files_of("ray", logs)] == ["raylet.out"], "an empty file says nothing"
    assert files_of("nothing", logs) == []


def test_what_is_kept_is_bounded_and_found_when_the_rest_is_gone(tmp_path, logs):
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    (logs / "raylet.out").write_bytes(b"0" * KEPT_BYTES + b"the end")
    for number in range(KEPT_FILES + 5):
        actor(logs, number, "ServeReplica:m--1.0.0--x:ModelVersion")
    (logs / "serve" / "controller_1.log").write_text("a line")
    note_logs(state_dir, logs)
    assert find_logs(state_dir) == logs
    kept = keep_logs(logs, state_dir)
    assert kept == state_dir / "logs" / "ray"
    note_logs(state_dir, tmp_path / "gone")
    assert find_logs(state_dir) == kept
    files = [file for file in kept.rglob("*") if file.is_file()]
    assert len(files) == KEPT_FILES
    assert (kept / "raylet.out").read_bytes().endswith(b"the end")
    assert (kept / "raylet.out").stat().st_size == KEPT_BYTES
    assert keep_logs(tmp_path / "gone", state_dir) is None
    assert find_logs(state_dir) == kept, "no logs replace none"


def test_a_copy_that_cannot_be_written_hides_no_other_failure(tmp_path, logs):
    (logs / "raylet.out").write_text("a line")
    (tmp_path / "file").touch()
    assert keep_logs(logs, tmp_path / "file") is None
    assert find_logs(tmp_path / "file") is None
