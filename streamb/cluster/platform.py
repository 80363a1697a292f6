"""Starts a whole platform, waits until it answers, and stops it again."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from streamb.clock import SystemClock
from streamb.cluster.ending import Beginning, ours_among, stop_everything
from streamb.cluster.names import CONSOLE_APP, CONTROLLER, GATEWAY_APP, NAMESPACE
from streamb.cluster.node_checks import check_nodes, refuse_nodes
from streamb.cluster.room import alive_nodes, cluster_room, local_room
from streamb.cluster.session import QUIET, RaySession, open_session, prepare_ray
from streamb.config import Settings, variable_of
from streamb.control.health import Unserved
from streamb.control.sizing import Need, Room, refusal
from streamb.control.storage import check_stores
from streamb.errors import AlreadyRunning, DoesNotFit, StartFailed
from streamb.store.state_dir import claim_state_dir

_POLL_S: Final = 0.2
_FREE_PORTS: Final = range(20_000, 32_000)
"""The range in which a free port is searched: below the range from which kernels assign ports."""
_PORT_TRIES: Final = 50

_CLOCK: Final = SystemClock()

Progress = Callable[[str], None]
Accept = Callable[[str], bool]


class RunningPlatform:
    """A platform that this process has started.

    Attributes:
        url: the address at which it answers.
        api_key: a key with all permissions.
        unanswered: a sentence for each model that should answer and does not, with the reason.
        notes: what the start found and went on with, a sentence each.
        needs: what the platform needs and what there is, in numbers (`Need.facts`).
    """

    def __init__(self, settings: Settings, beginning: Beginning, api_key: str, unanswered: list[str]) -> None:
        scheme = "https" if settings.tls_enabled else "http"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        shown = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
        self.url = f"{scheme}://{shown}:{settings.port}"
        self.api_key = api_key
        self.ray_address = beginning.session.address
        self.unanswered = unanswered
        self.notes = beginning.notes
        self.needs = beginning.needs
        self._beginning = beginning
        self._stopped = False

    @property
    def alive(self) -> bool:
        """Whether its Ray is running; False if Ray has ended by itself."""
        return self._beginning.session.alive

    def stop(self) -> None:
        """Stop the platform: first running requests finish, then processes end. Idempotent.

        The logs of one that has ended by itself are kept in the state directory.
        """
        if self._stopped:
            return
        self._stopped = True
        if not self.alive:
            self._beginning.keep_logs()
        stop_everything(self._beginning.session)

    def give_up(self) -> None:
        """Undo a start that was not completed: what ran before it goes on, and only what it made is ended."""
        if not self._stopped:
            self._stopped = True
            self._beginning.undo()


def start_platform(
    settings: Settings, progress: Progress = lambda _: None, accept: Accept = lambda _: False
) -> RunningPlatform:
    """Start (or join) Ray and bring up edge, gateway, console and controller; returns when all of them answer.

    Args:
        settings: the platform's settings; port 0 means any free port.
        progress: called with a text on what is being waited for.
        accept: called if the platform does not fit on the machine, with the reason; True goes on all the same.

    Raises:
        StartFailed: a part did not come up within `settings.start_timeout_s`, or a node of the cluster cannot take
            part; what this start has made is ended, and what ran before goes on.
        StorageFailed: the database or the artifact store cannot be used; nothing was started.
        DoesNotFit: the machine has not enough memory or CPUs, and `accept` said no; nothing was started.
        AlreadyRunning: another platform runs on the Ray cluster; it was left alone.
        InvalidInput: the alerting options are wrong; nothing was started.
    """
    if settings.monitoring_enabled:
        from streamb.monitoring.opening import check_alerting

        check_alerting(settings)
    settings = _with_free_port(settings)
    claim_state_dir(settings.state_dir, strict=settings.environment != "development")
    progress("the database and the artifact store")
    need = Need.of(settings, check_stores(settings))
    prepare_ray(settings.start_timeout_s)
    needs = {} if settings.ray_address else _demand_room(need, local_room(), accept)
    progress("Ray")
    beginning = Beginning(open_session(settings), settings.state_dir, needs=needs)
    try:
        if settings.ray_address:
            _look_around(settings, beginning, need, accept)
    except BaseException:
        beginning.session.leave()  # nothing was started on it
        raise
    try:
        return _bring_up(settings, beginning, progress)
    except BaseException as error:
        kept = beginning.undo()
        if kept is not None and isinstance(error, StartFailed):
            raise StartFailed(f"{error.message}; its logs are in {kept} (`streamb logs`)", **error.details) from error
        raise


def _demand_room(need: Need, room: Room, accept: Accept) -> dict[str, Any]:
    why = refusal(need, room, "--yes")
    if why and not accept(why):
        raise DoesNotFit(why, **need.facts(room))
    return need.facts(room)


def _look_around(settings: Settings, beginning: Beginning, need: Need, accept: Accept) -> None:
    """Look at what is on a cluster that was joined.

    Raises:
        AlreadyRunning, DoesNotFit, StartFailed: a platform cannot be started here.
    """
    import ray

    from streamb.cluster.listener import refuse_open

    refuse_open(settings)
    _refuse_beside_another(settings, beginning.session)
    beginning.ran_before = ours_among(ray.util.list_named_actors(all_namespaces=True))
    problems = check_nodes(settings)
    if beginning.ran_before:  # it works, as far as it does: a start is no reason to end or refuse it
        beginning.notes, beginning.needs = problems, need.facts(cluster_room())
    else:
        refuse_nodes(problems)
        beginning.needs = _demand_room(need, cluster_room(), accept)


def _refuse_beside_another(settings: Settings, session: RaySession) -> None:
    """Raise AlreadyRunning if another platform runs on the cluster: this one would take over and end its actors.

    A platform on the same state directory is ours, left by a killed process: it is taken over.
    """
    import ray

    from streamb.control.platform import API_KEY_FILE
    from streamb.security.keys import digest

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


def _bring_up(settings: Settings, beginning: Beginning, progress: Progress) -> RunningPlatform:
    import ray
    from ray import serve

    from streamb.cluster.console import console_application
    from streamb.cluster.controller import start_controller
    from streamb.cluster.gateway import gateway_application
    from streamb.control.platform import operator_key

    deadline = _CLOCK.monotonic() + settings.start_timeout_s
    progress("Ray Serve")
    serve.start(proxy_location="Disabled", logging_config=QUIET)
    controller = start_controller(settings)
    nodes = len(alive_nodes())
    serve.run_many(
        [
            serve.RunTarget(gateway_application(settings, nodes=nodes), GATEWAY_APP, route_prefix=None),
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
    unanswered = _wait_until_up(ray, controller, deadline, progress, settings.start_timeout_s)
    return RunningPlatform(settings, beginning, operator_key(settings.state_dir), unanswered)


def _wait_until_up(ray: Any, controller: Any, deadline: float, progress: Progress, timeout_s: float) -> list[str]:
    """Return when requests are answered, with a sentence for each model that does not answer.

    A model that may still come is waited for until the deadline; one that cannot come by itself is not.
    """
    told: list[str] = []
    slow = f"raise {variable_of('start_timeout_s')} on a slow machine"
    while True:
        try:
            parts, _ = _within(ray, controller.missing.remote(), deadline, "the controller")
        except StartFailed as error:
            if not told:
                raise
            raise StartFailed(f"{error.message}; before, it was waiting for {', '.join(told)}; {slow}") from error
        models: list[Unserved] = []
        if not parts:
            models = _within(ray, controller.unserved.remote(), deadline, "the controller")
        waiting = parts or [model.sentence for model in models if model.coming]
        late = _CLOCK.monotonic() > deadline
        if not parts and (late or not waiting):
            return [model.sentence for model in models]
        if late:
            raise StartFailed(f"not up after {timeout_s:g} s: {', '.join(parts)}; {slow}")
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
