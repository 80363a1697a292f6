"""The platform a job delivers to, and the job's own id: from arguments and from the environment.

Read here: `ML_URL` and `ML_API_KEY` (a platform elsewhere and the key for it; a key is never an argument, which every
process on the machine could read), `ML_STATE_DIR` (through streamb's settings: the platform on this machine),
`ML_JOB_ID` (set for jobs that streamb runs), and Ray's own description of a submitted job.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from streamb.config import load_settings
from streamb.errors import StorageFailed, StreambError
from streamb.sdk.job_options import JobOptions
from tune_jobs.progress import Progress
from tune_jobs.table import Table

if TYPE_CHECKING:
    from streamb import ProductionMLManager
    from streamb.models import Model

REPORT_FILE: Final = "report.json"
ARTIFACT_FOLDER: Final = "model"
EXAMPLE_ROWS: Final = 100
"""How many rows of the data a version is tried with."""
_DEPLOY_TIMEOUT_S: Final = 600.0


class JobSurroundings(BaseSettings):
    """The environment variables about this job; each may be missing."""

    model_config = SettingsConfigDict(env_prefix="ML_", env_ignore_empty=True, frozen=True, extra="ignore")

    url: str | None = None
    api_key: SecretStr | None = None
    job_id: str | None = None
    ray_address: str | None = Field(default=None, validation_alias="RAY_ADDRESS")
    ray_job: dict[str, Any] = Field(default_factory=dict, validation_alias="RAY_JOB_CONFIG_JSON_ENV_VAR")

    @property
    def any_job_id(self) -> str:
        """The id of this job in streamb or Ray; empty if it runs on its own."""
        metadata = self.ray_job.get("metadata") or {}
        return self.job_id or str(metadata.get("job_submission_id") or "")


def connect(url: str | None, state_dir: Path | None) -> ProductionMLManager:
    """Connect to the platform at `url` or `ML_URL`, else to the one of the state directory. A job never starts one.

    Raises:
        NotRunning: no platform answers there.
    """
    from streamb import ProductionMLManager
    from streamb.sdk.discovery import require_platform

    surroundings = JobSurroundings()
    address = url or (surroundings.url if state_dir is None else None)
    key = surroundings.api_key.get_secret_value() if surroundings.api_key else None
    if address is not None:
        return ProductionMLManager(address=address, api_key=key)
    folder = load_settings(state_dir=state_dir).state_dir
    require_platform(folder)
    return ProductionMLManager(state_dir=folder)


def provenance(
    options: JobOptions,
    table: Table,
    *,
    by: str,
    metrics: dict[str, float],
    hyperparameters: dict[str, Any],
    estimator: str,
    **more: str,
) -> dict[str, Any]:
    """Return the `metadata` and `lineage` that are recorded with a version: its scores and its origin."""
    return {
        "metadata": {
            "metrics": metrics,
            "hyperparameters": hyperparameters,
            "trained_by": by,
            **more,
            "task": table.task,
            "estimator": estimator,
            "target": options.target,
            "data_file": options.csv.name if options.csv else "",
        },
        "lineage": {"job_id": JobSurroundings().any_job_id, "data_digest": table.digest},
    }


def deliver(options: JobOptions, model: Model, example: Any, report: dict[str, Any], progress: Progress) -> None:
    """Register a version, and deploy it if the options say so.

    Args:
        options: the model id, the version, and the platform.
        model: the version's content.
        example: rows of the training data, with which the platform tries the version.
        report: its `metadata` and `lineage`.
        progress: prints what was done.

    Raises:
        StreambError: no platform answers, it refuses the version, or the deployment does not complete.
    """
    model_id, version = str(options.model_id), str(options.version)
    with connect(options.url, options.state_dir) as platform:
        registered = platform.register_model(
            model_id=model_id,
            name=options.name,
            description=options.description,
            model=model,
            version=version,
            owner=options.owner,
            example=example,
            **report,
        )
        progress.say(f"registered {model_id} {version} at {platform.url} (digest {registered.digest[:12]})")
        if options.deploy is None:
            return
        deployment = platform.deploy_model(model_id=model_id, target_version=version, rollout_strategy=options.deploy)
        progress.say(f"deploying {version} ({deployment.id})")
        status = deployment.wait(timeout=_DEPLOY_TIMEOUT_S)
        if status.state != "completed":
            raise StreambError(f"the deployment of {version} is {status.state}: {status.reason}")
        progress.say(f"{model_id} {version} answers at {platform.url}/v2/models/{model_id}/predict")


def write_artifact(folder: Path, model: Model, about: dict[str, Any], progress: Progress) -> None:
    """Write `model/`, the artifact, and `report.json` into a new folder.

    Raises:
        StorageFailed: the folder cannot be created or written.
    """
    from streamb.models import save_artifact

    try:
        folder.mkdir(parents=True)
        manifest = save_artifact(model, folder / ARTIFACT_FOLDER)
        report = json.dumps({"digest": manifest.digest, **about}, indent=2, default=str)
        (folder / REPORT_FILE).write_text(report + "\n")
    except OSError as error:
        raise StorageFailed(f"cannot write {folder}: {error.strerror}; name another folder") from error
    progress.say(f"wrote {folder / ARTIFACT_FOLDER} and {folder / REPORT_FILE}")
