"""Starts a platform in a process of its own: `python -m streamb up …`, in the background or tied to this process.

A tied child reads from a pipe whose other end only this process holds: when this process ends, in whatever way, the
pipe closes and the child stops the platform. What the child says goes to a log file in the state directory.
"""

from __future__ import annotations

import contextlib
import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamb.clock import Clock, SystemClock
from streamb.config import Settings, child_environment
from streamb.errors import StartFailed, StreambError, error_classes
from streamb.sdk.discovery import RunningInfo, find_platform
from streamb.sdk.up_lock import lock_holder
from streamb.store.files import open_private
from streamb.store.state_dir import claim_state_dir

LOG_FILE: Final = "up.log"
_POLL_S: Final = 0.1
_STOP_S: Final = 60.0
_SLACK_S: Final = 150.0
_TERMINATE_S: Final = 10.0
_TAIL_LINES: Final = 20
_ERROR: Final = re.compile(r"^error: (?P<message>.*) \[(?P<code>[a-z_]+)\]$")
"""The line with which the command line reports an error (`streamb.cli.app`)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How to start a platform; None leaves a setting to its environment variable or preset.

    Attributes:
        sample: whether to deploy the sample model; None: in development, if no model is registered.
        accept: whether to start even if the platform does not fit on the machine.
    """

    state_dir: Path
    environment: str | None = None
    host: str | None = None
    port: int | None = None
    sample: bool | None = None
    accept: bool = False

    def arguments(self) -> list[str]:
        """Return these options as arguments of `streamb up`."""
        given = {"--environment": self.environment, "--host": self.host, "--port": self.port}
        named = [text for name, value in given.items() if value is not None for text in (name, str(value))]
        sample = [] if self.sample is None else ["--sample" if self.sample else "--no-sample"]
        return ["--state-dir", str(self.state_dir), *named, *sample, *(["--yes"] if self.accept else [])]


class PlatformProcess:
    """A platform that this process started.

    Attributes:
        info: where it answers.
    """

    def __init__(self, process: subprocess.Popen[bytes], info: RunningInfo) -> None:
        self._process = process
        self.info = info

    def stop(self) -> None:
        """Stop the platform and wait until its process has ended. Idempotent."""
        _end(self._process)


def start_limit_s(settings: Settings) -> float:
    """Return how long a platform in a process of its own may take to start: Ray twice, its parts, imports, a sample."""
    return 3 * settings.start_timeout_s + _SLACK_S


def launch(
    options: LaunchOptions,
    *,
    tied: bool,
    timeout_s: float,
    progress: Callable[[str], None] = lambda _: None,
    clock: Clock | None = None,
) -> PlatformProcess:
    """Start a platform and wait until it answers.

    Args:
        options: the settings to start it with.
        tied: True: the platform ends with this process; False: it runs until `streamb down`.
        timeout_s: maximum wait, in seconds.
        progress: called with each line that the platform prints while it starts.
        clock: the source of time; None: the system clock.

    Raises:
        StartFailed: the platform ended or did not answer in time. The message has the end of its log; nothing is
            left running.
        StreambError: what the platform itself said when it refused to start, as `streamb up` in the foreground says it.
    """
    claim_state_dir(options.state_dir)
    log = options.state_dir / LOG_FILE
    command = [sys.executable, "-m", "streamb", "up", *options.arguments(), *(["--parent-pipe"] if tied else [])]
    with open_private(log, "wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=child_environment(PYTHONUNBUFFERED="1"),
            start_new_session=True,  # Ctrl-C must not reach the child directly: this process stops it in order
        )
    try:
        info = _wait_until_ready(process, options.state_dir, log, timeout_s, progress, clock or SystemClock())
    except BaseException:
        _end(process)
        raise
    return PlatformProcess(process, info)


def _wait_until_ready(
    process: subprocess.Popen[bytes],
    state_dir: Path,
    log: Path,
    timeout_s: float,
    progress: Callable[[str], None],
    clock: Clock,
) -> RunningInfo:
    deadline = clock.monotonic() + timeout_s
    with log.open(encoding="utf-8", errors="replace") as lines:
        while True:
            ended = process.poll() is not None
            for line in lines:
                progress(line.rstrip())
            info = find_platform(state_dir)
            # Another process may have started a platform first: the child then refuses, and that platform is used.
            if info is not None and (ended or info.pid == process.pid):
                return info
            if ended and lock_holder(state_dir) is None:
                if (refused := _refusal(log)) is not None:
                    raise refused
                raise StartFailed(f"the platform ended while it started (exit code {process.returncode}){_tail(log)}")
            if clock.monotonic() > deadline:
                raise StartFailed(f"the platform does not answer after {timeout_s:g} s{_tail(log)}")
            time.sleep(_POLL_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a child process: close its pipe (or terminate it), then terminate, then kill."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    else:
        process.terminate()
    for patience_s, then in ((_STOP_S, process.terminate), (_TERMINATE_S, process.kill)):
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            _log.warning("the platform (process %s) has not stopped after %g s", process.pid, patience_s)
            then()
        else:
            return
    process.wait()


def _refusal(log: Path) -> StreambError | None:
    """Return the error with which `streamb up` ended; None if it ended without one."""
    with contextlib.suppress(OSError):
        for line in reversed(log.read_text(encoding="utf-8", errors="replace").splitlines()):
            if found := _ERROR.match(line):
                return error_classes().get(found["code"], StartFailed)(found["message"])
    return None


def _tail(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        if lines:
            return f"; the end of {log}:\n" + "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])
    return ""
