"""The version of a model: immutable content with its origin, and a stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from streamb.lifecycle import Lifecycle
from streamb.registry.trial import Trial


class Stage(StrEnum):
    """The stage of a version's life. People set it; it has no effect on traffic, which only deployments move."""

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
    """The stored content of a model.

    Attributes:
        digest: SHA-256 of the model's manifest; equal for the same model saved twice.
        blob: SHA-256 of the stored archive, by which the blob store finds it.
        size_bytes: size of the archive, in bytes.
        schema: the feature schema as JSON; `{}` if the model takes any rectangular rows.
        carries_code: True if loading it runs code that the artifact contains.
        outputs: its outputs in order, each the JSON form of `models.signature.Output`; empty if unknown.
        classes: the class labels in the order of the columns of the probabilities; None if there are none or they are
            unknown.
        trial: what the platform learned when it tried the version.
        environment: what is installed for its replicas alone: requirements by tool ("pip" or "uv"), as
            `VersionEnvironment.requirements`; empty if they use what the platform has.
    """

    digest: str
    blob: str
    size_bytes: int
    framework: str
    task: str
    schema: Mapping[str, Any]
    carries_code: bool
    outputs: tuple[Mapping[str, Any], ...] = field(default=(), kw_only=True)
    classes: tuple[Any, ...] | None = field(default=None, kw_only=True)
    trial: Trial = field(default_factory=Trial, kw_only=True)
    environment: Mapping[str, list[str]] = field(default_factory=dict, kw_only=True)

    @property
    def may_join(self) -> bool:
        """Whether rows of several requests may go into one call of the model.

        Not where the trial found that a row's answer depends on other rows, and not where code that the artifact
        brings was not tried in this respect: then nobody knows.
        """
        row_wise = self.trial.row_wise
        return not self.carries_code if row_wise is None else row_wise


@dataclass(frozen=True, slots=True)
class Lineage:
    """The origin of a version: the job that made it, the data it was trained on, the version it continues."""

    job_id: str | None = None
    data_digest: str | None = None
    parent_version: str | None = None


@dataclass(frozen=True, slots=True)
class ModelVersion(Artifact):
    """One version of a model: its content and origin. Only `stage` and `tags` can change.

    Attributes:
        version: a semantic version.
        created_at: seconds since the epoch.
        metadata: further facts from its author, as JSON values.
        metrics: scores by name, finite numbers.
        hyperparameters: hyperparameters of its training by name, as JSON values.
        owner: the person or team responsible for it, as it was given; it allows nothing.
        registered_by: the principal that registered it; "" if that is not known (an earlier release, or from Python).
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
    registered_by: str = ""
