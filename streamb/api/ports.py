"""What the Console asks of the control side and of the Monitor. `ControlClient` and `MonitorClient` are the real ones.

Every verb raises errors of the `StreambError` tree and nothing else. The Console never touches the store: the
Controller is its single writer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from streamb.metrics import Snapshot
from streamb.registry import Artifact, ModelVersion, RegisteredModel
from streamb.rollouts import Deployment, DeploymentEvent
from streamb.security.keys import Principal
from streamb.store.idempotency import Remembered
from streamb.store.records import Page


class ControlPlane(Protocol):
    """The verbs of the Controller, each one awaited."""

    async def list_models(self, *, limit: int, cursor: str | None) -> Page[RegisteredModel]: ...

    async def get_model(self, *, model_id: str) -> RegisteredModel: ...

    async def create_model(
        self, *, model_id: str, name: str, description: str, owner: str, tags: Mapping[str, str]
    ) -> RegisteredModel: ...

    async def list_versions(self, *, model_id: str, limit: int, cursor: str | None) -> Page[ModelVersion]: ...

    async def get_version(self, *, model_id: str, version: str) -> ModelVersion:
        """`version` may also be an alias, or "latest"."""
        ...

    async def register_version(
        self,
        *,
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
        """The version, and whether it is new (False: the same content was registered before)."""
        ...

    async def set_alias(self, *, model_id: str, alias: str, version: str) -> Any: ...

    async def delete_alias(self, *, model_id: str, alias: str) -> Any: ...

    async def set_stage(self, *, model_id: str, version: str, stage: str) -> Any: ...

    async def set_tags(self, *, model_id: str, tags: Mapping[str, str]) -> Any: ...

    async def model_status(self, *, model_id: str) -> Mapping[str, Any]: ...

    async def create_deployment(
        self,
        *,
        model_id: str,
        target_version: str,
        strategy: str,
        options: Mapping[str, Any],
        actor: str,
        force: bool,
    ) -> Deployment: ...

    async def approve_deployment(self, *, deployment_id: str, by: str, reason: str) -> Deployment: ...

    async def pause_deployment(self, *, deployment_id: str, by: str, reason: str) -> Deployment: ...

    async def resume_deployment(self, *, deployment_id: str, by: str, reason: str) -> Deployment: ...

    async def promote_deployment(self, *, deployment_id: str, by: str, reason: str) -> Deployment: ...

    async def abort_deployment(self, *, deployment_id: str, by: str, reason: str) -> Deployment: ...

    async def rollback_deployment(
        self, *, deployment_id: str, by: str, reason: str, to_version: str | None
    ) -> Deployment: ...

    async def list_deployments(self, *, limit: int, cursor: str | None, model_id: str | None) -> Page[Deployment]: ...

    async def get_deployment(self, *, deployment_id: str) -> Deployment: ...

    async def deployment_history(
        self, *, limit: int, cursor: str | None, model_id: str | None
    ) -> Page[DeploymentEvent]: ...

    async def system_health(self) -> Mapping[str, Any]: ...

    async def status(self) -> Mapping[str, Any]: ...

    async def snapshots(self) -> Sequence[Snapshot]: ...

    async def live_gateways(self) -> int: ...

    async def check_key(self, *, key: str) -> Principal | None: ...

    async def recall(self, *, key: str) -> Remembered | None: ...

    async def remember(self, *, key: str, fingerprint: str, status: int, body: str) -> Any: ...

    async def submit_job(
        self, *, entrypoint: str, working_dir: str | None, env: Mapping[str, str], name: str, request: str | None
    ) -> Any:
        """`request` names the request: the same one again finds the job that it made."""
        ...

    async def list_jobs(self, *, limit: int, cursor: str | None) -> Page[Any]: ...

    async def get_job(self, *, job_id: str) -> Any: ...

    async def job_logs(self, *, job_id: str, offset: int, limit: int) -> tuple[str, int]:
        """Text from `offset`, and where to go on reading."""
        ...

    async def stop_job(self, *, job_id: str) -> Any: ...


class MonitorPlane(Protocol):
    """The verbs of the Monitor, each one awaited; what they answer is JSON-ready."""

    async def overview(self) -> Mapping[str, Mapping[str, Any]]:
        """By model: `status`, `reasons`, `versions`."""
        ...

    async def health(self, *, model_id: str, version: str | None) -> Mapping[str, Any]: ...

    async def drift(self, *, model_id: str, version: str | None, minutes: int | None) -> Mapping[str, Any]: ...

    async def set_baseline(
        self, *, model_id: str, version: str, data: bytes, author: str, features: Sequence[str]
    ) -> Mapping[str, Any]:
        """`data` is what `Baseline.to_bytes` made; `features` are those of the version, as far as known."""
        ...

    async def update_baseline(self, *, model_id: str, version: str, minutes: int, author: str) -> Mapping[str, Any]: ...

    async def baselines(self, *, model_id: str, version: str | None) -> Sequence[Mapping[str, Any]]: ...

    async def thresholds(self, *, model_id: str) -> Mapping[str, Any]: ...

    async def set_thresholds(
        self, *, model_id: str, thresholds: Mapping[str, Any], author: str
    ) -> Mapping[str, Any]: ...

    async def alerts(
        self, *, limit: int, cursor: str | None, state: str | None, model_id: str | None, severity: str | None
    ) -> Page[Mapping[str, Any]]: ...

    async def silences(self, *, limit: int, cursor: str | None) -> Page[Mapping[str, Any]]: ...

    async def silence(
        self, *, matchers: Sequence[str], duration_s: float, author: str, comment: str
    ) -> Mapping[str, Any]: ...

    async def expire_silence(self, *, silence_id: str, by: str) -> Mapping[str, Any]: ...

    async def channels(self) -> Sequence[Mapping[str, Any]]: ...

    async def deliveries(self, *, limit: int, cursor: str | None) -> Page[Mapping[str, Any]]: ...

    async def test_channel(self, *, name: str) -> Mapping[str, Any]: ...

    async def exposition(self) -> bytes:
        """Prometheus text."""
        ...
