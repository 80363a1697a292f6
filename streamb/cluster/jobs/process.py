"""Runs one job as a process on this machine: starts it, keeps its output in a bounded file, waits for it, stops it.

Knows nothing of Ray, of records or of other jobs; `jobs` runs one of these inside an actor.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import IO, Final

import psutil

from streamb.children import die_with_parent
from streamb.clock import Clock, SystemClock
from streamb.config import child_environment
from streamb.security.isolation import Cage, IsolatedProcess, own_folder, remove_folder

JOB_ID_VARIABLE: Final = "ML_JOB_ID"
"""The environment variable with the job's id, for the job and every process it starts."""

LOG_LIMIT_BYTES: Final = 50 << 20
STOP_GRACE_S: Final = 10.0
_CHUNK_BYTES: Final = 1 << 16
_PUMP_S: Final = 5.0
# Variables about the Ray worker itself; the job is a separate process.
_WORKERS_OWN: Final = ("RAY_JOB_ID", "RAY_RAYLET_PID", "OMP_NUM_THREADS")


class JobState(StrEnum):
    """The state of a job."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class JobSpec:
    """The command of a job and how to run it.

    Attributes:
        command: program and arguments, run without a shell.
        environment: variables on top of the platform's own.
        log_file: receives standard output and standard error, up to `log_limit_bytes`.
        stop_grace_s: seconds between SIGTERM and SIGKILL.
        time_limit_s: the longest time that it may run, in seconds; None: any time.
        cage: what it has, if it runs behind a boundary; its `write` is added. None: it runs as the platform does.
    """

    id: str
    command: tuple[str, ...]
    working_dir: Path
    environment: Mapping[str, str]
    log_file: Path
    log_limit_bytes: int = LOG_LIMIT_BYTES
    stop_grace_s: float = STOP_GRACE_S
    time_limit_s: float | None = None
    cage: Cage | None = None


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How a job ended; `exit_code` is None if it never ran, and minus the signal's number if a signal ended it."""

    state: JobState
    finished_at: float
    exit_code: int | None = None
    reason: str = ""


@dataclass(slots=True)
class JobProcess:
    """Starts the job at once. Its whole process group ends with the job, and with this process.

    Attributes:
        outcome: a future that resolves when the job has ended; it never fails.
    """

    spec: JobSpec
    clock: Clock = field(default_factory=SystemClock)
    outcome: Future[JobOutcome] = field(default_factory=Future)
    _process: subprocess.Popen[bytes] | None = None
    _isolated: IsolatedProcess | None = None
    _stopping: bool = False
    _late: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        # The kernel kills the job when the *thread* that started it ends, so one thread waits for its end.
        threading.Thread(target=self._run, name=f"job {self.spec.id}", daemon=True).start()

    def stop(self) -> None:
        """Stop the job's process group: SIGTERM, then SIGKILL after `stop_grace_s`. Idempotent."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
            self._signal(signal.SIGTERM)
        timer = threading.Timer(self.spec.stop_grace_s, self._kill)
        timer.daemon = True
        timer.start()
        self.outcome.add_done_callback(lambda _: timer.cancel())

    def _run(self) -> None:
        try:
            outcome = self._run_to_its_end()
        except Exception as error:  # waiting callers must get an outcome in any case
            outcome = self._ended(JobState.FAILED, reason=f"it could not be started: {error}")
        self.outcome.set_result(outcome)

    def _run_to_its_end(self) -> JobOutcome:
        with self._lock:
            if self._stopping:
                return self._ended(JobState.STOPPED, reason="stopped before it started")
            process = self._process = self._started()
        limit = threading.Timer(self.spec.time_limit_s or threading.TIMEOUT_MAX, self._end_late)
        limit.daemon = True
        limit.start()
        pump = threading.Thread(target=_keep_output, args=(process.stdout, self.spec), daemon=True)
        pump.start()
        exit_code = process.wait()
        limit.cancel()
        _signal_group(process.pid, signal.SIGKILL)  # remaining processes would keep the output open
        if self._isolated is not None:
            self._isolated.end()
            remove_folder(Path(self._isolated.home).parent)
        pump.join(_PUMP_S)
        if self._late:
            reason = f"it ran longer than its time limit of {self.spec.time_limit_s:g} s"
            return self._ended(JobState.FAILED, exit_code, reason)
        if self._stopping:
            return self._ended(JobState.STOPPED, exit_code, "stopped on request")
        if exit_code == 0:
            return self._ended(JobState.SUCCEEDED, exit_code)
        return self._ended(JobState.FAILED, exit_code, f"{_describe_exit(exit_code)}; the end of its log says more")

    def _started(self) -> subprocess.Popen[bytes]:
        if self.spec.cage is None:
            return _start(self.spec)
        self._isolated = _start_isolated(self.spec, self.spec.cage)
        return self._isolated.process

    def _end_late(self) -> None:
        self._late = True
        self.stop()

    def _ended(self, state: JobState, exit_code: int | None = None, reason: str = "") -> JobOutcome:
        return JobOutcome(state, self.clock.now(), exit_code, reason)

    def _kill(self) -> None:
        with self._lock:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """Signal the group only while its leader has not been waited for, so that its number cannot be reused."""
        if self._process is not None and self._process.returncode is None:
            _signal_group(self._process.pid, number)


def end_orphans(job_id: str) -> int:
    """Kill the processes of a job whose actor died, found by the job's id in their environment; return how many.

    The kernel kills the job itself together with its actor; this finds the processes that the job started.
    """
    orphans = [process for process in psutil.process_iter() if _belongs_to(process, job_id)]
    for process in orphans:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return len(orphans)


def _belongs_to(process: psutil.Process, job_id: str) -> bool:
    try:
        return process.environ().get(JOB_ID_VARIABLE) == job_id
    except (psutil.Error, OSError):  # gone meanwhile, or another user's
        return False


def _start(spec: JobSpec) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            spec.command,
            cwd=spec.working_dir,
            env=_environment(spec),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    except FileNotFoundError as error:
        what = "working directory" if error.filename == str(spec.working_dir) else "program"
        raise FileNotFoundError(f"there is no {what} {error.filename}") from error


def _start_isolated(spec: JobSpec, cage: Cage) -> IsolatedProcess:
    """Start the job behind a boundary: of the platform's environment, it gets nothing."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    program = shutil.which(spec.command[0], path=path)
    if program is None:
        raise FileNotFoundError(f"there is no program {spec.command[0]}")
    place = own_folder("job")
    home = place / "home"
    home.mkdir(mode=0o700)
    try:
        variables = {"PATH": path, "PYTHONUNBUFFERED": "1", **spec.environment, JOB_ID_VARIABLE: spec.id}
        return IsolatedProcess(
            [program, *spec.command[1:]], replace(cage, write=(str(home), *cage.write)), environment=variables
        )
    except BaseException:
        remove_folder(place)
        raise


def _environment(spec: JobSpec) -> dict[str, str]:
    environment = child_environment(PYTHONUNBUFFERED="1")
    for name in _WORKERS_OWN:
        environment.pop(name, None)
    if not environment.get("CUDA_VISIBLE_DEVICES"):  # Ray empties it for actors without a GPU
        environment.pop("CUDA_VISIBLE_DEVICES", None)
    # `python` is the platform's own interpreter, wherever the platform was started from.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    return {**environment, **spec.environment, JOB_ID_VARIABLE: spec.id}


def _keep_output(output: IO[bytes], spec: JobSpec) -> None:
    """Copy the job's output to its log; past the limit, or if the disk is full, read and discard it."""
    left = spec.log_limit_bytes
    with output, contextlib.ExitStack() as stack:
        log: IO[bytes] | None = None
        with contextlib.suppress(OSError):
            log = stack.enter_context(spec.log_file.open("wb", buffering=0))
        while chunk := os.read(output.fileno(), _CHUNK_BYTES):
            if log is None:
                continue
            try:
                log.write(chunk[:left])
                left -= len(chunk)
                if left < 0:
                    log.write(
                        f"\n[this log is full at {spec.log_limit_bytes:,} bytes; the rest is not kept]\n".encode()
                    )
                    log = None
            except OSError:
                log = None


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says "permission" of a group of zombies
        os.killpg(group, number)


def _describe_exit(exit_code: int) -> str:
    if exit_code >= 0:
        return f"it ended with exit code {exit_code}"
    with contextlib.suppress(ValueError):
        return f"{signal.Signals(-exit_code).name} ended it"
    return f"signal {-exit_code} ended it"
