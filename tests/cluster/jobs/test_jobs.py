"""Jobs on a real Ray: run, follow, stop, queue, and survive the death of whoever watches or runs them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import ray

from streamb.clock import SystemClock
from streamb.cluster.jobs.jobs import JobRunner
from streamb.cluster.jobs.process import JobState
from streamb.cluster.jobs.record import COLLECTION, Job
from streamb.cluster.names import NAMESPACE
from streamb.errors import InvalidInput, NotFound, Overloaded
from tests.store.memory import MemoryRecords

pytestmark = pytest.mark.ray

TIMEOUT_S = 60


@pytest.fixture
def records() -> MemoryRecords:
    return MemoryRecords(SystemClock())


@pytest.fixture
def runner(ray_cluster: str, tmp_path: Path, records: MemoryRecords) -> Iterator[JobRunner]:
    runner = JobRunner(tmp_path / "state", records, SystemClock())
    yield runner
    last = JobRunner(tmp_path / "state", records, SystemClock())  # a test may have replaced the first one
    for job in last.list(100, None).items:
        last.stop(job.id)
    follow(last, lambda: all(ended(job) for job in last.list(100, None).items))


def ended(job: Job) -> bool:
    return job.state in {JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED}


def follow(runner: JobRunner, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, [(job.id, job.state, job.reason) for job in runner.list(100, None).items]
        runner.reconcile()
        time.sleep(0.05)


def submit(runner: JobRunner, code: str, **changes: object) -> Job:
    # One line, single quotes only: it goes through shlex as a person would type it.
    values: dict[str, object] = {"working_dir": None, "env": {}, "name": ""}
    return runner.submit(entrypoint=f'python -c "{code}"', **{**values, **changes})  # type: ignore[arg-type]


def wait_for(runner: JobRunner, job: Job) -> Job:
    follow(runner, lambda: ended(runner.get(job.id)))
    return runner.get(job.id)


def actor_lives(job: Job) -> bool:
    try:
        ray.get_actor(f"streamb-{job.id}", NAMESPACE)
    except ValueError:
        return False
    return True


def test_a_job_runs_and_tells_what_it_did(runner: JobRunner, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("42")
    code = "import os; print(open('data.txt').read(), os.environ['COLOUR'], os.environ['ML_STATE_DIR'])"
    job = submit(runner, code, working_dir=str(tmp_path), env={"COLOUR": "blue"}, name="read a file")
    assert (job.name, job.state, job.exit_code) == ("read a file", JobState.RUNNING, None)
    done = wait_for(runner, job)
    assert (done.state, done.exit_code, done.reason) == (JobState.SUCCEEDED, 0, "")
    assert done.started_at is not None
    assert done.finished_at is not None
    assert job.submitted_at <= done.started_at <= done.finished_at
    assert runner.logs(job.id, 0, 65_536)[0] == f"42 blue {tmp_path / 'state'}\n"
    follow(runner, lambda: not actor_lives(job))


def test_a_failing_job_says_so(runner: JobRunner) -> None:
    done = wait_for(runner, submit(runner, "raise SystemExit(3)"))
    assert (done.state, done.exit_code) == (JobState.FAILED, 3)
    assert "exit code 3" in done.reason


def test_a_job_can_use_the_cluster_it_runs_on(runner: JobRunner) -> None:
    code = (
        "import ray; ray.init(log_to_driver=False, logging_level='ERROR'); "
        "print('sum', sum(ray.get([ray.remote(num_cpus=0)(lambda n: n).remote(n) for n in (1, 2)])))"
    )
    job = submit(runner, code)
    assert wait_for(runner, job).state is JobState.SUCCEEDED, runner.logs(job.id, 0, 65_536)[0]
    assert "sum 3" in runner.logs(job.id, 0, 65_536)[0]


def test_a_running_job_is_stopped(runner: JobRunner) -> None:
    job = submit(runner, "print('begun'); import time; time.sleep(60)")
    follow(runner, lambda: runner.logs(job.id, 0, 100)[0] == "begun\n")
    runner.stop(job.id)
    assert wait_for(runner, job).state is JobState.STOPPED
    assert runner.stop(job.id).state is JobState.STOPPED


def test_jobs_beyond_the_limit_wait_their_turn(ray_cluster: str, tmp_path: Path, records: MemoryRecords) -> None:
    runner = JobRunner(tmp_path, records, SystemClock(), most_running=1, most_pending=2)
    first = submit(runner, f"import time, os\nwhile not os.path.exists('{tmp_path}/go'): time.sleep(0.05)")
    second, third = submit(runner, "print(2)"), submit(runner, "print(3)")
    assert [second.state, third.state] == [JobState.PENDING] * 2
    with pytest.raises(Overloaded, match="2 jobs are waiting"):
        submit(runner, "print(4)")
    assert runner.stop(third.id).state is JobState.STOPPED
    (tmp_path / "go").touch()
    assert wait_for(runner, second).state is JobState.SUCCEEDED
    assert (runner.get(first.id).finished_at or 0) <= (runner.get(second.id).started_at or 0)
    assert [job.id for job in runner.list(2, None).items] == [third.id, second.id]
    assert [job.id for job in runner.list(2, runner.list(2, None).next_cursor).items] == [first.id]


def test_a_new_runner_carries_on(runner: JobRunner, records: MemoryRecords, tmp_path: Path) -> None:
    """As after a kill -9 of the Controller: what is in memory is lost, records and actors are not."""
    job = submit(runner, f"import time, os\nwhile not os.path.exists('{tmp_path}/go'): time.sleep(0.05)")
    stopped = submit(runner, "import time; time.sleep(60)")
    successor = JobRunner(tmp_path / "state", records, SystemClock())
    successor.reconcile()
    assert successor.get(job.id).state is JobState.RUNNING
    successor.stop(stopped.id)
    (tmp_path / "go").touch()
    assert wait_for(successor, job).state is JobState.SUCCEEDED
    assert wait_for(successor, stopped).state is JobState.STOPPED


def test_the_same_request_again_runs_nothing_twice(runner: JobRunner, records: MemoryRecords, tmp_path: Path) -> None:
    job = submit(runner, "print(1)", request="r1")
    assert submit(runner, "print(1)", request="r1").id == job.id
    wait_for(runner, job)
    successor = JobRunner(tmp_path / "state", records, SystemClock())
    assert submit(successor, "print(1)", request="r1").id == job.id
    other = submit(successor, "print(1)", request="r2")
    assert other.id != job.id
    wait_for(successor, other)


def test_a_stop_that_was_only_recorded_is_carried_out(
    runner: JobRunner, records: MemoryRecords, tmp_path: Path
) -> None:
    job = submit(runner, "import time; time.sleep(60)")
    record = records.get(COLLECTION, job.id)
    assert record is not None
    records.put(COLLECTION, job.id, record.body | {"stop_requested": True})
    successor = JobRunner(tmp_path / "state", records, SystemClock())
    assert wait_for(successor, job).state is JobState.STOPPED


@pytest.mark.fault
def test_a_job_whose_actor_dies_has_failed_and_leaves_nothing_behind(runner: JobRunner) -> None:
    code = (
        "import os, subprocess, time; "
        "print(os.getppid(), os.getpid(), subprocess.Popen(['sleep', '60']).pid); time.sleep(60)"
    )
    job = submit(runner, code)
    follow(runner, lambda: runner.logs(job.id, 0, 100)[0].endswith("\n"))
    actor, process, child = (psutil.Process(int(pid)) for pid in runner.logs(job.id, 0, 100)[0].split())
    actor.kill()
    done = wait_for(runner, job)
    assert (done.state, done.exit_code) == (JobState.FAILED, None)
    assert "submit it again" in done.reason
    follow(runner, lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in (process, child)))


def test_a_job_of_a_cluster_that_is_gone_has_failed(ray_cluster: str, records: MemoryRecords, tmp_path: Path) -> None:
    body = {"id": "job-1", "name": "old", "entrypoint": "true", "state": "running", "exit_code": None, "reason": ""}
    times = {"submitted_at": 1.0, "started_at": 2.0, "finished_at": None}
    own = {"working_dir": str(tmp_path), "env": {}, "stop_requested": False}
    records.put(COLLECTION, "job-1", {**body, **times, **own})
    runner = JobRunner(tmp_path, records, SystemClock())
    runner.reconcile()
    assert runner.get("job-1").state is JobState.FAILED


def test_logs_are_read_in_pieces_that_join_to_the_whole(runner: JobRunner) -> None:
    job = submit(runner, "print('grün €uro 🙂 ' * 20)")
    wait_for(runner, job)
    pieces, offset = [], 0
    while True:
        text, next_offset = runner.logs(job.id, offset, 7)
        if next_offset == offset:
            break
        pieces.append(text)
        offset = next_offset
    assert "".join(pieces) == "grün €uro 🙂 " * 20 + "\n"


def test_old_jobs_are_forgotten_with_their_files(ray_cluster: str, records: MemoryRecords, tmp_path: Path) -> None:
    runner = JobRunner(tmp_path, records, SystemClock(), most_kept=1)
    first, second = submit(runner, "print(1)"), submit(runner, "print(2)")
    wait_for(runner, second)
    follow(runner, lambda: len(runner.list(10, None).items) == 1)
    kept = runner.list(10, None).items[0].id
    assert sorted(path.name for path in (tmp_path / "jobs").iterdir()) == [kept, f"{kept}.log"]
    with pytest.raises(NotFound, match="there is no job"):
        runner.get(({first.id, second.id} - {kept}).pop())


@pytest.mark.parametrize(
    ("entrypoint", "working_dir", "said"),
    [
        ("", None, "must be a command"),
        ("python -c 'open", None, "No closing quotation"),
        ("true", "relative/folder", "full path of a folder"),
        ("true", "/no/such/folder", "full path of a folder"),
    ],
)
def test_what_cannot_run_is_refused(runner: JobRunner, entrypoint: str, working_dir: str | None, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        runner.submit(entrypoint=entrypoint, working_dir=working_dir, env={}, name="")
    assert runner.list(10, None).items == ()
