"""Which process is which, on the test session's own Ray."""

from __future__ import annotations

import time
from collections.abc import Callable

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


def ray_processes(fragment: str) -> list[psutil.Process]:
    """Ray workers of this session (our descendants) whose title holds `fragment`."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any(fragment in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found
