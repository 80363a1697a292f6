"""The trial of a version: what the platform learned when it loaded the artifact and asked it, before any traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from streamb.models.example import Example
from streamb.models.signature import Signature


class TrialState(StrEnum):
    """How far a version was tried."""

    UNTRIED = "untried"
    """It was registered before versions were tried; its next deployment tries it."""
    LOADS = "loads"
    """It loads in a fresh process and is fitted; without an example its predictions are untried."""
    PASSED = "passed"
    """It answered its example as it did where it was made."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of a trial. What a trial could not learn is None.

    Attributes:
        tried_at: seconds since the epoch; None if it was not tried.
        rows: the number of example rows that it answered.
        load_s: seconds to import the libraries and load the artifact in a fresh process.
        memory_mb: the most memory that the process held, in MiB.
        row_wise: whether a row's answer depends on that row alone, so that requests may be joined.
        deterministic: whether the same rows always get the same answer.
        probabilities: whether it gives class probabilities.
        distributions: the installed distributions that it imported, with their versions.
        python: the version of Python that it was tried with.
    """

    state: TrialState = TrialState.UNTRIED
    tried_at: float | None = None
    rows: int = 0
    load_s: float | None = None
    memory_mb: float | None = None
    row_wise: bool | None = None
    deterministic: bool | None = None
    probabilities: bool | None = None
    distributions: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """What a trial returns.

    Attributes:
        trial: the result.
        signature: the inputs and outputs of the version, as far as they are known.
        golden: rows to keep with the version, with its answers; None if none are kept.
    """

    trial: Trial
    signature: Signature
    golden: Example | None = None


class Trier(Protocol):
    """Tries a version before it may take traffic; `streamb.trials` implements it."""

    def __call__(
        self, folder: Path, example: Example | None, environment: Mapping[str, list[str]] | None = None
    ) -> Tried:
        """Load the artifact as a replica would, and ask it.

        Args:
            folder: the verified artifact, signed if it carries code.
            example: rows to ask, perhaps with the answers that are expected; None tries only whether it loads.
            environment: what is installed for the version alone, as `Artifact.environment`; the trial has it,
                too. None for nothing.

        Raises:
            ArtifactError: the version is refused; the message says why.
            EnvironmentFailed: the environment cannot be installed.
            Overloaded: too many trials are running.
        """
        ...
