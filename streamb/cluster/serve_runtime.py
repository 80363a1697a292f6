"""`Runtime` over Ray Serve: one application per model version, started and stopped in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

from ray import serve
from ray.serve.schema import ApplicationStatus

from streamb.clock import Clock, SystemClock
from streamb.cluster.failures import deaths_of, failure_of
from streamb.cluster.model_version import model_application
from streamb.cluster.names import is_model_app
from streamb.cluster.orders import Orders
from streamb.config import Settings
from streamb.control.observations import Observations
from streamb.crypto import PublicKey
from streamb.errors import Unavailable
from streamb.rollouts.runtime import AppPhase, AppSpec, AppStatus, Fault

ANSWER_S: Final = 2.0
"""Seconds to wait for Serve's status. Its controller does not answer while it is restarted."""
CONNECTED_S: Final = 20.0
"""Seconds within which gateways must connect to an app that runs; until then they are asked again."""
SOON_S: Final = 0.25
"""Seconds between looks at Serve while an app starts or stops: its own control loop needs as long."""
UNSETTLED_S: Final = 3.0
"""Seconds between looks while an app is not as it should be: failed, out of reach of a gateway, long in starting."""
LONG_S: Final = 60.0
"""A start or stop in which nothing has changed for so many seconds takes long: it is looked at less often."""
AT_REST_S: Final = 30.0
"""Seconds between looks while nothing happens: gateways report lost and new replicas within a second or two."""
_log = logging.getLogger(__name__)

_PHASES: Final = {
    ApplicationStatus.NOT_STARTED: AppPhase.STARTING,
    ApplicationStatus.DEPLOYING: AppPhase.STARTING,
    ApplicationStatus.RUNNING: AppPhase.RUNNING,
    ApplicationStatus.UNHEALTHY: AppPhase.STARTING,  # replicas are being replaced; DEPLOY_FAILED when it gives up
    ApplicationStatus.DEPLOY_FAILED: AppPhase.FAILED,
    ApplicationStatus.DELETING: AppPhase.STOPPING,
}


@dataclass(slots=True)
class _Connecting:
    """The gateways' connections to an app that runs."""

    since: float
    asked: Future[bool]
    asked_at: float
    done: bool = False


class ServeRuntime:
    """Runs model versions as Serve applications.

    Orders are carried out in the background (see `Orders`), since Serve's calls take a moment; a thread reads `apps`
    from Serve, so that reading it costs nothing.

    Args:
        connect: makes every gateway connect to an app; the result is whether all have. An app counts as running only
            once gateways reach it.
    """

    def __init__(
        self,
        settings: Settings,
        trusted: PublicKey,
        observations: Observations,
        connect: Callable[[str], Future[bool]],
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._trusted = trusted
        self._observations = observations
        self._connect = connect
        self._clock = clock or SystemClock()
        self._orders = Orders(self._serve, self._clock)
        self._looks = ThreadPoolExecutor(1, thread_name_prefix="serve-looks")
        self._look: Future[None] | None = None
        self._looked_at: float | None = None
        self._lock = threading.Lock()
        self._seen: dict[str, AppStatus] = {}
        self._before: object = None
        self._changed_at = self._clock.monotonic()
        self._wishes: dict[str, Mapping[str, int]] = {}
        self._connections: dict[str, _Connecting] = {}

    # --- orders -------------------------------------------------------------------------------------------------------

    def start(self, spec: AppSpec) -> None:
        if spec.app not in self._seen:
            self._orders.start(spec)

    def scale(self, app: str, replicas: int) -> None:
        """Set a wish for the app's autoscaling, which reads it every second: up at once, down as the load allows.

        Without autoscaling every app runs `ML_MIN_INSTANCES` replicas from its start, whatever its share of the
        traffic, because Serve would restart the replicas of an app that is deployed again with another number.
        """
        with self._lock:
            if app not in self._orders and app not in self._seen:
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
        seen = self._seen.get(app)
        self._orders.stop(app, known=seen is not None and seen.phase is not AppPhase.STOPPING)

    def _serve(self, app: str, spec: AppSpec | None) -> None:
        if spec is None:
            serve.delete(app, _blocking=False)
            return
        target = serve.RunTarget(model_application(self._settings, spec, self._trusted), app, route_prefix=None)
        serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)

    # --- reading ------------------------------------------------------------------------------------------------------

    def apps(self) -> Mapping[str, AppStatus]:
        # In this order: an order ends only after what was seen has replaced it.
        ordered = self._orders.statuses()
        return {**self._seen, **ordered}

    def failed(self) -> Mapping[str, str]:
        """Return why an app cannot answer, for each that has failed and has no replica."""
        return {
            app: status.reason or "no reason is known"
            for app, status in self.apps().items()
            if status.phase is AppPhase.FAILED and status.replicas == 0
        }

    def acknowledged(self, epoch: int) -> bool:
        # Shortly after this process started, gateways that have not reported yet may exist.
        return self._observations.settled and self._observations.acknowledged(epoch)

    def in_flight(self, app: str) -> int:
        return self._observations.in_flight(app)

    def look(self, *, awaited: bool) -> None:
        """Read from Serve what runs, if it is time to: often while something changes, else rarely. Call it often.

        Args:
            awaited: whether somebody waits for a change.

        Raises:
            Unavailable: see `refresh`.
        """
        self._orders.repeat()
        now = self._clock.monotonic()
        if self._looked_at is None or now - self._looked_at >= self._interval_s(awaited=awaited):
            self.refresh()

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
            if self._looked_at is None:
                raise Unavailable(f"Ray Serve does not report what runs: {error or 'no answer yet'}") from error
            _log.warning("Ray Serve does not report what runs (%s); the last state is used", error or "no answer yet")

    def close(self) -> None:
        """Accept no more orders."""
        self._orders.close()
        self._looks.shutdown(wait=False, cancel_futures=True)

    def _interval_s(self, *, awaited: bool) -> float:
        apps, now = self.apps(), self._clock.monotonic()
        state = awaited, {app: status.phase for app, status in apps.items()}
        if state != self._before:
            self._before, self._changed_at = state, now
        phases = {status.phase for status in apps.values()}
        if awaited or not phases.isdisjoint({AppPhase.STARTING, AppPhase.STOPPING}):
            return SOON_S if now - self._changed_at < LONG_S else UNSETTLED_S
        links = self._observations.links()
        told = all(set(links.get(app, (one.replicas,))) == {one.replicas} for app, one in apps.items())
        if AppPhase.FAILED in phases or not told:
            return UNSETTLED_S
        return AT_REST_S

    def _ask(self) -> None:
        found = {name: _describe(name, app) for name, app in serve.status().applications.items() if is_model_app(name)}
        running = {name for name, status in found.items() if status.phase is AppPhase.RUNNING}
        if self._looked_at is None:  # apps that ran before this process started are connected
            self._connections = {name: _connected(self._clock.monotonic()) for name in running}
        self._connections = {name: one for name, one in self._connections.items() if name in running}
        found = {name: self._once_connected(name, status) for name, status in found.items()}
        self._seen = found
        self._looked_at = self._clock.monotonic()
        self._orders.confirm(found)

    def _once_connected(self, app: str, status: AppStatus) -> AppStatus:
        """The status, but "running" only once gateways are connected, so that traffic then moves without delay."""
        if status.phase is not AppPhase.RUNNING:
            return status
        now = self._clock.monotonic()
        one = self._connections.get(app)
        if one is None:
            one = self._connections[app] = _Connecting(now, self._connect(app), now)
        if not one.done and one.asked.done():
            one.done = not one.asked.cancelled() and one.asked.exception() is None and one.asked.result()
            if not one.done and now - one.asked_at >= SOON_S:
                one.asked, one.asked_at = self._connect(app), now
        if one.done:
            return status
        if now - one.since < CONNECTED_S:
            return replace(status, phase=AppPhase.STARTING, reason="the gateways connect to it")
        if max(self._observations.links().get(app, (0,))) or not self._observations.live("gateway"):
            return status  # a gateway that does not reach it must not keep the others waiting
        reason = f"it runs, but no gateway has reached its replicas in {CONNECTED_S:g} s"
        return replace(status, phase=AppPhase.FAILED, reason=reason, fault=Fault.INFRASTRUCTURE)


def _connected(now: float) -> _Connecting:
    done: Future[bool] = Future()
    done.set_result(True)
    return _Connecting(now, done, now, done=True)


def _describe(name: str, app: Any) -> AppStatus:
    deployments = list(app.deployments.values())
    replicas = sum(d.replica_states.get("RUNNING", 0) for d in deployments)
    phase = _PHASES.get(app.status, AppPhase.STARTING)
    if phase is AppPhase.RUNNING:
        return AppStatus(phase, replicas)
    message = "\n".join(filter(None, [app.message, *(d.message for d in deployments)]))
    failure = failure_of(message, lambda: deaths_of(name))
    return AppStatus(phase, replicas, failure.reason, failure.fault)
