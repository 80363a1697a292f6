"""Work in the background whose errors somebody reads: each is logged, because a future keeps its own to itself."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

_log = logging.getLogger(__name__)

F = TypeVar("F", "asyncio.Future[Any]", "asyncio.Task[Any]", "concurrent.futures.Future[Any]")


def watched(future: F, what: str) -> F:
    """Return `future`; if it ends with an error, the error is logged.

    Args:
        future: of asyncio or of an executor.
        what: what failed then, as the beginning of a sentence.
    """
    future.add_done_callback(lambda done: _log_error(done, what))
    return future


def begin(work: Coroutine[Any, Any, Any], what: str) -> asyncio.Task[Any]:
    """Start a coroutine as a task of the running loop, watched."""
    return watched(asyncio.get_running_loop().create_task(work), what)


def _log_error(done: asyncio.Future[Any] | concurrent.futures.Future[Any], what: str) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        _log.error("%s: %s", what, error, exc_info=error)


def log_to_file() -> None:
    """Let this process's own log reach its file at once: Ray Serve takes what goes to `sys.stderr`, and drops it."""
    ours = logging.getLogger("streamb")
    if not ours.handlers:
        handler = logging.StreamHandler(sys.__stderr__)
        handler.setFormatter(logging.Formatter("%(levelname)s %(asctime)s %(name)s -- %(message)s"))
        ours.addHandler(handler)
