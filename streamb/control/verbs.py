"""The verbs of the platform: what API, CLI, SDK and jobs can ask for. Synchronous; runs inside the Controller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from streamb.control.health import HealthReport, describe_models, system_health
from streamb.control.observations import Observations
from streamb.control.platform import Platform
from streamb.errors import Forbidden, InvalidInput, StorageFailed
from streamb.metrics import Snapshot
from streamb.registry import Artifact, Lineage, ModelVersion, RegisteredModel, Stage
from streamb.rollouts import AppStatus, Deployment, DeploymentEvent, Runtime, Strategy
from streamb.security.keys import Principal
from streamb.store import Page, Remembered

_LATELY_S: Final = 1_800.0
_MOST_HAPPENINGS: Final = 100


class JobBoard(Protocol):
    """Runs jobs; the cluster implements it."""

    def submit(
        self, *, entrypoint: str, working_dir: str | None, env: Mapping[str, str], name: str, request: str | None
    ) -> Any: ...
    def list(self, limit: int, cursor: str | None) -> Page[Any]: ...
    def get(self, job_id: str) -> Any: ...
    def logs(self, job_id: str, offset: int, limit: int) -> tuple[str, int]: ...
    def stop(self, job_id: str) -> Any: ...


class Control:
    """Every public method is a verb that another process may call by name, with keyword arguments."""

    def __init__(
        self,
        platform: Platform,
        runtime: Runtime,
        observations: Observations,
        jobs: JobBoard,
        wake: Callable[[], None],
    ) -> None:
        self._platform = platform
        self._runtime = runtime
        self._observations = observations
        self._jobs = jobs
        self._wake = wake
        self._started_at = platform.clock.now()

    # --- models -------------------------------------------------------------------------------------------------------

    def list_models(self, limit: int, cursor: str | None) -> Page[RegisteredModel]:
        return self._platform.registry.list_models(limit, cursor)

    def get_model(self, model_id: str) -> RegisteredModel:
        return self._platform.registry.get_model(model_id)

    def create_model(
        self, model_id: str, name: str, description: str, owner: str, tags: Mapping[str, str]
    ) -> RegisteredModel:
        return self._platform.registry.create_model(
            model_id, name=name, description=description, owner=owner, tags=tags
        )

    def list_versions(self, model_id: str, limit: int, cursor: str | None) -> Page[ModelVersion]:
        return self._platform.registry.list_versions(model_id, limit, cursor)

    def get_version(self, model_id: str, version: str) -> ModelVersion:
        return self._platform.registry.resolve(model_id, version)

    def register_version(
        self,
        model_id: str,
        version: str,
        artifact: Artifact,
        owner: str,
        metadata: Mapping[str, Any],
        metrics: Mapping[str, float],
        hyperparameters: Mapping[str, Any],
        lineage: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> tuple[ModelVersion, bool]:
        return self._platform.registry.register_version(
            model_id,
            version,
            artifact,
            owner=owner,
            metadata=metadata,
            metrics=metrics,
            hyperparameters=hyperparameters,
            lineage=Lineage(**lineage),
            tags=tags,
        )

    def set_alias(self, model_id: str, alias: str, version: str) -> RegisteredModel:
        return self._platform.registry.set_alias(model_id, alias, version)

    def delete_alias(self, model_id: str, alias: str) -> RegisteredModel:
        return self._platform.registry.delete_alias(model_id, alias)

    def set_stage(self, model_id: str, version: str, stage: str) -> ModelVersion:
        return self._platform.registry.set_stage(model_id, version, Stage(stage))

    def set_tags(self, model_id: str, tags: Mapping[str, str]) -> RegisteredModel:
        return self._platform.registry.set_tags(model_id, tags)

    # --- deployments --------------------------------------------------------------------------------------------------

    def create_deployment(
        self, *, model_id: str, target_version: str, strategy: str, options: Mapping[str, Any], actor: str, force: bool
    ) -> Deployment:
        if strategy not in set(Strategy):
            raise InvalidInput(f"strategy {strategy!r} is not one of {', '.join(Strategy)}")
        wanted, environment = Strategy(strategy), self._platform.settings.environment
        if wanted is Strategy.IMMEDIATE and environment != "development" and not force:
            raise Forbidden(
                f"an immediate deployment moves all traffic at once without a check and is refused in {environment}; "
                "take another strategy (canary, rolling, blue_green), or have an administrator ask for it with force"
            )
        return self._woken(self._platform.rollouts.create(model_id, target_version, wanted, options, actor))

    def approve_deployment(self, *, deployment_id: str, by: str, reason: str = "") -> Deployment:
        return self._woken(self._platform.rollouts.approve(deployment_id, by, reason))

    def pause_deployment(self, *, deployment_id: str, by: str, reason: str = "") -> Deployment:
        return self._woken(self._platform.rollouts.pause(deployment_id, by, reason))

    def resume_deployment(self, *, deployment_id: str, by: str, reason: str = "") -> Deployment:
        return self._woken(self._platform.rollouts.resume(deployment_id, by, reason))

    def promote_deployment(self, *, deployment_id: str, by: str, reason: str = "") -> Deployment:
        return self._woken(self._platform.rollouts.promote(deployment_id, by, reason))

    def abort_deployment(self, *, deployment_id: str, by: str, reason: str = "") -> Deployment:
        return self._woken(self._platform.rollouts.abort(deployment_id, by, reason))

    def rollback_deployment(
        self, *, deployment_id: str, by: str, reason: str = "", to_version: str | None = None
    ) -> Deployment:
        return self._woken(self._platform.rollouts.rollback(deployment_id, by, reason, to_version))

    def list_deployments(self, limit: int, cursor: str | None, model_id: str | None = None) -> Page[Deployment]:
        return self._platform.rollouts.list(limit, cursor, model_id)

    def get_deployment(self, deployment_id: str) -> Deployment:
        return self._platform.rollouts.get(deployment_id)

    def deployment_history(self, limit: int, cursor: str | None, model_id: str | None = None) -> Page[DeploymentEvent]:
        return self._platform.rollouts.history(limit, cursor, model_id)

    def happenings(self) -> list[dict[str, Any]]:
        """What deployments did to models in the last half hour, for people who look for causes."""
        since = self._platform.clock.now() - _LATELY_S
        return [
            {"model_id": event.model_id, "at": event.at, "words": _clause(event)}
            for event in self._platform.rollouts.history(_MOST_HAPPENINGS, None).items
            if event.at >= since
        ]

    # --- looking ------------------------------------------------------------------------------------------------------

    def model_status(self, model_id: str) -> dict[str, Any]:
        """What runs for one model, what it is asked, and its newest deployment."""
        self._platform.registry.get_model(model_id)
        found = describe_models(self._platform.rollouts, self._apps(), self._observations, only=model_id)
        return {**found[model_id], "deployment": self._platform.rollouts.latest(model_id)}

    def system_health(self) -> HealthReport:
        """Healthy, degraded or unhealthy, part by part, with reasons."""
        return system_health(
            self._observations,
            describe_models(self._platform.rollouts, self._apps(), self._observations),
            self._database(),
        )

    def status(self) -> dict[str, Any]:
        """The platform in one look."""
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

    def snapshots(self) -> list[Snapshot]:
        """Request counters of all gateways, merged."""
        return self._observations.snapshots()

    def live_gateways(self) -> int:
        """How many gateways report."""
        return len(self._observations.live("gateway"))

    # --- keys and repeated requests -----------------------------------------------------------------------------------

    def check_key(self, key: str) -> Principal | None:
        return self._platform.keys.check(key)

    def recall(self, key: str) -> Remembered | None:
        return self._platform.idempotency.recall(key)

    def remember(self, key: str, fingerprint: str, status: int, body: str) -> None:
        self._platform.idempotency.remember(key, fingerprint, status, body)

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def submit_job(
        self,
        entrypoint: str,
        working_dir: str | None,
        env: Mapping[str, str],
        name: str,
        request: str | None = None,
    ) -> Any:
        return self._jobs.submit(entrypoint=entrypoint, working_dir=working_dir, env=env, name=name, request=request)

    def list_jobs(self, limit: int, cursor: str | None) -> Page[Any]:
        return self._jobs.list(limit, cursor)

    def get_job(self, job_id: str) -> Any:
        return self._jobs.get(job_id)

    def job_logs(self, job_id: str, offset: int, limit: int) -> tuple[str, int]:
        return self._jobs.logs(job_id, offset, limit)

    def stop_job(self, job_id: str) -> Any:
        return self._jobs.stop(job_id)

    # ------------------------------------------------------------------------------------------------------------------

    def _woken(self, deployment: Deployment) -> Deployment:
        """Have the rollouts' loop look at once."""
        self._wake()
        return deployment

    def _apps(self) -> Mapping[str, AppStatus]:
        return self._runtime.apps()

    def _database(self) -> str:
        try:
            self._platform.database.records.get("control", "epoch")
        except StorageFailed as error:
            return error.message
        return ""


def _clause(event: DeploymentEvent) -> str:
    what = f"deployment {event.deployment_id}: {event.kind.replace('_', ' ')}"
    return f"{what} ({event.detail})" if event.detail else what
