"""Starts a whole platform, waits until it answers, and stops it again."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from streamb.clock import SystemClock
from streamb.cluster.session import QUIET, RaySession, open_session
from streamb.config import Settings
from streamb.errors import AlreadyRunning, StartFailed
from streamb.store.state_dir import claim_state_dir

_POLL_S: Final = 0.2
_STOP_S: Final = 20.0
_FREE_PORTS: Final = range(20_000, 32_000)
"""The range in which a free port is searched: below the range from which kernels assign ports."""
_PORT_TRIES: Final = 50

_CLOCK: Final = SystemClock()

Progress = Callable[[str], None]


class RunningPlatform:
    """A platform that this process has started.

    Attributes:
        url: the address at which it answers.
        api_key: a key with all permissions.
    """

    def __init__(self, settings: Settings, session: RaySession, api_key: str) -> None:
        scheme = "https" if settings.tls_enabled else "http"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        shown = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
        self.url = f"{scheme}://{shown}:{settings.port}"
        self.api_key = api_key
        self.ray_address = session.address
        self._session = session
        self._stopped = False

    @property
    def alive(self) -> bool:
        """Whether its Ray is running; False if Ray has ended by itself."""
        return self._session.alive

    def stop(self) -> None:
        """Stop everything that was started: first running requests finish, then processes end. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        stop_everything(self._session)


def start_platform(settings: Settings, progress: Progress = lambda _: None) -> RunningPlatform:
    """Start (or join) Ray and bring up edge, gateway, console and controller; returns when all of them answer.

    Args:
        settings: the platform's settings; port 0 means any free port.
        progress: called with a text on what is being waited for.

    Raises:
        StartFailed: a part did not come up within `settings.start_timeout_s`; everything started is stopped again.
        AlreadyRunning: another platform runs on the Ray cluster; it was left alone.
        InvalidInput: the alerting options are wrong; nothing was started.
    """
    if settings.monitoring_enabled:
        from streamb.monitoring.opening import check_alerting

        check_alerting(settings)
    settings = _with_free_port(settings)
    claim_state_dir(settings.state_dir, strict=settings.environment != "development")
    progress("Ray")
    session = open_session(settings)
    try:
        _refuse_beside_another(settings, session)
    except BaseException:
        session.leave()
        raise
    try:
        return _bring_up(settings, session, progress)
    except BaseException:
        stop_everything(session)
        raise


def _refuse_beside_another(settings: Settings, session: RaySession) -> None:
    """Raise AlreadyRunning if another platform runs on the cluster: this one would take over and end its actors.

    A platform on the same state directory is ours, left by a killed process: it is taken over.
    """
    import ray

    from streamb.cluster.names import CONTROLLER, NAMESPACE
    from streamb.control.platform import API_KEY_FILE
    from streamb.security.keys import digest

    if session.folder is not None:
        return  # this process has just started this Ray
    try:
        controller = ray.get_actor(CONTROLLER, NAMESPACE)
    except ValueError:
        return
    deadline = _CLOCK.monotonic() + settings.start_timeout_s
    file = settings.state_dir / API_KEY_FILE
    ours = digest(file.read_text().strip()) if file.exists() else ""
    if not _within(ray, controller.belongs_to.remote(ours), deadline, "the controller on this cluster"):
        raise AlreadyRunning(
            f"another platform runs on the Ray cluster at {session.address}; use it with --address, or stop it with "
            "`streamb down` and its state directory"
        )


def _bring_up(settings: Settings, session: RaySession, progress: Progress) -> RunningPlatform:
    import ray
    from ray import serve

    from streamb.cluster.console import console_application
    from streamb.cluster.controller import start_controller
    from streamb.cluster.gateway import gateway_application
    from streamb.cluster.names import CONSOLE_APP, GATEWAY_APP
    from streamb.control.platform import operator_key

    deadline = _CLOCK.monotonic() + settings.start_timeout_s
    progress("Ray Serve")
    serve.start(proxy_location="Disabled", logging_config=QUIET)
    controller = start_controller(settings)
    serve.run_many(
        [
            serve.RunTarget(gateway_application(settings), GATEWAY_APP, route_prefix=None),
            serve.RunTarget(console_application(settings), CONSOLE_APP, route_prefix=None),
        ],
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )
    progress("the controller")
    _within(ray, controller.missing.remote(), deadline, "the controller")
    if settings.monitoring_enabled:
        from streamb.cluster.monitor import start_monitor

        start_monitor(settings)  # not waited for: requests are answered without it
    _wait_until_up(ray, controller, deadline, progress, settings.start_timeout_s)
    return RunningPlatform(settings, session, operator_key(settings.state_dir))


def _wait_until_up(ray: Any, controller: Any, deadline: float, progress: Progress, timeout_s: float) -> None:
    """Return when requests are answered. A model that starts slowly does not delay the others for ever."""
    told: list[str] = []
    while True:
        parts, models = _within(ray, controller.missing.remote(), deadline, "the controller")
        waiting = [*parts, *models]
        late = _CLOCK.monotonic() > deadline
        if not waiting or (late and not parts):
            return
        if late:
            raise StartFailed(
                f"not up after {timeout_s:g} s: {', '.join(parts)}; raise ML_START_TIMEOUT_S on a slow machine"
            )
        if waiting != told:
            progress(", ".join(waiting))
            told = waiting
        time.sleep(_POLL_S)


def _within(ray: Any, reference: Any, deadline: float, what: str) -> Any:
    try:
        return ray.get(reference, timeout=max(1.0, deadline - _CLOCK.monotonic()))
    except ray.exceptions.GetTimeoutError as error:
        raise StartFailed(f"{what} did not answer in time") from error
    except ray.exceptions.RayActorError as error:
        raise StartFailed(f"{what} did not start: {error}") from error


def stop_everything(session: RaySession) -> None:
    """Stop streamb's actors and applications, then disconnect from Ray."""
    from streamb.cluster.monitor import stop_monitor
    from streamb.cluster.node_collector import stop_collectors

    steps: list[Callable[[], None]] = [_stop_controller, stop_collectors, partial(stop_monitor, _STOP_S)]
    if session.folder is None:  # this Ray keeps running, so nothing of ours may remain on it
        steps.insert(1, _delete_apps)
    try:
        for step in steps:
            if session.alive:
                with contextlib.suppress(Exception):  # it may not exist yet; the others must be stopped all the same
                    step()
    finally:
        session.leave()


def _stop_controller() -> None:
    import ray

    from streamb.cluster.names import CONTROLLER, NAMESPACE

    controller = ray.get_actor(CONTROLLER, NAMESPACE)
    try:
        ray.get(controller.stop.remote(), timeout=_STOP_S)
    finally:
        ray.kill(controller)


def _delete_apps() -> None:
    """Delete the apps that take requests first, and wait; model versions end by themselves after their last batch."""
    from ray import serve

    from streamb.cluster.names import CONSOLE_APP, GATEWAY_APP, is_model_app

    for app in (GATEWAY_APP, CONSOLE_APP):
        serve.delete(app)
    for app in filter(is_model_app, serve.status().applications):
        serve.delete(app, _blocking=False)


def _with_free_port(settings: Settings) -> Settings:
    """Return settings with a port that can be bound now.

    Raises:
        StartFailed: another program uses the port, or no port is free.
    """
    if settings.port:
        problem = _cannot_bind(settings.host, settings.port)
        if problem:
            where = f"{settings.host}:{settings.port}"
            raise StartFailed(f"cannot listen on {where}: {problem}; choose another port with --port or ML_PORT")
        return settings
    # Not a port from the kernel, which could give the same one to a part of Ray before the edge binds it.
    for port in random.SystemRandom().sample(_FREE_PORTS, k=_PORT_TRIES):
        if not _cannot_bind(settings.host, port):
            return settings.model_copy(update={"port": port})
    raise StartFailed(f"no free port found on {settings.host} after {_PORT_TRIES} tries; choose one with --port")


def _cannot_bind(host: str, port: int) -> str:
    """Return why the address cannot be listened on; empty if it can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""
