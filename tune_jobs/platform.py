"""Where a job delivers to, and which job it is: from arguments, and from what is in its environment.

Read here: `ML_URL` and `ML_API_KEY` (a platform elsewhere and the key for it; a key is never an argument, which every
process on the machine could read), `ML_STATE_DIR` (through streamb's settings: the platform on this machine),
`ML_JOB_ID` (set for jobs that streamb runs), and Ray's own description of a submitted job.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from streamb.config import load_settings

if TYPE_CHECKING:
    from streamb import ProductionMLManager


class JobSurroundings(BaseSettings):
    """What the environment says about this job; every part may be missing."""

    model_config = SettingsConfigDict(env_prefix="ML_", env_ignore_empty=True, frozen=True, extra="ignore")

    url: str | None = None
    api_key: SecretStr | None = None
    job_id: str | None = None
    ray_job: dict[str, Any] = Field(default_factory=dict, validation_alias="RAY_JOB_CONFIG_JSON_ENV_VAR")

    @property
    def any_job_id(self) -> str:
        """The id of this job at streamb or at Ray; empty when it runs by itself."""
        metadata = self.ray_job.get("metadata") or {}
        return self.job_id or str(metadata.get("job_submission_id") or "")


def connect(url: str | None, state_dir: Path | None) -> ProductionMLManager:
    """The platform at `url` or `ML_URL`, else the one that runs on the state directory. A job never starts one.

    Raises:
        NotRunning: nothing answers there.
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
