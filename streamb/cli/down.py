"""`streamb down`: stop the platform that runs on a state directory."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Annotated

import typer

from streamb.cli.options import StateDir
from streamb.cli.output import Answer, Waiting
from streamb.clock import SystemClock
from streamb.config import load_settings
from streamb.errors import DeadlineExceeded
from streamb.sdk.discovery import read_platform_file
from streamb.sdk.up_lock import lock_holder, wait_until_free


def down(
    state_dir: StateDir = None,
    timeout: Annotated[float, typer.Option(min=1, help="Maximum wait, in seconds.")] = 60.0,
) -> Answer:
    """Stop the platform. Succeeds if no platform runs."""
    folder = load_settings(state_dir=state_dir).state_dir
    info = read_platform_file(folder)
    pid = info.pid if info else lock_holder(folder)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError), Waiting() as waiting:
            os.kill(pid, signal.SIGTERM)
            waiting.for_(f"process {pid} to stop what it started")
            if not wait_until_free(folder, SystemClock(), timeout):
                raise DeadlineExceeded(
                    f"the platform on {folder} has not stopped after {timeout:g} s (process {pid}); wait longer with "
                    "--timeout, or look at its log"
                )
    line = f"stopped (process {pid})" if pid is not None else f"no platform runs on {folder}"
    return Answer({"stopped": pid is not None, "pid": pid, "state_dir": str(folder)}, line)
