"""Finds the platform that runs on a state directory, by the files that `streamb up` leaves there while it runs."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from streamb.errors import NotRunning, StreambError
from streamb.sdk.http import HttpClient
from streamb.store.files import replace_file
from streamb.store.plain import from_plain, to_plain
from streamb.store.state_dir import PLATFORM_FILE

KEY_FILE: Final = "api-key"
_CLOCK_SLACK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class RunningInfo:
    """What the platform file says.

    Attributes:
        url: where the platform answers.
        pid: the id of the process that started it; SIGTERM to it stops the platform.
        started_at: seconds since the Unix epoch.
        version: the version of streamb.
        ray_address: the address of its Ray cluster; None if unknown.
        unanswered: when it started, a sentence for each model that should answer and did not.
        notes: what the start found and went on with, a sentence each.
        needs: memory and CPUs that it needed when it started, and what there was.
    """

    url: str
    pid: int
    started_at: float
    version: str
    ray_address: str | None = None
    unanswered: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    needs: dict[str, Any] = field(default_factory=dict)


def write_platform_file(state_dir: Path, info: RunningInfo) -> None:
    """Say what runs on `state_dir`, in a file that only its owner may read."""
    replace_file(state_dir / PLATFORM_FILE, json.dumps(to_plain(info)).encode(), mode=0o600)


def read_platform_file(state_dir: Path) -> RunningInfo | None:
    """Return what the platform file says; None if there is no file or its process has ended."""
    try:
        info = from_plain(RunningInfo, json.loads((state_dir / PLATFORM_FILE).read_text()))
    except (OSError, ValueError):
        return None
    return info if _lives(info) else None


def read_api_key(state_dir: Path) -> str | None:
    """Return the operator's key of the platform on `state_dir`; None if there is no key file."""
    try:
        return (state_dir / KEY_FILE).read_text().strip() or None
    except OSError:
        return None


def find_platform(state_dir: Path) -> RunningInfo | None:
    """Return the platform that runs on `state_dir` and answers; None if there is no such platform."""
    info = read_platform_file(state_dir)
    if info is None:
        return None
    with HttpClient(info.url, read_api_key(state_dir), timeout_s=10.0) as client:
        try:
            client.get("/api/status")
        except NotRunning:
            return None
        except StreambError:
            return info  # it answers, although with an error: starting a second one would not help
    return info


def require_platform(state_dir: Path) -> RunningInfo:
    """Return the platform that runs on `state_dir`.

    Raises:
        NotRunning: no platform runs there; the message says how to start one.
    """
    info = find_platform(state_dir)
    if info is None:
        raise NotRunning(f"no platform runs on {state_dir}; start one with `streamb up --state-dir {state_dir}`")
    return info


def _lives(info: RunningInfo) -> bool:
    """Whether the process still exists, and the id has not been reused by a later process."""
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(info.pid)
        alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return alive and process.create_time() <= info.started_at + _CLOCK_SLACK_S
    return False
