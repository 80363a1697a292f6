"""A job as a process: its output, its end, and that nothing of it outlives it. No Ray here."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from streamb.clock import ManualClock
from streamb.cluster.jobs.process import (
    JOB_ID_VARIABLE,
    JobOutcome,
    JobProcess,
    JobSpec,
    JobState,
    end_orphans,
)
from streamb.security.isolation import Cage

pytestmark = pytest.mark.slow

TIMEOUT_S = 55  # what a job does in vain lasts 60 s: it must not end by itself


def spec(folder: Path, *command: str, **changes: object) -> JobSpec:
    values = {"id": f"job-{folder.name}", "working_dir": folder, "environment": {}, "log_file": folder / "job.log"}
    return JobSpec(**{**values, "command": command, **changes})  # type: ignore[arg-type]


def python(folder: Path, code: str, **changes: object) -> JobSpec:
    return spec(folder, "python", "-c", code, **changes)


def run(job: JobSpec) -> JobOutcome:
    return JobProcess(job, ManualClock(start=70.0)).outcome.result(TIMEOUT_S)


def log_of(job: JobSpec) -> str:
    return job.log_file.read_text()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Ended, though perhaps not waited for by its new parent yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_output_of_both_streams_is_kept_in_order(tmp_path: Path) -> None:
    job = python(tmp_path, "import sys; print('one'); sys.stderr.write('two\\n'); print('three')")
    assert run(job) == JobOutcome(JobState.SUCCEEDED, 70.0, exit_code=0)
    assert log_of(job) == "one\ntwo\nthree\n"


def test_output_is_there_while_the_job_runs(tmp_path: Path) -> None:
    job = python(tmp_path, "print('begun')\nimport time\ntime.sleep(60)")
    process = JobProcess(job)
    wait_until(lambda: job.log_file.exists() and log_of(job) == "begun\n")
    assert not process.outcome.done()
    process.stop()
    assert process.outcome.result(TIMEOUT_S).state is JobState.STOPPED


def test_the_job_runs_in_its_folder_with_its_variables_and_the_platforms_python(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd()); print(os.environ['COLOUR'], os.environ['ML_JOB_ID']); print(sys.prefix)"
    job = python(tmp_path, code, environment={"COLOUR": "blue"})
    assert run(job).exit_code == 0
    said = [line for line in log_of(job).splitlines() if not line.startswith("cat:")]
    assert said == [str(tmp_path), f"blue {job.id}", sys.prefix]


def test_a_ray_workers_own_variables_do_not_reach_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_JOB_ID", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    job = python(
        tmp_path, "import os; print({'RAY_JOB_ID', 'OMP_NUM_THREADS', 'CUDA_VISIBLE_DEVICES'} & {*os.environ})"
    )
    run(job)
    assert log_of(job) == "set()\n"


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    job = spec(tmp_path, "echo", "$HOME; touch owned", "&&", "false")
    assert run(job).exit_code == 0
    assert log_of(job) == "$HOME; touch owned && false\n"
    assert not (tmp_path / "owned").exists()


def test_a_nonzero_exit_code_is_a_failure(tmp_path: Path) -> None:
    outcome = run(python(tmp_path, "raise SystemExit(3)"))
    assert (outcome.state, outcome.exit_code) == (JobState.FAILED, 3)
    assert "exit code 3" in outcome.reason


def test_a_job_that_a_signal_ends_says_which(tmp_path: Path) -> None:
    outcome = run(python(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    assert (outcome.state, outcome.exit_code) == (JobState.FAILED, -signal.SIGSEGV)
    assert "SIGSEGV" in outcome.reason


@pytest.mark.parametrize(
    ("changes", "missing"),
    [({"command": ("no-such-program",)}, "program no-such-program"), ({"working_dir": Path("/nowhere")}, "/nowhere")],
)
def test_what_cannot_be_started_says_why(tmp_path: Path, changes: dict[str, object], missing: str) -> None:
    outcome = run(python(tmp_path, "", **changes))
    assert (outcome.state, outcome.exit_code) == (JobState.FAILED, None)
    assert f"there is no {missing}" in outcome.reason or missing in outcome.reason


def test_a_log_is_cut_at_its_limit_and_the_job_goes_on(tmp_path: Path) -> None:
    code = "import sys\nfor _ in range(300): sys.stdout.write('x' * 1000)\nopen('finished', 'w')"
    job = python(tmp_path, code, log_limit_bytes=100_000)
    assert run(job).state is JobState.SUCCEEDED
    assert (tmp_path / "finished").exists()
    kept, note = log_of(job).split("\n", 1)
    assert kept == "x" * 100_000
    assert "full at 100,000 bytes" in note


def test_a_log_that_cannot_be_written_does_not_stop_the_job(tmp_path: Path) -> None:
    job = python(tmp_path, "print('x' * 200_000)", log_file=tmp_path / "no-such-folder" / "job.log")
    assert run(job).state is JobState.SUCCEEDED


def test_stop_asks_first(tmp_path: Path) -> None:
    code = (
        "import signal, time\n"
        "def leave(*_): print('tidying up'); raise SystemExit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\nprint('ready')\ntime.sleep(60)"
    )
    job = python(tmp_path, code)
    process = JobProcess(job)
    wait_until(lambda: job.log_file.exists() and "ready" in log_of(job))
    process.stop()
    process.stop()
    outcome = process.outcome.result(TIMEOUT_S)
    assert (outcome.state, outcome.exit_code) == (JobState.STOPPED, 0)
    assert log_of(job) == "ready\ntidying up\n"


def test_stop_ends_what_does_not_listen_with_all_it_started(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid)\ntime.sleep(60)"
    )
    job = python(tmp_path, code, stop_grace_s=0.3)
    process = JobProcess(job)
    wait_until(lambda: job.log_file.exists() and log_of(job).endswith("\n"))
    process.stop()
    assert process.outcome.result(TIMEOUT_S).exit_code == -signal.SIGKILL
    wait_until(lambda: gone(int(log_of(job))))


def test_a_background_process_ends_with_its_job_and_does_not_hold_it_up(tmp_path: Path) -> None:
    code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"
    job = python(tmp_path, code)
    assert run(job).state is JobState.SUCCEEDED
    wait_until(lambda: gone(int(log_of(job))))


@pytest.mark.fault
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child together with its parent")
def test_a_job_ends_when_the_process_that_runs_it_is_killed(tmp_path: Path) -> None:
    code = (
        "import time\nfrom pathlib import Path\nfrom streamb.cluster.jobs.process import JobProcess, JobSpec\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "JobProcess(JobSpec('job-1', ('sleep', '60'), folder, {}, folder / 'log'))\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as runner:
        wait_until(lambda: [p for p in psutil.Process(runner.pid).children() if p.name() == "sleep"])
        (job,) = psutil.Process(runner.pid).children()
        runner.kill()
    wait_until(lambda: gone(job.pid))


def test_orphans_of_a_job_are_found_by_its_id(tmp_path: Path) -> None:
    mine, others = ({"PATH": "/bin:/usr/bin", JOB_ID_VARIABLE: job_id} for job_id in ("job-a", "job-b"))
    with subprocess.Popen(["sleep", "60"], env=mine) as orphan, subprocess.Popen(["sleep", "60"], env=others) as other:
        assert end_orphans("job-a") == 1
        assert orphan.wait(TIMEOUT_S) == -signal.SIGKILL
        assert other.poll() is None
        other.kill()


def test_an_isolated_job_has_its_own_key_and_folder_and_ends_at_its_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("ML_DATABASE_URL", "a-secret-of-the-platform")
    (tmp_path / "api-key").write_text("a-secret-of-the-platform")
    code = (
        "import os; print(sorted(n for n in os.environ if n.startswith('ML_')), os.getcwd() == os.environ['HOME']);"
        f"r = os.popen('cat {tmp_path / 'api-key'}').read(); print(r or 'nothing'); open('result', 'w').write('x');"
        "print('done', flush=True); import time; time.sleep(3600)"
    )
    cage = Cage(hidden=(str(tmp_path),))
    job = python(tmp_path, code, environment={"ML_API_KEY": "its-own"}, cage=cage, time_limit_s=15.0, stop_grace_s=1)
    process = JobProcess(job, ManualClock(start=70.0))
    outcome = process.outcome.result(TIMEOUT_S)
    said = [line for line in log_of(job).splitlines() if not line.startswith("cat:")]
    assert said == ["['ML_API_KEY', 'ML_JOB_ID'] True", "nothing", "done"]
    assert (outcome.state, outcome.reason) == (JobState.FAILED, "it ran longer than its time limit of 15 s")
    assert not Path(process._isolated.home).exists()
