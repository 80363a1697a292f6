"""Worker processes on this machine: trials side by side, each on one thread, and killed when their time is over."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import IO, Any, Final

import cloudpickle

from streamb.clock import Clock
from streamb.config import child_environment
from streamb.errors import InvalidInput
from streamb.hpo.study.evaluation import Answer, Evaluator, Task, packed_task
from streamb.hpo.study.executing import Source, too_long
from streamb.hpo.study.study import Outcome
from streamb.hpo.study.worker import BROKEN

_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_LOOK_S: Final = 1.0
_LONG_S: Final = 1.0
"""Seconds that a trial must take before more workers are started."""

_MOST_DEATHS: Final = 3
"""How many workers may die in a row before they are ready."""


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Connection
    ready: bool = False
    task: Task | None = None
    began: float = 0.0


class ProcessPool:
    """Evaluates tasks in worker processes, which are started when they are first needed.

    Attributes:
        workers: the largest number of workers.

    Args:
        evaluator: pickled once and sent to each worker.
        workers: the largest number of workers.
        clock: measures the time limits.
        grow: start with one worker, and use the others once a task took a second: for short tasks processes cost more
            than they gain, and with one worker the same seed gives the same search.

    Raises:
        InvalidInput: the evaluator cannot be pickled.
    """

    name = "processes"

    def __init__(self, evaluator: Evaluator, workers: int, clock: Clock, *, grow: bool = False) -> None:
        self.workers = workers
        self._clock = clock
        self._wanted = 1 if grow else workers
        self._running: list[_Worker] = []
        self._deaths = 0
        self._packed = _packed(evaluator)
        self._running.append(self._start())  # it imports libraries while the caller goes on preparing

    def run(self, source: Source) -> None:
        try:
            while self._hand_out(source):
                left = source.left_s()
                if left is not None and left <= 0.0:
                    self._cut(source)
                    return
                self._collect(source, left)
                self._end_late(source)
        except BaseException:
            for worker in self._busy():
                self._end(worker)
            raise

    def close(self) -> None:
        """End all workers."""
        for worker in list(self._running):
            self._end(worker)
        self._packed.close()

    # --- one round ------------------------------------------------------------------------------------------------

    def _hand_out(self, source: Source) -> bool:
        """Give every idle worker a task; return False when no worker has one any more."""
        while True:
            idle = next((worker for worker in self._running if worker.task is None), None)
            if idle is None and len(self._running) >= self._wanted:
                return True
            task = source.next()
            if task is None:
                return bool(self._busy())
            if idle is None:
                idle = self._start()
                self._running.append(idle)
            idle.task, idle.began = task, self._clock.monotonic()
            packed = packed_task(task)
            with contextlib.suppress(OSError):  # the worker is dead: `_collect` notices it
                idle.pipe.send_bytes(packed)

    def _collect(self, source: Source, left: float | None) -> None:
        now = self._clock.monotonic()
        waits = [_LOOK_S, *([left] if left is not None else [])]
        if source.limit_s is not None:
            waits += [worker.began + source.limit_s - now for worker in self._running if worker.ready and worker.task]
        for pipe in wait([worker.pipe for worker in self._running], max(0.0, min(waits))):
            worker = next(one for one in self._running if one.pipe is pipe)
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                self._died(source, worker)
                continue
            self._heard(source, worker, message)

    def _heard(self, source: Source, worker: _Worker, message: Any) -> None:
        if not isinstance(message, Answer):
            if message[0] == BROKEN:
                raise InvalidInput(f"this cannot be built in another process ({message[1]}); use executor='sequential'")
            worker.ready, self._deaths = True, 0
            worker.began = self._clock.monotonic()  # the start of the process does not count as the trial's time
            return
        task, worker.task = worker.task, None
        if task is not None:
            if message.seconds >= _LONG_S:
                self._wanted = self.workers
            source.finished(task, message)

    def _died(self, source: Source, worker: _Worker) -> None:
        """Handle a worker that ended by itself: the trial fails if the worker had started one."""
        why = _ending(worker.process.wait())
        task, seconds = self._end(worker)
        if not worker.ready:
            self._deaths += 1
            if self._deaths >= _MOST_DEATHS:
                raise InvalidInput(f"worker processes do not start: {why}; use executor='sequential'")
        if task is not None:
            source.finished(task, Answer(Outcome.FAILED, (), seconds, why))

    def _end_late(self, source: Source) -> None:
        limit, now = source.limit_s, self._clock.monotonic()
        if limit is None:
            return
        for worker in [one for one in self._busy() if one.ready and now - one.began >= limit]:
            task, seconds = self._end(worker)
            if task is not None:
                source.finished(task, too_long(limit, seconds))

    def _cut(self, source: Source) -> None:
        for task, seconds in [self._end(worker) for worker in self._busy()]:
            if task is not None:
                source.cut(task, seconds)

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._running if worker.task is not None]

    # --- processes ------------------------------------------------------------------------------------------------

    def _start(self) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        with theirs:
            descriptors = (theirs.fileno(), self._packed.fileno())
            process = subprocess.Popen(
                [sys.executable, "-m", "streamb.hpo.study.worker", *map(str, descriptors)],
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                env=child_environment(
                    **dict.fromkeys(_THREADS, "1"), PYTHONPATH=":".join(path for path in sys.path if path)
                ),
                start_new_session=True,  # Ctrl-C is for the driver, which then ends its workers
            )
        with contextlib.suppress(OSError):
            ours.send(sys.path)
        return _Worker(process, ours)

    def _end(self, worker: _Worker) -> tuple[Task | None, float]:
        """Kill a worker, with what its trial has started; its task, and for how many seconds that ran."""
        seconds = self._clock.monotonic() - worker.began
        self._running.remove(worker)
        worker.pipe.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        return worker.task, seconds


def _ending(code: int) -> str:
    if code >= 0:
        return f"the worker process exited with {code}"
    hint = "; perhaps the machine ran out of memory" if -code == signal.SIGKILL else ""
    return f"the worker process was killed by signal {-code}{hint}"


def _packed(evaluator: Evaluator) -> IO[bytes]:
    """Write the evaluator to an unnamed file, which disappears with the last process that has it open."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the pool closes it
    try:
        cloudpickle.dump(evaluator, file)
    except Exception as error:
        file.close()
        raise InvalidInput(f"this cannot be sent to another process ({error}); use executor='sequential'") from error
    file.flush()
    return file
