"""Routes for jobs: commands that run on the cluster. Submitting and stopping always need an API key."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from streamb.api.auth import NEEDS_KEY, KnownCaller
from streamb.api.console import ConsoleDep
from streamb.api.idempotency import ChangeDep
from streamb.api.shapes import Answer, Cursor, Id, Limit, PageAnswer, page_of
from streamb.control.verbs import LONGEST_JOB_S, JobBoard
from streamb.options import NO_NUL, ShortText, Strict, spoken
from streamb.security.permissions import Permission
from streamb.security.principals import EVERY_MODEL

router = APIRouter(prefix="/api/jobs", tags=["jobs"])

Offset = Annotated[
    int, Query(ge=0, le=2**53, description="Where to start reading: `next_offset` of the previous answer.")
]
MostText = Annotated[int, Query(ge=1, le=1_048_576, description="The most characters in the answer.")]
_VARIABLE: Final = spoken(
    r"^[A-Za-z_][A-Za-z0-9_]{0,199}$",
    "cannot be the name of a variable: use 1 to 200 letters, digits and '_', starting with a letter or '_'",
)
Variables = Annotated[
    dict[Annotated[str, Field(pattern=_VARIABLE)], Annotated[str, Field(max_length=5_000, pattern=NO_NUL)]],
    Field(max_length=200, json_schema_extra={"additionalProperties": False}),
]


class JobBody(Strict):
    """A command to run on the cluster."""

    entrypoint: Annotated[str, Field(min_length=1, max_length=10_000, pattern=NO_NUL)]
    name: ShortText = ""
    working_dir: Annotated[str, Field(max_length=4_096, pattern=NO_NUL)] | None = Field(
        default=None, description="A folder on the platform's machine, copied to where the job runs."
    )
    env: Variables = Field(default_factory=dict)
    isolation: Literal["none", "process"] = Field(
        default="none",
        description="`process`: the command runs in a child process without the platform's keys, environment, files "
        "and Ray; `none`: as the platform's user.",
    )
    time_limit_s: Annotated[float, Field(ge=1, le=LONGEST_JOB_S, allow_inf_nan=False)] = Field(
        default=LONGEST_JOB_S, description="The longest time that it may run, in seconds; its key ends then, too."
    )
    scopes: Annotated[
        tuple[Annotated[Permission, Field(strict=False)], ...],
        Field(min_length=1, max_length=len(Permission), strict=False),
    ] = Field(default=(Permission.JOB,), description="What the job's own key (`ML_API_KEY`) allows.")
    models: Annotated[tuple[ShortText, ...], Field(min_length=1, max_length=32, strict=False)] = Field(
        default=EVERY_MODEL, description="The models that its key is good for: ids, or patterns such as `energy-*`."
    )

    @property
    def given(self) -> dict[str, Any]:
        """What the Controller is asked; options of which nothing was said have their defaults there."""
        said = self.model_dump(exclude_defaults=True)
        return {**said, **self.model_dump(include={"entrypoint", "working_dir", "env", "name"})}


class JobAnswer(Answer):
    """One job: its command, state, times and exit code."""

    id: str
    name: str
    entrypoint: str
    state: str = Field(description="pending, running, succeeded, failed or stopped.")
    exit_code: int | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    reason: str = ""
    isolation: str = "none"
    time_limit_s: float | None = None


class LogAnswer(Answer):
    """A piece of a job's output."""

    text: str
    next_offset: int = Field(description="The offset for the next request.")


@router.get("")
async def list_jobs(console: ConsoleDep, limit: Limit = 100, cursor: Cursor = None) -> PageAnswer[JobAnswer]:
    """List jobs, the newest first."""
    return page_of(JobAnswer, await console.ask(JobBoard.list, limit, cursor))


@router.post("", status_code=201, response_model=JobAnswer, openapi_extra={"security": NEEDS_KEY})
async def submit_job(body: JobBody, console: ConsoleDep, change: ChangeDep) -> Any:
    """Run a command on the cluster. Only an administrator may."""
    request = change.name_of(body.canonical())
    return await change.make(
        JobAnswer,
        body,
        lambda: console.ask(JobBoard.submit, **body.given, request=request),
        status=201,
        location="/api/jobs/{id}",
    )


@router.get("/{job_id}")
async def get_job(job_id: Id, console: ConsoleDep) -> JobAnswer:
    """Return one job."""
    return JobAnswer.model_validate(await console.ask(JobBoard.get, job_id))


@router.get("/{job_id}/logs")
async def job_logs(job_id: Id, console: ConsoleDep, offset: Offset = 0, limit: MostText = 65_536) -> LogAnswer:
    """Return a piece of a job's output. Continue at `next_offset`; it stays the same while there is no new output."""
    text, next_offset = await console.ask(JobBoard.logs, job_id, offset, limit)
    return LogAnswer(text=text, next_offset=next_offset)


@router.post("/{job_id}/stop", response_model=JobAnswer, openapi_extra={"security": NEEDS_KEY})
async def stop_job(caller: KnownCaller, job_id: Id, console: ConsoleDep, change: ChangeDep) -> Any:  # noqa: ARG001
    """Stop a job. A job that has already ended stays unchanged."""
    return await change.make(JobAnswer, None, lambda: console.ask(JobBoard.stop, job_id))
