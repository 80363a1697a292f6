"""A job and its stored form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from streamb.cluster.jobs.process import JobState
from streamb.control.verbs import LONGEST_JOB_S
from streamb.lifecycle import Lifecycle
from streamb.security.isolation import Isolation
from streamb.security.permissions import Permission
from streamb.security.principals import EVERY_MODEL
from streamb.store.plain import from_plain
from streamb.store.records import Record

COLLECTION: Final = "jobs"

JOB_LIFECYCLE: Final = Lifecycle(
    "job",
    {
        JobState.PENDING: frozenset({JobState.RUNNING, JobState.STOPPED, JobState.FAILED}),
        JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED}),
    },
)


@dataclass(frozen=True, slots=True)
class Job:
    """One job and its state.

    Attributes:
        entrypoint: the command, split as a shell would split it, but run without a shell.
        exit_code: None until it has ended, or if it never ran; minus the signal's number if a signal ended it.
        submitted_at, started_at, finished_at: seconds since the epoch.
        reason: a text that explains the state; empty if the state needs no explanation.
        isolation: where the command runs.
        time_limit_s: the longest time that it may run, in seconds; its key is refused then, too.
    """

    id: str
    name: str
    entrypoint: str
    state: JobState
    exit_code: int | None = None
    submitted_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    reason: str = ""
    isolation: Isolation = Isolation.NONE
    time_limit_s: float = LONGEST_JOB_S


@dataclass(slots=True)
class ActiveJob:
    """A job that has not ended, with its actor's handle.

    Attributes:
        scopes: what its key allows, names of permissions.
        models: patterns of the models that its key is good for.
    """

    job: Job
    revision: int
    working_dir: Path
    env: Mapping[str, str]
    stop_requested: bool
    request: str | None = None
    scopes: tuple[str, ...] = (Permission.JOB,)
    models: tuple[str, ...] = EVERY_MODEL
    actor: Any = None
    outcome: Any = None
    stop_sent: bool = False

    def body(self) -> dict[str, Any]:
        """Return the job's stored form."""
        own = {"working_dir": str(self.working_dir), "env": dict(self.env), "stop_requested": self.stop_requested}
        key = {"scopes": list(self.scopes), "models": list(self.models)}
        return {**asdict(self.job), **own, **key, "request": self.request}


def active_of(record: Record) -> ActiveJob:
    """Read a stored job that has not ended; it has no actor's handle yet."""
    body = record.body
    return ActiveJob(
        job_of(record),
        record.revision,
        Path(body["working_dir"]),
        body["env"],
        stop_requested=body["stop_requested"],
        request=body.get("request"),
        scopes=tuple(body.get("scopes", (Permission.JOB,))),
        models=tuple(body.get("models", EVERY_MODEL)),
    )


def job_of(record: Record) -> Job:
    """Read a stored job."""
    return from_plain(Job, record.body)
