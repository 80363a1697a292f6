"""`ProductionMLManager`: the platform from Python, whether it runs here already, is started here, or is elsewhere."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from streamb.config import Settings, load_settings
from streamb.errors import NotFound
from streamb.sdk.deployment import Deployment
from streamb.sdk.discovery import find_platform, read_api_key
from streamb.sdk.http import HttpClient
from streamb.sdk.launch import LaunchOptions, PlatformProcess, launch
from streamb.sdk.model_monitoring import ModelMonitoring
from streamb.store.plain import from_plain

if TYPE_CHECKING:
    from streamb.registry import ModelVersion

_log = logging.getLogger(__name__)

_START_SLACK_S = 30.0
_CANARY_PERCENT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to some rows.

    Attributes:
        predictions: one for each row.
        version: of the model, the one that answered.
        request_id: names this answer, for feedback and for logs.
        variant: of the experiment that these rows took part in; None where there is none.
        probabilities: for each row one per class; None where the model has none.
    """

    predictions: list[Any]
    version: str
    request_id: str
    variant: str | None = None
    probabilities: list[list[float]] | None = None


class ProductionMLManager:
    """A platform to register models on, deploy them, and ask them.

    Attaches to the platform that runs on the state directory. Where none runs, it starts one in a process of its own,
    which ends with this manager, or with this process. With `address` it uses a platform elsewhere.

    Args:
        environment: presets of a platform that is started here: development, staging or production.
        state_dir: where its files are; by default ML_STATE_DIR, else `.streamb`.
        address: "http://HOST:PORT" of a platform elsewhere.
        api_key: for that platform; by default the key in the state directory if that is where the address leads.
        timeout_s: longest wait for one answer, in seconds.
        progress: told what is waited for while a platform starts.

    Raises:
        StartFailed: no platform runs and none could be started.
        NotRunning: nothing answers at `address`.
        ConfigError: a setting is wrong.
    """

    def __init__(
        self,
        environment: str = "development",
        *,
        state_dir: str | Path | None = None,
        address: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self._process: PlatformProcess | None = None
        if address is None or api_key is None:
            settings = load_settings(environment=environment, state_dir=state_dir)
            if address is None:
                address = self._attach_or_start(settings, progress or (lambda line: _log.info("%s", line)))
                api_key = api_key or read_api_key(settings.state_dir)
            else:
                api_key = _local_key(settings.state_dir, address)
        self.url = address.rstrip("/")
        self.api_key = api_key
        self._client = HttpClient(self.url, api_key, timeout_s=timeout_s)
        try:
            self._client.get("/api/status")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ProductionMLManager:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ProductionMLManager(address={self.url!r})"

    @property
    def embedded(self) -> bool:
        """True when this manager has started the platform, and will stop it."""
        return self._process is not None

    def close(self) -> None:
        """Let go of the platform, and stop it if it was started here. Idempotent."""
        self._client.close()
        if self._process is not None:
            self._process.stop()
            self._process = None

    def register_model(
        self,
        model_id: str,
        name: str,
        description: str,
        model: Any,
        version: str,
        metadata: Mapping[str, Any] | None = None,
        owner: str = "",
        *,
        lineage: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        baseline: Sequence[Any] | None = None,
    ) -> ModelVersion:
        """Register a version of a model; the model itself is made, or brought up to date, on the way.

        Args:
            model_id: letters, digits, `.`, `_`, `-`.
            model: a fitted scikit-learn estimator or pipeline, a torch module, the path of an ONNX file, an instance of
                your own class, or a `Model`.
            version: semantic, "1.0.0". It never changes: the same content again is fine, other content is not.
            metadata: anything JSON; `metrics` (numbers by name) and `hyperparameters` in it are shown as such.
            lineage: `job_id`, `data_digest`, `parent_version`, as far as known.
            tags: of this version.
            baseline: what monitoring compares later requests with: `(X, predictions, labels)`, training or test data.
                Predictions of None are asked of the model; labels may be left out. Only counts are kept of it.

        Raises:
            Conflict: the version exists with other content.
            ArtifactError: this object cannot be saved as a model.
            InvalidInput: the baseline's columns do not fit. The version is registered: repeat the call with others.
            Unavailable: monitoring is away and took no baseline. The version is registered: repeat the call.
        """
        from streamb.models import Model, pack, save_artifact

        wrapped = Model.wrap(model)
        with tempfile.TemporaryDirectory(prefix="streamb-") as scratch:
            folder, archive = Path(scratch) / "artifact", Path(scratch) / "artifact.zip"
            save_artifact(wrapped, folder)
            pack(folder, archive)
            self.create_model(model_id, name=name, description=description, owner=owner)
            made = self.upload_version(
                model_id, version, archive, metadata=metadata, owner=owner, lineage=lineage, tags=tags
            )
        if baseline is not None:
            rows, predictions, labels = (*baseline, None, None)[:3]
            predictions = wrapped.predict(rows) if predictions is None else predictions
            self.monitoring(model_id).set_baseline(rows, predictions, labels, version=version)
        return made

    def create_model(
        self,
        model_id: str,
        *,
        name: str = "",
        description: str = "",
        owner: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Make a model, or bring what is known of it up to date, without a version."""
        body = {"model_id": model_id, "name": name, "description": description, "owner": owner}
        return self._client.change("POST", "/api/models", {**body, "tags": dict(tags or {})})

    def upload_version(
        self,
        model_id: str,
        version: str,
        archive: Path,
        *,
        metadata: Mapping[str, Any] | None = None,
        owner: str = "",
        lineage: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        """Register a packed artifact (what `streamb.models.pack` writes) as a version of an existing model."""
        rest = dict(metadata or {})
        body = {
            "version": version,
            "owner": owner,
            "metrics": rest.pop("metrics", {}),
            "hyperparameters": rest.pop("hyperparameters", {}),
            "metadata": rest,
            "lineage": dict(lineage or {}),
            "tags": dict(tags or {}),
        }
        return _version_of(self._client.upload(f"/api/models/{model_id}/versions", archive, body))

    def deploy_model(
        self,
        *,
        model_id: str,
        target_version: str,
        rollout_strategy: str = "canary",
        traffic_split_percentage: float | None = None,
        rollback_on_failure: bool | None = None,
        health_check_criteria: Mapping[str, Any] | None = None,
        approval_required: bool | None = None,
        force: bool = False,
        **options: Any,
    ) -> Deployment:
        """Begin to bring a version into traffic; follow it by what is returned.

        An option that is None is not given. One that is given is used, or refused where the strategy would not use it.
        `streamb.rollouts.options` declares all of them; docs/deployments.md has them in tables.

        Args:
            target_version: a version, an alias or "latest".
            rollout_strategy: "canary", "blue_green" or "rolling"; or "immediate", which moves all traffic as soon as
                the version runs, judges nothing and takes none of the options below.
            traffic_split_percentage: percent of the traffic where a canary begins, 1 to 100, by default 10; it goes on
                with those of 25, 50, 100 above it. `steps` names all steps instead.
            rollback_on_failure: a version that is judged to fail is rolled back (the default); False: it is paused.
            health_check_criteria: what it is judged by, besides the comparison with the version before: the fields of
                `HealthCriteria` by name, as in `{"max_error_rate": 0.02, "max_latency_ms": 200}`.
            approval_required: somebody else must `approve` before the traffic moves; by default nobody.
            force: do it although the environment refuses it; needs an administrator's key.
            **options: the other fields of `RolloutOptions`, as in `steps=[5, 50, 100]`, `step_seconds=30`.

        Raises:
            NotFound: no such model or version.
            Conflict: the model has a deployment under way.
            InvalidInput: there is no such strategy or option, or its value is not allowed, or the strategy would not
                use it; names each.
        """
        named = {
            "traffic_split_percentage": traffic_split_percentage,
            "rollback_on_failure": rollback_on_failure,
            "health_check_criteria": None if health_check_criteria is None else dict(health_check_criteria),
            "approval_required": approval_required,
        }
        given = {name: value for name, value in {**named, **options}.items() if value is not None}
        if rollout_strategy == "canary" and "steps" not in given:
            given.setdefault("traffic_split_percentage", _CANARY_PERCENT)
        body = {
            "model_id": model_id,
            "target_version": target_version,
            "strategy": rollout_strategy,
            "options": given,
            "force": force,
        }
        made = self._client.change("POST", "/api/deployments", body)
        return Deployment(self._client, made["id"])

    def deployment(self, deployment_id: str) -> Deployment:
        """The handle of a deployment that was begun elsewhere."""
        return Deployment(self._client, deployment_id)

    def monitoring(self, model_id: str) -> ModelMonitoring:
        """A model in service: its health, drift, baselines and alerts."""
        return ModelMonitoring(self._client, model_id)

    def models(self, *, owner: str | None = None) -> Iterator[dict[str, Any]]:
        """Every registered model, or those of one owner."""
        return self._client.pages("/api/models", owner=owner)

    def list_versions(
        self, model_id: str, *, owner: str | None = None, tags: Sequence[str] = (), metrics: Sequence[str] = ()
    ) -> list[ModelVersion]:
        """A model's versions, the newest first; those for which every filter holds.

        Args:
            model_id: the model.
            owner: only versions of exactly this owner.
            tags: only versions with all of these: "key", or "key=value".
            metrics: only versions for which all of these hold, such as "accuracy>=0.9" (also `<=`, `>`, `<`, `=`).

        Raises:
            InvalidInput: a tag or a metric cannot be read.
            NotFound: no such model.
        """
        path = f"/api/models/{model_id}/versions"
        found = self._client.pages(path, owner=owner, tag=list(tags), metric=list(metrics))
        return [_version_of(one) for one in found]

    def status(self) -> dict[str, Any]:
        """The platform in one look."""
        return self._client.get("/api/status")

    def predict(self, model_id: str, rows: Any, *, user_id: str | None = None) -> Prediction:
        """Ask a model.

        Args:
            rows: shape (rows, features) as an array or nested lists, a DataFrame, a list of dicts by column name, or a
                list of strings for a model of texts.
            user_id: the same user gets the same version while traffic is shared out.

        Raises:
            InvalidFeatures: the rows do not fit; names each problem.
            Unavailable: no version can answer now.
        """
        from streamb.sdk.rows import wire_rows

        body: dict[str, Any] = {"instances": wire_rows(rows)}
        if user_id is not None:
            body["user_id"] = user_id
        answer = self._client.ask(f"/v2/models/{model_id}/predict", body)
        return Prediction(
            predictions=answer["predictions"],
            version=answer["version"],
            request_id=answer["request_id"],
            variant=answer.get("variant"),
            probabilities=answer.get("probabilities"),
        )

    def record_feedback(
        self,
        model_id: str,
        request_id: str,
        *,
        label: Any = None,
        success: bool | None = None,
        value: float | None = None,
    ) -> dict[str, Any]:
        """Tell what became known of a prediction made before. What was told already is not counted again.

        Args:
            request_id: `Prediction.request_id`.
            label: what should have been predicted; for several rows one for each, None where it is not known.
            success: whether what was done with the prediction went well.
            value: what it was worth.

        Returns:
            `joined`, the fields that were counted, under `version`; and `not_joined`: field -> "duplicate", "late",
            "orphan" (no prediction of this model is known under this id) or "unjoinable" (it has too many rows).

        Raises:
            NotFound: the platform takes no feedback for this model.
            InvalidInput: nothing was told, or something does not fit the prediction.
        """
        given = {"label": label, "success": success, "value": value}
        body = {"request_id": request_id, **{name: _plain(one) for name, one in given.items() if one is not None}}
        try:
            return self._client.ask(f"/v2/models/{model_id}/feedback", body)
        except NotFound as error:
            raise NotFound(f"the platform at {self.url} takes no feedback for {model_id}: {error.message}") from error

    def _attach_or_start(self, settings: Settings, progress: Callable[[str], None]) -> str:
        running = find_platform(settings.state_dir)
        if running is not None:
            return running.url
        from streamb.monitoring.channels import check_channels  # late: a manager that attaches needs none

        check_channels(settings)
        options = LaunchOptions(settings.state_dir, environment=settings.environment, port=0, sample=False)
        self._process = launch(
            options, tied=True, timeout_s=settings.start_timeout_s + _START_SLACK_S, progress=progress
        )
        return self._process.info.url


def _plain(value: Any) -> Any:
    """A value of NumPy or pandas as Python's own."""
    return value.tolist() if hasattr(value, "tolist") else value


def _version_of(answer: Mapping[str, Any]) -> ModelVersion:
    """From the JSON that the platform answers; what a newer platform adds is left out."""
    from streamb.registry import ModelVersion  # late: a command that only looks needs no models

    return from_plain(ModelVersion, answer)


def _local_key(state_dir: Path, address: str) -> str | None:
    """The key in the state directory, if the platform at `address` is the one that runs there."""
    running = find_platform(state_dir)
    return read_api_key(state_dir) if running is not None and running.url == address.rstrip("/") else None
