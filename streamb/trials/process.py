"""Runs trials: each in a process of its own, bounded in time, memory and number."""

from __future__ import annotations

import json
import os
import signal
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
from streamb.errors import ArtifactError, EnvironmentFailed, Overloaded, StorageFailed, TrialFailed, error_classes
from streamb.models.environment import distributions_of
from streamb.models.example import Example
from streamb.models.signature import Signature
from streamb.registry.trial import Trial, TrialState, Tried
from streamb.trials.child import JOB_FILE, RESULT_FILE

MOST_AT_ONCE: Final = 2
"""How many trials run at once in one process; each holds a model in memory."""

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
        clock: the source of time.
    """

    def __init__(
        self, trusted: Sequence[PublicKey], *, timeout_s: float, memory_bytes: int = 0, clock: Clock | None = None
    ) -> None:
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
        with self._place(), tempfile.TemporaryDirectory(dir=folder.parent, prefix="trial-") as place:
            (Path(place) / JOB_FILE).write_text(json.dumps(job))
            return self._read(self._run(Path(place)))

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

    def _run(self, place: Path) -> dict[str, Any]:
        """Run the process to its end; returns what it wrote."""
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "streamb.trials.child", str(place)],
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
        said: deque[bytes] = deque(maxlen=_KEPT_CHUNKS)
        pump = threading.Thread(target=_keep_end, args=(process.stderr, said), daemon=True)
        pump.start()
        try:
            self._wait(process)
        finally:
            _end_with_children(process)
            pump.join(_PUMP_S)
        try:
            found: dict[str, Any] = json.loads((place / RESULT_FILE).read_bytes())
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


def _keep_end(stream: IO[bytes], said: deque[bytes]) -> None:
    """Read what the process says to the end, and keep the last of it."""
    with stream, suppress(OSError, ValueError):
        while chunk := os.read(stream.fileno(), _CHUNK_BYTES):
            said.append(chunk)


def _last(said: Iterable[bytes]) -> str:
    """The last line of what the process said, for a message; empty if it said nothing."""
    lines = b"".join(said).decode("utf-8", "replace").strip().splitlines()
    return f" (it said: {lines[-1].strip()[:_LONGEST_LINE]})" if lines else ""


def _end_with_children(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and all that it started, whatever state they are in."""
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
