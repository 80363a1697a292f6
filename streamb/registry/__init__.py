"""The registry of models: names, immutable versions, aliases, stages, and artifacts."""

from streamb.registry.artifacts import ArtifactStore
from streamb.registry.environment import VersionEnvironment
from streamb.registry.model import LATEST, MOST_TAGS, RegisteredModel
from streamb.registry.registry import STREAM, Registry
from streamb.registry.semver import Semver
from streamb.registry.trial import Trial, TrialState
from streamb.registry.version import STAGES, Artifact, Lineage, ModelVersion, Stage

__all__ = [
    "LATEST",
    "MOST_TAGS",
    "STAGES",
    "STREAM",
    "Artifact",
    "ArtifactStore",
    "Lineage",
    "ModelVersion",
    "RegisteredModel",
    "Registry",
    "Semver",
    "Stage",
    "Trial",
    "TrialState",
    "VersionEnvironment",
]
