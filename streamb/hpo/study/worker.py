"""A worker process: reads tasks from a pipe and writes answers, until the other end of the pipe closes.

Started as a program (`python -m streamb.hpo.study.worker PIPE FILE`), not forked: a fork of a process with threads may
hang, and a spawned one would run the user's script again. What the user's `__main__` defines is pickled by value with
the evaluator, in a file that is already open.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import warnings
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final

import cloudpickle

READY: Final = "ready"
BROKEN: Final = "broken"


def main(descriptor: int, file: int) -> None:
    """Evaluate the tasks from the pipe `descriptor` with the evaluator in `file`; exit when the pipe closes."""
    pipe = Connection(descriptor)
    sys.path[:] = pipe.recv()
    try:
        with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as packed:  # mapped: workers share the file's position
            evaluator = cloudpickle.loads(packed)
    except BaseException as error:
        pipe.send((BROKEN, f"{type(error).__name__}: {error}"))
        return
    pipe.send((READY, os.getpid()))
    tasks: SimpleQueue[Any] = SimpleQueue()
    # in its own thread: while a task hangs, the process must notice that the other end of the pipe has closed
    threading.Thread(target=_receive, args=(pipe, tasks), name="tasks", daemon=True).start()
    with warnings.catch_warnings(action="ignore"):  # a search would repeat the same one a thousand times
        while True:
            pipe.send(evaluator(tasks.get()))


def _receive(pipe: Connection, tasks: SimpleQueue[Any]) -> None:
    try:
        while True:
            tasks.put(cloudpickle.loads(pipe.recv_bytes()))
    except (EOFError, OSError):
        os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
