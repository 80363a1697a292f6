"""What a version of a model is: fixed content with its story, and a stage that moves by rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from streamb.lifecycle import Lifecycle


class Stage(StrEnum):
    """How far a version has come. It is a statement of people; traffic is moved by deployments alone."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"


STAGES: Final = Lifecycle(
    "model version's stage",
    {
        Stage.DEVELOPMENT: frozenset({Stage.STAGING, Stage.ARCHIVED}),
        Stage.STAGING: frozenset({Stage.DEVELOPMENT, Stage.PRODUCTION, Stage.ARCHIVED}),
        Stage.PRODUCTION: frozenset({Stage.STAGING, Stage.ARCHIVED}),
        Stage.ARCHIVED: frozenset({Stage.DEVELOPMENT}),
    },
)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model's content, checked and stored.

    Attributes:
        digest: SHA-256 of what the model is (its manifest): equal for the same model saved twice.
        blob: SHA-256 of the stored archive: where the bytes are.
        size_bytes: size of the archive.
        schema: the feature schema as JSON; `{}` when the model takes any rectangular rows.
        carries_code: loading it runs code that came with it.
    """

    digest: str
    blob: str
    size_bytes: int
    framework: str
    task: str
    schema: Mapping[str, Any]
    carries_code: bool


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a version comes from: the job that made it, the data it saw, the version it continues."""

    job_id: str | None = None
    data_digest: str | None = None
    parent_version: str | None = None


@dataclass(frozen=True, slots=True)
class ModelVersion(Artifact):
    """One version of a model: its content, and its story. All but `stage` and `tags` is fixed for ever.

    Attributes:
        version: a semantic version.
        created_at: seconds since the epoch.
        metadata: what else its author wanted to say (JSON-ready).
        metrics: scores by name, finite numbers.
        hyperparameters: JSON-ready.
    """

    model_id: str
    version: str
    stage: Stage
    owner: str
    created_at: float
    metadata: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    lineage: Lineage = field(default_factory=Lineage)
    tags: Mapping[str, str] = field(default_factory=dict)
