"""Starts Ray's processes on this machine: patient where it is slow, quick to see one that ended, open to Ctrl-C.

Ray waits 30 s for its head process and 30 s for its node, in constants or in C++, where no signal is handled; on a busy
machine that is too short, and where a process has ended it is too long.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import shutil
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, cast

import psutil

from streamb.clock import SystemClock
from streamb.cluster.names import NAMESPACE
from streamb.cluster.ray_logs import cause_in, keep_logs
from streamb.config import read_variable, set_variable, variable_of
from streamb.errors import StartFailed

RAYS_FOLDER: Final = "r"
"""Ray's temporary folder in the private folder that is made for it; the name is short, as socket paths are limited."""
_STEP_S: Final = 1
_PAUSE_S: Final = 0.2
_LEAST_WORKER_S: Final = 60
_LEAST_AGENT_S: Final = 100
_FORGET_S: Final = 5.0
_PORTS: Final = range(32_000, 32_768)
"""Where Ray's agents listen: below the range from which kernels assign ports."""
_LOOPBACK: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""With 0, Ray calls this machine 127.0.0.1, as it does by itself on macOS and Windows, and listens there only."""
_REACH_S: Final = 2.0
_AGENTS: Final = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
_NEEDED: Final = frozenset({"gcs_server", "raylet"})

_CLOCK: Final = SystemClock()
_log = logging.getLogger(__name__)


def limits_of(timeout_s: float) -> dict[str, str]:
    """Return the variables that let the processes of a Ray wait for each other as long as we wait for them.

    Args:
        timeout_s: `ML_START_TIMEOUT_S`.
    """
    seconds = math.ceil(timeout_s)
    return {
        "RAY_gcs_server_port_wait_time_s": str(seconds),
        "RAY_raylet_start_wait_time_s": str(seconds),
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": str(seconds),
        "RAY_worker_register_timeout_seconds": str(max(seconds, _LEAST_WORKER_S)),
        "RAY_agent_register_timeout_ms": str(1000 * max(seconds, _LEAST_AGENT_S)),
    }


def use_loopback(*, here: bool) -> None:
    """Set by which address Ray knows this machine, in this process and all that it starts.

    At the loopback address no other machine reaches Ray's processes. That matters although they demand a token: a call
    without one cannot do anything, but end them (a bug of Ray 2.60: `RaySyncer` aborts at a call without a header).

    Args:
        here: True: the loopback address, for a Ray on this machine alone; False: the one that other machines see.
    """
    from ray._private import ray_constants

    if here:
        set_variable(_LOOPBACK, "0")
    elif read_variable(_LOOPBACK) == "0":
        set_variable(_LOOPBACK, None)
    cast(Any, ray_constants).ENABLE_RAY_CLUSTER = not here and sys.platform not in ("darwin", "win32")


def listens_here_only(address: str) -> bool:
    """Return whether a running Ray listens at the loopback address alone, as one that streamb started."""
    from ray._private import services

    try:
        found = str(services.canonicalize_bootstrap_address(address))
    except Exception:  # nothing runs, which the caller finds out
        return False
    host, _, port = found.rpartition(":")
    seen = str(cast(Any, services).node_ip_address_from_perspective())
    if host not in ("127.0.0.1", "localhost", seen) or not port.isdigit():
        return False
    try:
        socket.create_connection((seen, int(port)), timeout=_REACH_S).close()
    except OSError:
        return True
    return False


def launch_ray(
    cpus: int, folder: Path, timeout_s: float, state_dir: Path | None
) -> tuple[str, tuple[psutil.Process, ...]]:
    """Start Ray's processes and connect to them; a start that fails in its time is tried once more.

    Args:
        cpus: number of logical CPUs.
        folder: a private folder; Ray's temporary folder is made in it.
        timeout_s: how long Ray may take, each time.
        state_dir: where the logs of a failed start are kept; None: they are not.

    Returns:
        Ray's address, and the processes that were started.

    Raises:
        StartFailed: Ray did not start; nothing of it is left running, and the message names the cause.
    """
    first = True
    while True:
        watch = _Watch(_CLOCK.monotonic() + timeout_s)
        try:
            address = _connect(cpus, folder / RAYS_FOLDER, watch)
        except BaseException as error:
            _end(watch.processes())
            _forget()
            if not isinstance(error, Exception):
                raise
            late = _CLOCK.monotonic() >= watch.deadline
            failure = _failure(error, folder / RAYS_FOLDER, state_dir, timeout_s, late=late)
            if late or not first:
                raise failure from error
            _log.warning("%s. It is started once more", failure.message)
            shutil.rmtree(folder / RAYS_FOLDER, ignore_errors=True)
            first = False
        else:
            return address, watch.processes()


def logs_in(folder: Path) -> Path:
    """Return the log folder of a Ray that was started in `folder`."""
    return folder / RAYS_FOLDER / "session_latest" / "logs"


class _Watch:
    """The processes that a start of Ray has made so far, and the time until which it may take."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._before = {process.pid for process in psutil.Process().children()}
        self._seen: dict[psutil.Process, str] = {}

    def processes(self) -> tuple[psutil.Process, ...]:
        """Return the children of this process that were started since."""
        return tuple(process for process in psutil.Process().children() if process.pid not in self._before)

    def ended(self) -> str:
        """Return the name of a process that Ray needs and that has ended; empty if all run."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                self._seen[process] = process.name()
        return next((name for process, name in self._seen.items() if name in _NEEDED and _has_ended(process)), "")


def _connect(cpus: int, folder: Path, watch: _Watch) -> str:
    import ray
    from ray._raylet import Config  # type: ignore[attr-defined]

    # Here, in steps between which signals are handled; the processes that we start read the variable.
    Config.initialize(f'{{"raylet_start_wait_time_s": {_STEP_S}}}')
    with warnings.catch_warnings(action="ignore"), _in_steps(watch):  # Ray's deprecations are not our user's
        context: Any = ray.init(
            "local",  # or a RAY_ADDRESS in the environment would make it join a cluster
            num_cpus=cpus,
            include_dashboard=False,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            _temp_dir=str(folder),
        )
    return str(context.address_info["address"])


@contextlib.contextmanager
def _in_steps(watch: _Watch) -> Iterator[None]:
    """Replace what Ray cannot be told otherwise, while it is started.

    These are two waits that last long and that no signal ends, and the ports of Ray's agents: Ray's node waits only
    15 s for agents that choose their ports themselves, and then ends itself.
    """
    from ray import _raylet
    from ray._private import node as node_module
    from ray._private import services as services_module

    node, services, raylet = cast(Any, node_module), cast(Any, services_module), cast(Any, _raylet)
    get_node, wait_for_port = services.get_node, node.wait_for_persisted_port

    def port(*args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("timeout_ms"):
            return wait_for_port(*args, **kwargs)
        return _patiently(lambda: wait_for_port(*args, **kwargs | {"timeout_ms": 1000 * _STEP_S}), watch)

    def found(*args: Any, **kwargs: Any) -> Any:
        return _patiently(lambda: get_node(*args, **kwargs), watch)

    start, on_sigterm = node.Node.start_ray_processes, signal.getsignal(signal.SIGTERM)

    def with_ports(self: Any) -> None:
        for name, free in zip(_AGENTS, _free_ports(len(_AGENTS)), strict=True):
            setattr(self._ray_params, name, getattr(self._ray_params, name) or free)
        told = (self._session_dir, self._node_id, raylet.DASHBOARD_AGENT_LISTEN_PORT_NAME)  # Ray has no argument for it
        raylet.persist_port(*told, self._ray_params.dashboard_agent_listen_port)
        if callable(on_sigterm):  # Ray has put one of its own in place, which ends the process there and then
            with contextlib.suppress(ValueError):  # not in the main thread, where Ray leaves it alone, too
                signal.signal(signal.SIGTERM, on_sigterm)
        start(self)

    services.get_node, node.wait_for_persisted_port = found, port
    node.Node.start_ray_processes = with_ports
    try:
        yield
    finally:
        services.get_node, node.wait_for_persisted_port = get_node, wait_for_port
        node.Node.start_ray_processes = start


def _free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens now."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.SystemRandom().sample(_PORTS, k=len(_PORTS)):
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                found.append(port)
            if len(found) == count:
                return found
    raise StartFailed(f"fewer than {count} ports are free from {_PORTS.start} to {_PORTS.stop - 1}")


def _patiently(attempt: Callable[[], Any], watch: _Watch) -> Any:
    """Repeat an attempt of Ray that raises while it is too early, until it succeeds, or cannot any more."""
    while True:
        try:
            return attempt()
        except Exception as error:
            if ended := watch.ended():
                raise StartFailed(f"its process {ended} has ended") from error
            if _CLOCK.monotonic() > watch.deadline:
                raise StartFailed("it was not up in time") from error
        time.sleep(_PAUSE_S)


def _failure(error: Exception, folder: Path, state_dir: Path | None, timeout_s: float, *, late: bool) -> StartFailed:
    """The error in one sentence: what Ray's logs say, else what Ray says; and where the logs are."""
    logs = folder / "session_latest" / "logs"
    said = error.message if isinstance(error, StartFailed) else (str(error).strip() or type(error).__name__)
    cause = cause_in(logs) or " ".join(said.split())[:500]
    if late:
        cause = (
            f"it was not up within {timeout_s:g} s ({cause}); raise {variable_of('start_timeout_s')} on a slow machine"
        )
    elif isinstance(error, StartFailed) and error.message not in cause:
        cause = f"{error.message} ({cause})"
    kept = keep_logs(logs, state_dir) if state_dir is not None else None
    where = f"; its logs are in {kept} (`streamb logs ray`)" if kept else ""
    return StartFailed(f"Ray did not start: {cause}{where}")


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def with_descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return the processes and their descendants; not all children: a program with `ModelScaler` has its own."""
    found: list[psutil.Process] = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found += [process, *process.children(recursive=True)]
    return found


def _end(processes: Iterable[psutil.Process]) -> None:
    family = with_descendants(processes)
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(family, timeout=_FORGET_S)


def _forget() -> None:
    """Undo what a half start has left in this process, so that Ray can be started again."""
    import ray

    leaving = threading.Thread(target=ray.shutdown, name="forget-ray", daemon=True)
    leaving.start()
    leaving.join(_FORGET_S)
