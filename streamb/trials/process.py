"""Runs trials: each in a process of its own, bounded in time, memory and number."""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import psutil

from streamb.children import die_with_parent
from streamb.clock import Clock, SystemClock
from streamb.config import environment_without_secrets
from streamb.crypto import PublicKey
from streamb.errors import (
    ArtifactError,
    EnvironmentFailed,
    IsolationUnavailable,
    Overloaded,
    StorageFailed,
    TrialFailed,
    error_classes,
)
from streamb.models.environment import distributions_of
from streamb.models.example import Example
from streamb.models.signature import Signature
from streamb.registry.trial import Trial, TrialState, Tried
from streamb.security.isolation import Cage, IsolatedProcess, check_isolation, end_family, let_read
from streamb.trials.child import JOB_FILE, RESULT_FILE

MOST_AT_ONCE: Final = 2
"""How many trials run at once in one process; each holds a model in memory."""

_log = logging.getLogger(__name__)
_LONGEST_RESULT: Final = 64 << 20
_POLL_S: Final = 0.1
_PUMP_S: Final = 2.0
_CHUNK_BYTES: Final = 1 << 14
_KEPT_CHUNKS: Final = 2
_LONGEST_LINE: Final = 500
_THREADS: Final = {"OMP_NUM_THREADS": "1"}
"""What Ray sets for a replica."""


class TrialProcesses:
    """Tries versions; safe to use from many threads. See `streamb.registry.trial.Trier`.

    Args:
        trusted: keys whose signature allows an artifact to run its code.
        timeout_s: the longest time of one trial; its process and all that it started are killed then. A trial also
            waits at most so long for a free place.
        memory_bytes: the most memory that a trial may hold; 0: not limited.
        hidden: files and folders of the platform; None: trials run without a boundary. With one, where the machine has
            it (`security.isolation`): whoever may register a version should not get at the platform by that.
        clock: the source of time.
    """

    def __init__(
        self,
        trusted: Sequence[PublicKey],
        *,
        timeout_s: float,
        memory_bytes: int = 0,
        hidden: Sequence[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._hidden = hidden
        self._trusted = [key.raw.hex() for key in trusted]
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._clock = clock or SystemClock()
        self._places = threading.BoundedSemaphore(MOST_AT_ONCE)

    def __call__(
        self, folder: Path, example: Example | None, environment: Mapping[str, list[str]] | None = None
    ) -> Tried:
        if environment:
            raise EnvironmentFailed("a version with an environment of its own can only be tried where Ray installs it")
        job = {
            "artifact": str(folder.absolute()),
            "trusted": self._trusted,
            "example": None if example is None else example.to_json(),
        }
        with (
            self._place(),
            tempfile.TemporaryDirectory(dir=folder.parent, prefix="trial-", ignore_cleanup_errors=True) as place,
        ):
            (Path(place) / JOB_FILE).write_text(json.dumps(job))
            return self._read(self._run(Path(place), folder))

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(timeout=self._timeout_s):
            raise Overloaded(
                f"{MOST_AT_ONCE} other versions are being tried, and none ended in {self._timeout_s:g} s; try again",
                retry_after_s=1,
            )
        try:
            yield
        finally:
            self._places.release()

    def _start(self, place: Path, artifact: Path) -> tuple[subprocess.Popen[bytes], int | None]:
        """Start the process, behind a boundary if there is one; returns it, and the user of it if that is another."""
        command = [sys.executable, "-P", "-m", "streamb.trials.child", str(place)]
        try:
            if self._hidden is not None and _has_boundary():
                let_read(artifact)
                cage = Cage(read=(str(artifact),), write=(str(place),), hidden=tuple(self._hidden))
                isolated = IsolatedProcess(command, cage, environment={"STREAMB_ROLE": "trial", **_THREADS}, quiet=True)
                return isolated.process, isolated.uid
            process = subprocess.Popen(
                command,
                cwd=place,
                env=environment_without_secrets(
                    STREAMB_ROLE="trial", PYTHONPATH=os.pathsep.join(filter(None, sys.path)), defaults=_THREADS
                ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            raise StorageFailed(f"the process of the trial cannot be started: {error}") from error
        return process, None

    def _run(self, place: Path, artifact: Path) -> dict[str, Any]:
        """Run the process to its end; returns what it wrote."""
        process, uid = self._start(place, artifact)
        said: deque[bytes] = deque(maxlen=_KEPT_CHUNKS)
        pump = threading.Thread(target=_keep_end, args=(process.stderr, said), daemon=True)
        pump.start()
        try:
            self._wait(process)
        finally:
            _end_with_children(process, uid)
            pump.join(_PUMP_S)
        try:
            found: dict[str, Any] = json.loads(_read_regular(place / RESULT_FILE))
        except (OSError, ValueError):
            raise TrialFailed(
                f"the process of the trial ended early: {_ending(process.returncode)}{_last(said)}"
            ) from None
        if "refused" in found:
            found["refused"]["message"] += _last(said)
        return found

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        end = self._clock.monotonic() + self._timeout_s
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
                return
            if self._clock.monotonic() > end:
                raise TrialFailed(
                    f"the trial took longer than {self._timeout_s:g} s; make the model faster to load, give a shorter "
                    "example, or raise ML_TRIAL_TIMEOUT_S"
                )
            if self._memory_bytes and _memory_of(process.pid) > self._memory_bytes:
                raise TrialFailed(
                    f"the trial needed more than {self._memory_bytes} bytes of memory (ML_TRIAL_MEMORY_BYTES)"
                )

    def _read(self, found: Mapping[str, Any]) -> Tried:
        refused = found.get("refused")
        if refused is not None:
            kind = error_classes().get(refused["code"], TrialFailed)
            kind = kind if issubclass(kind, ArtifactError) else TrialFailed
            raise kind(f"the trial of this version failed: {refused['message']}", **refused["details"])
        golden = found.get("golden")
        rows = found.get("rows", 0)
        trial = Trial(
            state=TrialState.PASSED if rows else TrialState.LOADS,
            tried_at=self._clock.now(),
            rows=rows,
            load_s=round(found["load_s"], 3),
            memory_mb=round(found["memory_kb"] / 1024, 1),
            row_wise=found.get("row_wise"),
            deterministic=found.get("deterministic"),
            probabilities=found["has_probabilities"],
            distributions=distributions_of(found["modules"]),
            python=found["python"],
        )
        return Tried(
            trial, Signature.from_json(found["signature"]), None if golden is None else Example.from_json(golden)
        )


def _has_boundary() -> bool:
    try:
        check_isolation()
    except IsolationUnavailable as error:
        _log.warning("versions are tried without a boundary: %s", error.message)
        return False
    return True


def _read_regular(path: Path) -> bytes:
    """Read what the process wrote, if that is a file: it may have made anything of it.

    Raises:
        OSError: it is none, or too long.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _LONGEST_RESULT:
            raise OSError("the result is no file, or too long")
        return file.read(_LONGEST_RESULT)


def _keep_end(stream: IO[bytes], said: deque[bytes]) -> None:
    """Read what the process says to the end, and keep the last of it."""
    with stream, suppress(OSError, ValueError):
        while chunk := os.read(stream.fileno(), _CHUNK_BYTES):
            said.append(chunk)


def _last(said: Iterable[bytes]) -> str:
    """The last line of what the process said, for a message; empty if it said nothing."""
    lines = b"".join(said).decode("utf-8", "replace").strip().splitlines()
    return f" (it said: {lines[-1].strip()[:_LONGEST_LINE]})" if lines else ""


def _end_with_children(process: subprocess.Popen[bytes], uid: int | None) -> None:
    """Kill the process and all that it started, whatever state they are in; with `uid`, all of that user."""
    if uid is not None:
        end_family(process.pid, uid)
    family: list[psutil.Process] = []
    with suppress(psutil.Error):
        family = psutil.Process(process.pid).children(recursive=True)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for one in family:
        with suppress(psutil.Error):
            one.kill()
    process.wait()


def _memory_of(pid: int) -> int:
    try:
        first = psutil.Process(pid)
        return sum(one.memory_info().rss for one in (first, *first.children(recursive=True)))
    except psutil.Error:  # it has ended meanwhile
        return 0


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    hint = ", perhaps because memory ran out" if -code == signal.SIGKILL else ""
    return f"{signal.Signals(-code).name}{hint}"
