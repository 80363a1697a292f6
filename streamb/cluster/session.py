"""Starts Ray on this machine or joins a cluster, and leaves it again. Sets environment variables that tune Serve."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from streamb.cluster.names import NAMESPACE
from streamb.cluster.ray_logs import note_logs
from streamb.cluster.ray_start import (
    RAYS_FOLDER,
    launch_ray,
    limits_of,
    listens_here_only,
    logs_in,
    use_loopback,
    with_descendants,
)
from streamb.cluster.ray_token import MODE, ON, TOKEN_PATH, demand_token, protect_new_ray
from streamb.config import Settings, default_environment
from streamb.errors import StartFailed
from streamb.store.files import replace_file

RAY_VARIABLES: Final = {
    # Measured (docs/log.md): one event loop in a replica and gRPC between replicas carry most of the throughput.
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    # The default of 4 MiB would refuse a request of 20,000 rows.
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(256 << 20),
    # Ray runs its workers at niceness 15: whatever else the machine does would come before answering requests.
    "RAY_worker_niceness": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    # The control loop of Serve runs ten times a second by default, with or without work: a twentieth of a core.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Ray would install a version's environment three times before it says what is wrong with the requirements.
    "RUNTIME_ENV_RETRY_TIMES": "1",
}
"""Set before Ray's processes start; `cluster.yaml` exports the same on every node."""

CLOSED: Final = {
    # Ray tells its metrics, and with them the names of applications and actors, to whoever asks at these three ports,
    # with no token. -1 is no port: Ray logs that and goes on.
    "RAY_enable_metrics_collection": "0",
    "AUTOSCALER_METRIC_PORT": "-1",
    "DASHBOARD_METRIC_PORT": "-1",
}
"""Set before a Ray that streamb starts. Ray's own ports are for this machine alone, see `use_loopback`."""

QUIET: Final = {"log_level": "WARNING", "enable_access_log": False}
"""Logging of streamb's Serve deployments: a line for every call between gateway and replica would cost time."""

_MINIMUM_CPUS: Final = 4
"""Logical CPUs of a local Ray: replicas reserve small shares, and a laptop should hold several models."""


START_S: Final = 120.0
"""How long, in seconds, a Ray may take to start where no setting says it."""
_LEAST_FREE: Final = 100 << 20
_LEAVE_S: Final = 15.0
_PREFIX: Final = "streamb-"
_LONGEST_SOCKET: Final = 103
"""The longest path of a Unix socket in bytes: 103 on macOS, 107 on Linux."""
_LONGEST_PLACE: Final = _LONGEST_SOCKET - len(
    f"/{_PREFIX}12345678/{RAYS_FOLDER}/session_2026-11-30_12-00-00_123456_1234567/sockets/plasma_store.1"
)
_FOLDER_NOTE: Final = "ray-folder"
"""File in the state directory with the path of Ray's temporary folder, so that one left by a crash is found again."""


@dataclass(frozen=True, slots=True)
class RaySession:
    """This process's connection to Ray.

    Attributes:
        address: the cluster's address, for other processes that join.
        folder: Ray's temporary folder if this process started Ray; None if it joined a running cluster.
        processes: the processes of a Ray that this process started.
    """

    address: str
    folder: Path | None
    processes: tuple[psutil.Process, ...]

    @property
    def logs(self) -> Path:
        """The folder of Ray's logs on this machine."""
        if self.folder is not None:
            return logs_in(self.folder)
        from ray._private import worker

        node: Any = worker._global_node  # noqa: SLF001 - Ray has no other way to tell
        return Path(node.get_logs_dir_path())

    @property
    def alive(self) -> bool:
        """Whether all processes of the Ray that this process started are running."""
        return all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in self.processes)

    def leave(self) -> None:
        """Disconnect; a Ray that this process started is ended with all its processes, in whatever state it is."""
        import ray

        family = with_descendants(self.processes)
        # Ray waits for a minute, and then aborts the program, when its head has died before us.
        leaving = threading.Thread(target=ray.shutdown, name="leave-ray", daemon=True)
        leaving.start()
        leaving.join(_LEAVE_S if self.alive else 0)
        if leaving.is_alive():
            atexit.unregister(ray.shutdown)  # or the end of the program would wait for the same minute
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def prepare_ray(start_timeout_s: float | None = None) -> None:
    """Set the tuned environment variables; must run before anything imports ray.

    Args:
        start_timeout_s: how long a Ray that this process starts may take; None: as long as Ray takes by itself.
    """
    default_environment(RAY_VARIABLES)
    if start_timeout_s is not None:
        default_environment(limits_of(start_timeout_s))


def open_session(settings: Settings, environment: str | None = None) -> RaySession:
    """Join `settings.ray_address`, or start Ray on this machine.

    Args:
        settings: the address, and the state directory.
        environment: decides whether a cluster without token authentication is refused; None: that of the settings.

    Raises:
        RayUnprotected: see `join_ray` and `start_ray`.
        StartFailed: Ray did not start, or nothing answers at the address.
    """
    prepare_ray(settings.start_timeout_s)
    if settings.ray_address:
        session = join_ray(settings.ray_address, environment or settings.environment)
    else:
        session = start_ray(local_cpus(), settings.state_dir, settings.start_timeout_s)
    note_logs(settings.state_dir, session.logs)
    return session


def local_cpus() -> int:
    """Return the number of logical CPUs of a Ray that streamb starts on this machine."""
    return max(psutil.cpu_count() or 1, _MINIMUM_CPUS)


def join_ray(address: str, environment: str) -> RaySession:
    """Join a running cluster.

    Args:
        address: "auto" or HOST:PORT.
        environment: anywhere but in development, the cluster must have token authentication.

    Raises:
        RayUnprotected: it has none, or it cannot be told.
        StartFailed: nothing answers at the address, or it refuses this process.
    """
    import ray

    use_loopback(here=listens_here_only(address))
    demand_token(address, environment)
    try:
        with warnings.catch_warnings(action="ignore"):  # Ray's own deprecations are not our user's concern
            ray.init(address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
    except Exception as error:
        raise StartFailed(
            f"cannot join the Ray cluster at {address}: {error}; check that it is running. "
            f"If it demands a token, set {MODE}={ON} and {TOKEN_PATH}, the path of a file with its token"
        ) from error
    return RaySession(address, None, ())


def start_ray(cpus: int, state_dir: Path | None = None, timeout_s: float = START_S) -> RaySession:
    """Start Ray on this machine, with token authentication.

    Args:
        cpus: number of logical CPUs.
        state_dir: holds the token, the logs of a failed start, and remembers Ray's folder, so that one left by a crash
            is removed at the next start; None: nothing of this is kept.
        timeout_s: how long Ray may take to start.

    Raises:
        RayUnprotected: `RAY_AUTH_MODE` turns authentication off.
        StartFailed: Ray did not start; the message says why, and where its logs are.
        StorageFailed: the state directory cannot be written.
    """
    protect_new_ray(state_dir)
    default_environment(CLOSED)
    use_loopback(here=True)
    folder = _fresh_folder(state_dir)
    try:
        address, processes = launch_ray(cpus, folder, timeout_s, state_dir)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return RaySession(address, folder, processes)


def _fresh_folder(state_dir: Path | None) -> Path:
    """Return a new folder (mode 0700) for Ray's temporary folder, which Ray itself opens to everybody.

    Not in the state directory: it holds Unix sockets, whose paths have a limit.
    """
    place = _place()
    try:
        if (free := shutil.disk_usage(place).free) < _LEAST_FREE:
            raise StartFailed(
                f"{place} has {free >> 20} MB free and Ray needs {_LEAST_FREE >> 20} MB there; free some space, or set "
                "TMPDIR to another folder"
            )
        if state_dir is None:
            return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        note = state_dir / _FOLDER_NOTE
        left = Path(note.read_text()) if note.exists() else None
        if left is not None and left.name.startswith(_PREFIX):
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    except OSError as error:
        raise StartFailed(
            f"no folder for Ray can be made in {place}: {error.strerror}; set TMPDIR to another folder"
        ) from error
    replace_file(note, str(folder).encode())
    return folder


def _place() -> str:
    """The system's folder for temporary files, or `/tmp` where its path would be too long for sockets."""
    try:
        usual = tempfile.gettempdir()
    except OSError:  # no folder can be written: the caller finds out, and says so
        usual = "/tmp"  # noqa: S108 - the folder in it is private
    return usual if len(os.fsencode(usual)) <= _LONGEST_PLACE else "/tmp"  # noqa: S108
