"""Verbs that need several parts of the control side at once: create a deployment, status, health."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from streamb.asking import Verbs, change, verb
from streamb.control.health import HealthReport, Unserved, describe_models, system_health, unserved
from streamb.control.news import DeploymentDesk
from streamb.control.observations import Observations
from streamb.control.platform import Platform
from streamb.control.sizing import Need, Room, refusal
from streamb.control.storage import share_of
from streamb.errors import DoesNotFit, Forbidden, InvalidInput, StorageFailed
from streamb.monitoring.alerts.deployments import News
from streamb.rollouts.deployment import Deployment
from streamb.rollouts.options import RolloutOptions
from streamb.rollouts.runtime import AppPhase, AppStatus, Resources, Runtime
from streamb.rollouts.strategies import Strategy
from streamb.security.isolation import Isolation, check_isolation
from streamb.security.sessions import Sessions
from streamb.store import Page

LONGEST_JOB_S: Final = 30 * 86_400.0
"""The longest time of a job in seconds, and by default the limit of each."""


class JobBoard(Protocol):
    """Runs jobs; the cluster implements it."""

    @change
    def submit(
        self,
        *,
        entrypoint: str,
        working_dir: str | None,
        env: Mapping[str, str],
        name: str,
        isolation: str = ...,
        time_limit_s: float = ...,
        scopes: Sequence[str] = ...,
        models: Sequence[str] = ...,
        request: str | None,
    ) -> Any: ...
    @verb
    def list(self, limit: int, cursor: str | None) -> Page[Any]: ...
    @verb
    def get(self, job_id: str) -> Any: ...
    @verb
    def logs(self, job_id: str, offset: int, limit: int) -> tuple[str, int]: ...
    @change
    def stop(self, job_id: str) -> Any: ...


def _sessions(platform: Platform) -> Sessions:
    settings = platform.settings
    return Sessions(
        platform.database.records,
        platform.clock,
        platform.keys,
        platform.directory,
        lasts_s=settings.session_hours * 3_600.0,
        issuer=settings.oidc_issuer,
        roles=settings.roles_of_groups,
    )


class Control:
    """Verbs that need several parts. Runs inside the Controller; synchronous, safe to use from many threads.

    Args:
        platform: the control side.
        runtime: runs the versions.
        observations: the reports of gateways, consoles and edges.
        jobs: runs jobs.
        room: returns what the cluster has; by default nothing is known of it.

    Attributes:
        verbs: all verbs of the control side that another process may call.
    """

    def __init__(
        self,
        platform: Platform,
        runtime: Runtime,
        observations: Observations,
        jobs: JobBoard,
        room: Callable[[], Room] = lambda: Room("this platform"),
    ) -> None:
        self._room = room
        self._platform = platform
        self._runtime = runtime
        self._observations = observations
        self._started_at = platform.clock.now()
        self._desk = DeploymentDesk(platform.rollouts, platform.clock)
        answers = platform.idempotency
        self.verbs = Verbs(
            self,
            platform.registry,
            platform.rollouts,
            platform.directory,
            platform.keys,
            _sessions(platform),
            answers,
            observations,
            jobs,
            keeper=answers,
        )

    @change
    def create_deployment(
        self, model_id: str, target_version: str, strategy: str, options: Mapping[str, Any], actor: str, *, force: bool
    ) -> Deployment:
        """Start to deploy a registered version.

        Args:
            model_id, target_version: what to deploy; the version may also be an alias, or "latest".
            strategy: one of `Strategy`.
            options: options of that strategy, by name.
            actor: the name of the caller, for the history.
            force: allow an immediate deployment outside development, and one that does not fit on the cluster.

        Raises:
            Forbidden: the deployment is immediate, or counts as immediate because its version would get more than
                `unjudged_share` of the traffic before it is judged; the environment is not development, and `force` is
                not set.
            DoesNotFit: the cluster has not enough memory, CPUs or GPUs for it, and `force` is not set.
            InvalidInput: `timeout_s` is longer than any request may take.
            InvalidInput, NotFound, Conflict: see `Rollouts.create`.
        """
        if strategy not in set(Strategy):
            raise InvalidInput(f"strategy {strategy!r} is not one of {', '.join(Strategy)}")
        wanted, environment = Strategy(strategy), self._platform.settings.environment
        if wanted is Strategy.IMMEDIATE and environment != "development" and not force:
            raise Forbidden(
                f"an immediate deployment moves all traffic at once without a check and is refused in {environment}; "
                "choose another strategy (canary, rolling, blue_green), or have an administrator request it with force"
            )
        read, limit_s = RolloutOptions.read(options), self._platform.settings.request_timeout_s
        if read.timeout_s is not None and read.timeout_s > limit_s:
            raise InvalidInput(
                f"timeout_s is {read.timeout_s:g} s, but no request may take longer than ML_REQUEST_TIMEOUT_S "
                f"({limit_s:g} s): the edge would have given up before; raise that setting, or ask for less"
            )
        if read.run.isolation is Isolation.PROCESS:
            check_isolation()
        if not force:
            self._demand_room(model_id, target_version, read.run.resources)
        return self._platform.rollouts.create(model_id, target_version, wanted, read, actor, force=force)

    def _demand_room(self, model_id: str, ref: str, resources: Resources) -> None:
        """Raise DoesNotFit if what runs and the version `ref` need more than the cluster is known to have."""
        settings, registry = self._platform.settings, self._platform.registry
        version = registry.resolve(model_id, ref).version
        wanted = {(model_id, version, resources): settings.min_instances}
        for app, status in self._apps().items():
            if status.phase in {AppPhase.STARTING, AppPhase.RUNNING}:
                known, number = app.rsplit("--", 1)[0].split("--", 1)
                which = known, number, self._platform.rollouts.resources_of(known, app)
                wanted[which] = max(status.replicas, settings.min_instances)
        shares = [share_of(registry, *which, wanted[which]) for which in sorted(wanted, key=lambda one: one[:2])]
        need, room = Need.of(settings, shares), self._room()
        if why := refusal(need, room, "`force`, by an administrator,"):
            raise DoesNotFit(f"{model_id} {version} cannot be deployed: {why}", **need.facts(room))

    def news(self) -> News:
        """Return what is new about deployments and which versions can be called, for the Monitor.

        Raises:
            StorageFailed: the history cannot be read now.
        """
        return self._desk.news()

    # --- reading ------------------------------------------------------------------------------------------------------

    @verb
    def model_status(self, model_id: str) -> dict[str, Any]:
        """Return one model's running versions, its request counts, its newest deployment, and its undeployment."""
        self._platform.registry.get_model(model_id)
        rollouts = self._platform.rollouts
        found = describe_models(rollouts, self._apps(), self._observations, only=model_id)
        return {
            **found[model_id],
            "deployment": rollouts.latest(model_id),
            "undeployment": rollouts.undeploying(model_id),
        }

    @verb
    def system_health(self) -> HealthReport:
        """Return the health of the platform and of each part, with reasons."""
        return system_health(
            self._observations,
            describe_models(self._platform.rollouts, self._apps(), self._observations),
            self._database(),
        )

    def unserved(self) -> list[Unserved]:
        """Return each model that should answer and does not, and whether it may still come by itself."""
        links = self._observations.links()
        routes = self._platform.rollouts.routes
        out_of_reach = {name for name, route in routes.items() if 0 in links.get(route.app, ())}
        return unserved(self.system_health()["models"], out_of_reach)

    @verb
    def status(self) -> dict[str, Any]:
        """Return the platform's state: environment, uptime, epoch, gateways, and the running models."""
        clock, settings, rollouts = self._platform.clock, self._platform.settings, self._platform.rollouts
        return {
            "environment": settings.environment,
            "started_at": self._started_at,
            "uptime_s": round(clock.now() - self._started_at, 3),
            "epoch": rollouts.table.epoch,
            "gateways": [
                {
                    "source": r.source,
                    "node": r.node,
                    "pid": r.pid,
                    "epoch": r.epoch,
                    "in_flight": sum(r.in_flight.values()),
                }
                for r in self._observations.live("gateway")
            ],
            "models": list(describe_models(rollouts, self._apps(), self._observations).values()),
        }

    @verb
    def deployment_metrics(self) -> bytes:
        """Return the metrics of deployments as Prometheus text."""
        return self._desk.metrics()

    @verb
    def live_gateways(self) -> int:
        """Return the number of live gateways."""
        return len(self._observations.live("gateway"))

    def _apps(self) -> Mapping[str, AppStatus]:
        return self._runtime.apps()

    def _database(self) -> str:
        try:
            self._platform.database.records.get("control", "epoch")
        except StorageFailed as error:
            return error.message
        return ""
