"""Ray's log files on this machine: which belong to a part of the platform, what they say about a failed start, a copy.

Nothing here imports Ray: the logs of a platform that did not start are read as well.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from streamb.errors import StorageFailed
from streamb.store.files import private_folder, replace_file
from streamb.store.state_dir import LOGS

LOGS_NOTE: Final = "ray-logs"
"""File in the state directory with the path of Ray's log folder on this machine."""
KEPT_BYTES: Final = 256 * 1024
"""How much of the end of each log file is kept of a platform that did not start."""
KEPT_FILES: Final = 60
_HEAD_BYTES: Final = 4096

ACTORS: Final[Mapping[str, str]] = {
    "controller": "ControllerActor",
    "monitor": "MonitorActor",
    "gateway": "ServeReplica:streamb-gateway:",
    "console": "ServeReplica:streamb-console:",
    "edge": "EdgeActor",
    "collector": "NodeCollectorActor",
    "serve": "ServeController",
}
"""Parts that are actors, and how the name that Ray writes into the first lines of an actor's log begins."""
MODELS: Final = "models"
RAY: Final = "ray"
_REPLICA: Final = "ServeReplica:"
_RAY_FILES: Final = ("gcs_server.*", "raylet.*", "runtime_env_agent.*", "dashboard*.*", "monitor.*", "log_monitor.*")
_STARTING: Final = ("gcs_server.err", "gcs_server.out", "raylet.err", "raylet.out", "dashboard.err")
"""Ray's files that may say why it did not start, in the order in which its processes start."""
_SEVERE: Final = re.compile(r"^\[\S+ \S+ (?P<level>[EWCF]) \d+ \d+\] \(\S+\) \S+ (?P<message>.+)$")
_KNOWN: Final[Mapping[str, str]] = {
    "No space left on device": "a disk is full",
    "Address already in use": "a port that Ray wants is taken",
    "Cannot allocate memory": "memory ran out",
    "Too many open files": "too many files are open (see `ulimit -n`)",
    "Resource temporarily unavailable": "the limit of processes or threads is reached (see `ulimit -u`)",
    "Read-only file system": "a folder that Ray needs is read-only",
    "Permission denied": "a folder that Ray needs cannot be written",
    "Unauthenticated": "its processes do not accept the token of each other",
}
_FAILED_CHECK: Final = "Check failed: "
"""Ray writes advice about bug reports in front of it."""
_LONGEST: Final = 300


def note_logs(state_dir: Path, logs: Path) -> None:
    """Remember in the state directory where Ray's logs are."""
    replace_file(state_dir / LOGS_NOTE, str(logs).encode())


def find_logs(state_dir: Path) -> Path | None:
    """Return Ray's log folder: that of the running platform, else the kept one of the last that failed; None: neither.

    A platform on a cluster has such a folder on every node; this is the one of this machine.
    """
    with contextlib.suppress(OSError):
        logs = Path((state_dir / LOGS_NOTE).read_text())
        if logs.is_dir():
            return logs
    kept = state_dir / LOGS / RAY
    return kept if kept.is_dir() else None


def files_of(part: str, logs: Path) -> list[Path]:
    """Return the log files of a part, oldest first.

    Args:
        part: a key of `ACTORS`, "ray", "models", or the id of a model.
        logs: Ray's log folder.
    """
    if part == RAY:
        found = [file for pattern in _RAY_FILES for file in logs.glob(pattern)]
    else:
        found = [file for file in logs.glob("worker-*") if _belongs(part, _actor_of(file))]
        found += [file for file in logs.glob("serve/*.log") if _belongs(part, _replica_of(file.name))]
    return sorted((file for file in found if file.stat().st_size), key=lambda file: (file.stat().st_mtime, file.name))


def cause_in(logs: Path) -> str:
    """Return in one clause why Ray did not start, as far as its logs tell; empty if they do not."""
    severe = ""
    for name in _STARTING:
        for file in sorted(logs.glob(name)):
            lines = _tail(file).splitlines()
            for line in lines:
                if known := next((words for text, words in _KNOWN.items() if text in line), None):
                    return f"{known}: {_message(line)}"
            severe = severe or next((_message(line) for line in reversed(lines) if _level(line) in {"C", "F"}), "")
            severe = severe or next((_message(line) for line in reversed(lines) if _level(line) == "E"), "")
    return severe


def keep_logs(logs: Path, state_dir: Path) -> Path | None:
    """Copy the ends of Ray's logs into the state directory, in place of those kept before.

    At most `KEPT_FILES` files with `KEPT_BYTES` each are kept: those of Ray itself, then the newest.

    Returns:
        the folder; None if there were no logs, or the copy could not be written: a failure must not hide another.
    """
    kept = state_dir / LOGS / RAY
    if not logs.is_dir() or logs == kept:
        return None
    try:
        private_folder(kept.parent)
        shutil.rmtree(kept, ignore_errors=True)
        for file in _chosen(logs):
            copy = kept / file.relative_to(logs)
            replace_file(copy, _tail_bytes(file, KEPT_BYTES), mode=0o600)
    except (OSError, StorageFailed):
        return None
    return kept if kept.is_dir() else None


def _chosen(logs: Path) -> list[Path]:
    own = files_of(RAY, logs)
    others = [file for pattern in ("worker-*", "serve/*.log", "python-core-*") for file in logs.glob(pattern)]
    newest = sorted((file for file in others if file.stat().st_size), key=lambda file: -file.stat().st_mtime)
    return [*own, *newest][:KEPT_FILES]


def _belongs(part: str, actor: str) -> bool:
    if part in ACTORS:
        return actor.startswith(ACTORS[part])
    replica = actor.removeprefix(_REPLICA) if actor.startswith(_REPLICA) else ""
    return replica.count("--") >= 2 and (part == MODELS or replica.startswith(f"{part}--"))


def _actor_of(file: Path) -> str:
    """The name of the actor that wrote a worker's log, as Ray writes it in one of the first lines."""
    with file.open("rb") as content:
        head = content.read(_HEAD_BYTES).decode(errors="replace").splitlines()
    return next((line.removeprefix(":actor_name:") for line in head if line.startswith(":actor_name:")), "")


def _replica_of(name: str) -> str:
    """The name of the actor that wrote a log of Serve, from the name of the file: replica_APP_DEPLOYMENT_ID.log."""
    if name.startswith("controller_"):
        return ACTORS["serve"]
    app = name.removeprefix("replica_").rsplit("_", 2)[0]
    return f"{_REPLICA}{app}:" if name.startswith("replica_") else ""


def _level(line: str) -> str:
    found = _SEVERE.match(line)
    return found["level"] if found else ""


def _message(line: str) -> str:
    found = _SEVERE.match(line)
    message = found["message"] if found else line
    return message[message.find(_FAILED_CHECK) if _FAILED_CHECK in message else 0 :].strip()[:_LONGEST]


def _tail(file: Path) -> str:
    return _tail_bytes(file, KEPT_BYTES).decode(errors="replace")


def _tail_bytes(file: Path, size: int) -> bytes:
    with file.open("rb") as content:
        content.seek(max(0, file.stat().st_size - size))
        return content.read(size)


def lines_with(files: Iterable[Path], text: str) -> list[tuple[Path, list[str]]]:
    """Return all lines that hold a text, by file; only files that have such a line."""
    found: list[tuple[Path, list[str]]] = []
    for file in files:
        with file.open(errors="replace") as content:
            held = [line.rstrip("\n") for line in content if text in line]
        found += [(file, held)] if held else []
    return found


def last_lines(files: Iterable[Path], count: int) -> list[tuple[Path, list[str]]]:
    """Return the last `count` lines of each file; not those in which Ray names the process, nor files with no other."""
    told = ((file, [line for line in _tail(file).splitlines() if not line.startswith(":")]) for file in files)
    return [(file, lines[-count:]) for file, lines in told if lines]
