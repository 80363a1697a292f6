"""Which process is which, on the test session's own Ray."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil


def until(check: Callable[[], object], timeout_s: float = 120, what: str = "") -> object:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = check()
        except Exception as error:
            found, last = None, error
        else:
            last = found
        if found:
            return found
        assert time.monotonic() < deadline, f"{what or check}: {last!r} after {timeout_s} s"
        time.sleep(0.1)


def ray_processes(fragment: str, root: int | None = None) -> list[psutil.Process]:
    """Ray workers below a process (this one by default) whose title holds `fragment`."""
    found = []
    for process in psutil.Process(root).children(recursive=True):
        try:
            if any(fragment in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@contextlib.contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """The process stands still (SIGSTOP), as one that gets no time of the CPU; afterwards it goes on."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Nobody else reads or writes the SQLite database."""
    connection = sqlite3.connect(database, isolation_level=None, timeout=60)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()
