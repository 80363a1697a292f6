"""`ProductionMLManager`: use a platform from Python, whether it runs already, is started here, or is remote."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from streamb.config import Settings, load_settings, process_role
from streamb.errors import InsideModel, NotFound
from streamb.sdk.deployment import Deployment, DeploymentStatus, wait_until_stopped
from streamb.sdk.discovery import find_platform, read_api_key
from streamb.sdk.http import HttpClient
from streamb.sdk.launch import LaunchOptions, PlatformProcess, launch, start_limit_s
from streamb.sdk.model_monitoring import ModelMonitoring
from streamb.sdk.prediction import Prediction
from streamb.sdk.registry import RegistryMethods, version_of

if TYPE_CHECKING:
    from streamb.models import FeatureSchema
    from streamb.registry import ModelVersion

_log = logging.getLogger(__name__)

_CANARY_PERCENT: Final = 10.0


class ProductionMLManager(RegistryMethods):
    """Registers models on a platform, deploys them, and asks them for predictions.

    Without `address` it attaches to the platform that runs on the state directory. If no platform runs there, it
    starts one in a separate process, which ends with this manager or with this process.

    Args:
        environment: presets for a platform that is started here: "development", "staging" or "production".
        state_dir: the folder of the platform's files; by default `ML_STATE_DIR`, else `.streamb`.
        address: the URL of a remote platform, "http://HOST:PORT"; None uses the platform on the state directory.
        api_key: the key for the platform. By default the key in the state directory, if its platform is the one used.
        timeout_s: maximum wait for one answer, in seconds.
        progress: called with each progress line while a platform starts; by default the lines are logged.

    Raises:
        InsideModel: this process is a replica or a trial, and no `address` is given: a model's code starts no platform.
        StartFailed: no platform runs here, and none could be started.
        NotRunning: nothing answers at `address`.
        ConfigError: a setting has an invalid value.
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
        if address is None:
            _refuse_inside_model()
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
        """True if this manager started the platform and will stop it."""
        return self._process is not None

    def close(self) -> None:
        """Close the connections, and stop the platform if it was started here. Idempotent."""
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
        example: Any = None,
        schema: FeatureSchema | None = None,
        keep_example: bool = True,
        environment: Mapping[str, Sequence[str]] | None = None,
        baseline: Sequence[Any] | None = None,
    ) -> ModelVersion:
        """Register a version of a model. This creates the model itself, or updates its name, description and owner.

        Before it is registered, the platform tries the version: it loads it in a fresh process and asks it for the
        example, whose answers must be those that `model` gives here. A refused version leaves nothing, and its number
        stays free.

        Args:
            model_id: the id of the model: letters, digits, `.`, `_` and `-`.
            name: the display name of the model.
            description: what the model is for.
            model: a fitted scikit-learn estimator or pipeline, a torch module, the path of an ONNX file, an instance of
                your own class, or a `Model`.
            version: the semantic version, such as "1.0.0". It is immutable: registering the same content again is
                allowed, other content under the same version is refused.
            metadata: anything JSON-ready; its `metrics` (numbers by name) and `hyperparameters` are shown as such.
            owner: the person or team responsible for the model and this version.
            lineage: where the version comes from: `job_id`, `data_digest`, `parent_version`; all optional.
            tags: tags of this version, by key.
            example: some rows as they will be sent, at best 20 to 100: a DataFrame, an array, a list of dicts or of
                lists, a dict of tensors, or a list of texts. From it the platform learns the names and types of the
                inputs and outputs. By default the rows of `baseline`; without both, the version is loaded, but its
                predictions are not tried.
            schema: the schema of the inputs; by default that of `model`, if it is a `Model`, else learned from the
                example, which must satisfy it.
            keep_example: whether up to 20 rows of the example stay with the version, so that every replica checks
                itself before it answers. False keeps none: for rows that must not be stored.
            environment: what to install for the replicas of this version alone, on top of what the platform has:
                `{"pip": ["xgboost==3.1.*"]}` or `{"uv": […]}`, lines of a requirements file. It needs the API key of an
                administrator, and the trial waits for the installation.
            baseline: the data that monitoring compares later requests with, as `(X, predictions, labels)`. If
                predictions are None, the model computes them; labels may be left out. Only counts are stored.

        Raises:
            Conflict: the version exists with different content.
            ArtifactError: this object cannot be saved as a model, or its trial failed; the message says why.
            EnvironmentFailed: the environment cannot be installed.
            InvalidFeatures: the example does not satisfy the schema.
            InvalidInput: the baseline's columns do not match. The version is registered; call again to correct it.
            Unavailable: the Monitor did not take the baseline. The version is registered; call again.
        """
        from streamb.models.outputs import predictions_of
        from streamb.registry.model import check_model_id
        from streamb.sdk.example import write_archive

        check_model_id(model_id)
        about = {"name": name, "description": description, "owner": owner}
        rows = baseline[0] if example is None and baseline is not None else example
        with tempfile.TemporaryDirectory(prefix="streamb-") as scratch:
            wrapped, archive, tried = write_archive(
                model, Path(scratch), example=rows, schema=schema, keep=keep_example
            )
            body = {**_upload_body(version, metadata, owner, lineage, tags, environment), "model": about}
            made = self._upload(model_id, archive, body, tried)
        if baseline is not None:
            rows, predictions, labels = (*baseline, None, None)[:3]
            predictions = predictions_of(wrapped.predict(rows), len(rows)) if predictions is None else predictions
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
        """Create a model without a version, or update what is known about it.

        Args:
            model_id: the id of the model: letters, digits, `.`, `_` and `-`.
            name: the display name.
            description: what the model is for.
            owner: the person or team responsible for it.
            tags: tags of the model, by key.

        Raises:
            InvalidInput: a value is not allowed; the message names it.
        """
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
        example: Mapping[str, Any] | None = None,
        environment: Mapping[str, Sequence[str]] | None = None,
    ) -> ModelVersion:
        """Register a packed artifact as a version of an existing model, after the platform has tried it.

        Args:
            model_id: the id of the model.
            version: the semantic version, such as "1.0.0".
            archive: the path of the packed artifact, as written by `streamb.models.pack`.
            metadata: anything JSON-ready; its `metrics` and `hyperparameters` are shown as such.
            owner: the person or team responsible for this version.
            lineage: where the version comes from: `job_id`, `data_digest`, `parent_version`; all optional.
            tags: tags of this version, by key.
            example: rows to try it with, `{"instances": […], "predictions"?: […], "probabilities"?: […]}`; without
                predictions the answers of the trial itself count.
            environment: as for `register_model`.

        Raises:
            NotFound: there is no such model.
            Conflict: the version exists with different content.
            ArtifactError: the artifact cannot be used, or its trial failed.
        """
        body = _upload_body(version, metadata, owner, lineage, tags, environment)
        return self._upload(model_id, archive, body, example)

    def _upload(
        self, model_id: str, archive: Path, body: Mapping[str, Any], example: Mapping[str, Any] | None
    ) -> ModelVersion:
        return version_of(self._client.upload(f"/api/models/{model_id}/versions", archive, body, example=example))

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
        accept_changes: Sequence[str] | None = None,
        batching: Mapping[str, Any] | None = None,
        resources: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        isolation: str | None = None,
        force: bool = False,
        **options: Any,
    ) -> Deployment:
        """Start the deployment of a version. The returned handle shows its status and controls it.

        An option that is None counts as not given. An option that the strategy would not use is refused.
        `streamb.rollouts.options` declares all options; docs/deployments.md lists them in tables.

        Args:
            model_id: the id of the model.
            target_version: a version number, an alias, or "latest".
            rollout_strategy: "canary", "blue_green" or "rolling"; or "immediate", which moves all traffic as soon as
                the version runs. "immediate" does not judge the version; it takes only `accept_changes`,
                `batching`, `resources`, `timeout_s` and `isolation`.
            traffic_split_percentage: percent of the traffic in the first step of a canary, 1 to 100; by default 10. The
                next steps are those of 25, 50 and 100 percent that are higher. `steps` sets all steps instead.
            rollback_on_failure: True (the default) rolls a failing version back; False pauses the deployment.
            health_check_criteria: limits for the version, in addition to the comparison with the previous version: the
                fields of `HealthCriteria` by name, such as `{"max_error_rate": 0.02, "max_latency_ms": 200}`.
            approval_required: True: somebody other than the author must `approve` before any traffic moves. The default
                is False.
            accept_changes: which differences of its signature from that of the version that serves are wanted, by the
                names that the refusal gives, such as `["added:income", "classes"]`. By default none.
            batching: how requests are joined into calls of the version: `join` (True or False),
                `max_rows`, `max_wait_ms`, by name. By default as its trial found.
            resources: what is reserved for each replica: `cpus`, `memory_mb`, `gpus`, by name. By default
                `ML_REPLICA_CPUS` and nothing else.
            timeout_s: longest time from a request's arrival to its answer, in seconds; by default, and at most,
                `ML_REQUEST_TIMEOUT_S`.
            isolation: "process" runs the version's own code in a child process without the platform's keys,
                environment, files and Ray; by default "none".
            force: deploy even if the environment forbids it, or it does not fit; needs an administrator's key.
            **options: the other fields of `RolloutOptions`, such as `steps=[5, 50, 100]` or `step_seconds=30`.

        Raises:
            NotFound: there is no such model or version.
            Conflict: another deployment of the model has not ended.
            IncompatibleSignature: it takes or answers something else than the version that serves, which
                `accept_changes` does not name; `details["changes"]` lists each difference.
            InvalidInput: there is no such strategy or option, or its value is not allowed, or the strategy would not
                use it; names each.
        """
        named = {
            "traffic_split_percentage": traffic_split_percentage,
            "rollback_on_failure": rollback_on_failure,
            "health_check_criteria": None if health_check_criteria is None else dict(health_check_criteria),
            "approval_required": approval_required,
            "accept_changes": None if accept_changes is None else list(accept_changes),
            "batching": None if batching is None else dict(batching),
            "resources": None if resources is None else dict(resources),
            "timeout_s": timeout_s,
            "isolation": isolation,
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
        made = self._client.change("POST", "/api/deployments", body, patient=True)
        return Deployment(self._client, made["id"])

    def deployment(self, deployment_id: str) -> Deployment:
        """Return the handle of an existing deployment."""
        return Deployment(self._client, deployment_id)

    def list_deployments(self, model_id: str | None = None, *, limit: int = 100) -> list[DeploymentStatus]:
        """Return the newest deployments, newest first.

        Args:
            model_id: only deployments of this model; None: of all models.
            limit: the most deployments to return.
        """
        found = self._client.pages("/api/deployments", limit=limit, model_id=model_id)
        return [DeploymentStatus.from_answer(one) for one in found]

    def undeploy(self, model_id: str, *, by: str = "", reason: str = "", timeout: float = 120.0) -> None:
        """Take a model out of traffic, and return once its versions have stopped. They stay registered.

        New requests are refused at once (`NotFound`); requests in flight are answered first.

        Args:
            model_id: the id of the model.
            by: a comment on who decided it; the history names the caller.
            reason: why; recorded in the history.
            timeout: maximum wait, in seconds.

        Raises:
            NotFound: there is no such model.
            Conflict: the model is not deployed, or has a deployment that has not ended.
            DeadlineExceeded: a version still runs after `timeout` seconds. It stops by itself later.
        """
        body = {"by": by, "reason": reason}
        wait_until_stopped(self._client, self._client.change("POST", f"/api/models/{model_id}/undeploy", body), timeout)

    def monitoring(self, model_id: str) -> ModelMonitoring:
        """Return the monitoring of a model: health, drift, baselines and alerts."""
        return ModelMonitoring(self._client, model_id)

    def status(self) -> dict[str, Any]:
        """Return the status of the platform: gateways, models, versions."""
        return self._client.get("/api/status")

    def predict(
        self, model_id: str, rows: Any, *, user_id: str | None = None, probabilities: bool = False
    ) -> Prediction:
        """Ask a model for predictions.

        Args:
            model_id: the id of the model.
            rows: shape (rows, features) as an array or nested lists, a DataFrame, a list of dicts by column name, or a
                list of strings for a model of texts.
            user_id: while traffic is split, the same user always gets the same version; None: each request may get
                another version.
            probabilities: also ask for the probability of each class.

        Raises:
            InvalidFeatures: the rows do not match the model's features; the message names each problem.
            InvalidInput: probabilities were asked for, but the model has none.
            ModelFailed: the model raised an error, or its answer is not a valid prediction.
            Unavailable: no version can answer now.
        """
        from streamb.sdk.rows import wire_rows

        body: dict[str, Any] = {"instances": wire_rows(rows)}
        if user_id is not None:
            body["user_id"] = user_id
        if probabilities:
            body["probabilities"] = True
        answer = self._client.ask(f"/v2/models/{model_id}/predict", body)
        told = {name: answer[name] for name in Prediction.__slots__ if name in answer}
        return Prediction(**told)

    def record_feedback(
        self,
        model_id: str,
        request_id: str,
        *,
        label: Any = None,
        success: bool | None = None,
        value: float | None = None,
    ) -> dict[str, Any]:
        """Report the true outcome of an earlier prediction. Each field is counted once; repeats are ignored.

        Args:
            model_id: the id of the model.
            request_id: `Prediction.request_id` of that prediction.
            label: the true label; for several rows a list with one label each, None where it is unknown.
            success: whether the action taken on the prediction succeeded.
            value: what the prediction was worth, as a number.

        Returns:
            `joined` lists the fields that were counted, under `version`. `not_joined` maps every other field to the
            reason: "duplicate", "late", "orphan" (the model made no known prediction with this id) or "unjoinable"
            (the prediction has too many rows).

        Raises:
            NotFound: the platform takes no feedback for this model.
            InvalidInput: no field was given, or a field does not match the prediction.
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
        self._process = launch(options, tied=True, timeout_s=start_limit_s(settings), progress=progress)
        return self._process.info.url


def _refuse_inside_model() -> None:
    role = process_role()
    if role is not None:
        raise InsideModel(
            f"this process is a {role}: it runs the code of a model, which must not start a platform or use the one on "
            "the state directory; make the ProductionMLManager in your script, outside of what the model uses"
        )


def _plain(value: Any) -> Any:
    """Convert a NumPy or pandas value to plain Python."""
    return value.tolist() if hasattr(value, "tolist") else value


def _upload_body(
    version: str,
    metadata: Mapping[str, Any] | None,
    owner: str,
    lineage: Mapping[str, Any] | None,
    tags: Mapping[str, str] | None,
    environment: Mapping[str, Sequence[str]] | None,
) -> dict[str, Any]:
    """Return the part `metadata` of an upload."""
    rest = dict(metadata or {})
    return {
        "version": version,
        "owner": owner,
        "metrics": rest.pop("metrics", {}),
        "hyperparameters": rest.pop("hyperparameters", {}),
        "metadata": rest,
        "lineage": dict(lineage or {}),
        "tags": dict(tags or {}),
        "environment": {tool: list(lines) for tool, lines in environment.items()} if environment else None,
    }


def _local_key(state_dir: Path, address: str) -> str | None:
    """Return the key in the state directory if the platform at `address` is the one that runs there."""
    running = find_platform(state_dir)
    return read_api_key(state_dir) if running is not None and running.url == address.rstrip("/") else None
