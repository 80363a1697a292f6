"""`Runtime` over Ray Serve: one application per model version, started and stopped in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from ray import serve
from ray.serve.schema import ApplicationStatus

from streamb.cluster.model_version import model_application
from streamb.cluster.names import is_model_app
from streamb.config import Settings
from streamb.control.observations import Observations
from streamb.crypto import PublicKey
from streamb.errors import Unavailable
from streamb.rollouts.runtime import AppPhase, AppSpec, AppStatus

ANSWER_S: Final = 2.0
"""Seconds to wait for Serve's status. Its controller does not answer while it is restarted."""
_log = logging.getLogger(__name__)

_PHASES: Final = {
    ApplicationStatus.NOT_STARTED: AppPhase.STARTING,
    ApplicationStatus.DEPLOYING: AppPhase.STARTING,
    ApplicationStatus.RUNNING: AppPhase.RUNNING,
    ApplicationStatus.UNHEALTHY: AppPhase.STARTING,  # replicas are being replaced; DEPLOY_FAILED when it gives up
    ApplicationStatus.DEPLOY_FAILED: AppPhase.FAILED,
    ApplicationStatus.DELETING: AppPhase.STOPPING,
}


class ServeRuntime:
    """Runs model versions as Serve applications.

    One background thread carries out orders in turn, since Serve's calls take a moment; `refresh` reads `apps` from
    Serve, so that reading it costs nothing.

    Args:
        connect: makes every gateway connect to an app; an app counts as running only once that is done.
    """

    def __init__(
        self,
        settings: Settings,
        trusted: PublicKey,
        observations: Observations,
        connect: Callable[[str], Future[None]],
    ) -> None:
        self._settings = settings
        self._trusted = trusted
        self._observations = observations
        self._orders = ThreadPoolExecutor(1, thread_name_prefix="serve-orders")
        self._looks = ThreadPoolExecutor(1, thread_name_prefix="serve-looks")
        self._look: Future[None] | None = None
        self._lock = threading.Lock()
        self._ordered: dict[str, AppStatus] = {}
        self._seen: dict[str, AppStatus] = {}
        self._wishes: dict[str, Mapping[str, int]] = {}
        self._connect = connect
        self._connections: dict[str, Future[None]] = {}
        self._looked = False

    def start(self, spec: AppSpec) -> None:
        with self._lock:
            if spec.app in self._ordered or spec.app in self._seen:
                return
            self._ordered[spec.app] = AppStatus(AppPhase.STARTING, reason="being handed to Ray Serve")
        self._orders.submit(self._run, spec)

    def scale(self, app: str, replicas: int) -> None:
        """Set a wish for the app's autoscaling, which reads it every second: up at once, down as the load allows.

        Without autoscaling every app runs `ML_MIN_INSTANCES` replicas from its start, whatever its share of the
        traffic, because Serve would restart the replicas of an app that is deployed again with another number.
        """
        with self._lock:
            if app not in self._ordered and app not in self._seen:
                return
            fewer = app in self._seen and replicas < self._seen[app].replicas
            self._wishes[app] = {"released": replicas} if fewer else {"floor": replicas}

    def wishes(self, app: str, *, deploying: bool) -> Mapping[str, int]:
        """Return the rollouts' wishes for the app's replicas: "floor", at least so many; "released", at most so many.

        Args:
            deploying: whether the app takes part in a deployment; wishes end with it, and then the load alone decides.
        """
        with self._lock:
            if not deploying:
                self._wishes.pop(app, None)
            return self._wishes.get(app, {})

    def stop(self, app: str) -> None:
        with self._lock:
            self._wishes.pop(app, None)
            if app in self._ordered and self._ordered[app].phase is AppPhase.FAILED:
                del self._ordered[app]  # Serve refused it and does not know it
            if app not in self._seen or self._seen[app].phase is AppPhase.STOPPING:
                return
            self._seen[app] = AppStatus(AppPhase.STOPPING)
        self._orders.submit(self._delete, app)

    def apps(self) -> Mapping[str, AppStatus]:
        with self._lock:
            return {**self._ordered, **self._seen}

    def acknowledged(self, epoch: int) -> bool:
        # Shortly after this process started, gateways that have not reported yet may exist.
        return self._observations.settled and self._observations.acknowledged(epoch)

    def in_flight(self, app: str) -> int:
        return self._observations.in_flight(app)

    def refresh(self, patience_s: float = ANSWER_S) -> None:
        """Read from Serve what runs. While it does not answer, or fails, the last state stays and decisions use it.

        So a version that fails is taken out of traffic even while Serve's own controller is dead.

        Raises:
            Unavailable: Serve has not answered since this process began, so nothing can be decided yet.
        """
        if self._look is None or self._look.done():
            self._look = self._looks.submit(self._ask)
        try:
            self._look.result(patience_s)
        except Exception as error:  # an error of Serve or Ray, or a timeout
            if not self._looked:
                raise Unavailable(f"Ray Serve does not report what runs: {error or 'no answer yet'}") from error
            _log.warning("Ray Serve does not report what runs (%s); the last state is used", error or "no answer yet")

    def _ask(self) -> None:
        found = {name: _describe(app) for name, app in serve.status().applications.items() if is_model_app(name)}
        running = {name for name, status in found.items() if status.phase is AppPhase.RUNNING}
        if self._looked:
            found = {name: self._once_connected(name, status) for name, status in found.items()}
        else:  # apps that ran before this process started are connected
            self._connections = {name: _done() for name in running}
        self._connections = {name: done for name, done in self._connections.items() if name in running}
        with self._lock:
            stopping = {app for app, status in self._seen.items() if status.phase is AppPhase.STOPPING}
            self._seen = {
                app: AppStatus(AppPhase.STOPPING) if app in stopping else status for app, status in found.items()
            }
            for app in found:
                self._ordered.pop(app, None)
            self._looked = True

    def _once_connected(self, app: str, status: AppStatus) -> AppStatus:
        """The status, but "running" only after gateways are connected, so that traffic then moves without delay."""
        if status.phase is not AppPhase.RUNNING:
            return status
        if app not in self._connections:
            self._connections[app] = self._connect(app)
        if self._connections[app].done():
            return status
        return AppStatus(AppPhase.STARTING, status.replicas, "the gateways connect to it")

    def close(self) -> None:
        """Accept no more orders."""
        for work in (self._orders, self._looks):
            work.shutdown(wait=False, cancel_futures=True)

    def _run(self, spec: AppSpec) -> None:
        application = model_application(self._settings, spec, self._trusted)
        target = serve.RunTarget(application, spec.app, route_prefix=None)
        try:
            serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        except Exception as error:
            _log.exception("Serve refused to start %s", spec.app)
            with self._lock:
                self._ordered[spec.app] = AppStatus(AppPhase.FAILED, reason=f"Ray Serve refused it: {error}")

    def _delete(self, app: str) -> None:
        try:
            serve.delete(app, _blocking=False)
        except Exception:
            _log.exception("Serve did not delete %s; it is asked again", app)
            with self._lock:
                self._seen.pop(app, None)


def _done() -> Future[None]:
    done: Future[None] = Future()
    done.set_result(None)
    return done


def _describe(app: Any) -> AppStatus:
    deployments = list(app.deployments.values())
    replicas = sum(d.replica_states.get("RUNNING", 0) for d in deployments)
    message = "; ".join(filter(None, [app.message, *(d.message for d in deployments)]))
    phase = _PHASES.get(app.status, AppPhase.STARTING)
    return AppStatus(phase, replicas, "" if phase is AppPhase.RUNNING else _last_line(message))


def _last_line(message: str) -> str:
    """The last line of a traceback, which says what happened."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""
