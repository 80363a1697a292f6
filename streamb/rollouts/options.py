"""The options of a deployment and the criteria that its version is judged by, declared once."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, field_validator

from streamb.metrics.limits import Limits
from streamb.options import NO_NUL, NotNegative, Options, Percent, Positive, Seconds, Share, option, spoken
from streamb.rollouts.runtime import Resources, RunOptions
from streamb.security.isolation import Isolation

RUN_OPTIONS: Final = frozenset({"batching", "isolation", "resources", "timeout_s"})
"""The options that say how a version runs; every strategy takes them."""

START: Final = "start"
"""The name of the gate before a deployment starts anything."""


def _own(path: str) -> str:
    if path.partition(":")[0].partition(".")[0] in sys.stdlib_module_names:
        raise ValueError("must name a function of your own, not one of Python's standard library")
    return path


ImportPath = Annotated[
    str,
    Field(
        max_length=200,
        pattern=spoken(
            r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$",
            "is not the path of a function: write MODULE:FUNCTION, like checks.latency:is_good",
        ),
    ),
    AfterValidator(_own),
]
ChangeName = Annotated[str, Field(min_length=1, max_length=300, pattern=NO_NUL)]
UserId = Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL)]
Gate = Literal["start"] | Percent
Gates = Annotated[tuple[Gate, ...], Field(min_length=1, max_length=100, strict=False)]


class HealthCriteria(Limits):
    """What the target version is judged by, in each step."""

    called: ClassVar[str] = "health_check_criteria"

    latency_percentile: Literal[50, 95, 99] = option(
        "The latency percentile that is limited, and compared with the stable version's.", default=95
    )
    min_success_rate: Share | None = option("Lowest share of successes; from feedback.", unit="share")
    max_error_value: NotNegative | None = option(
        "Largest mean absolute error against labels (regression); from feedback.", unit="unit of the labels"
    )
    max_prediction_shift: Share | None = option(
        "How far its predictions may differ from the stable version's: Jensen-Shannon distance.", unit="distance"
    )
    max_error_increase: Share = option(
        "How far its error rate may be above the stable version's.", default=0.01, unit="difference of shares"
    )
    max_latency_increase: NotNegative = option(
        "How far its latency percentile may be above the stable version's.",
        default=0.25,
        unit="share of the percentile",
    )
    latency_slack_ms: NotNegative = option(
        "A latency difference up to this never counts.",
        default=5.0,
        unit="milliseconds",
    )
    max_client_error_increase: Share = option(
        "How far its share of client errors (rows that it refuses) may be above the stable version's.",
        default=0.01,
        unit="difference of shares",
    )
    max_disagreement: Share | None = option(
        "Highest share of rows that it answers differently from the stable version; beyond it, somebody must approve.",
        unit="share",
    )
    compare_outputs: bool = option(
        "Compare its answers with the stable version's, on copies of the same requests.", default=True
    )
    compare_with_stable: bool = option("Compare error rate and latency with the stable version's.", default=True)
    custom: Annotated[tuple[ImportPath, ...], Field(max_length=20, strict=False)] = option(
        "Criteria of your own: each takes a `StepEvidence` and returns a `Finding`. They run in the Controller, "
        "so they need the API key of an administrator.",
        default=(),
        unit='`["package.module:function"]`',
    )


class Overrides(Options):
    """Users who always get the target version, whatever the weights."""

    called: ClassVar[str] = "overrides"

    users: Annotated[tuple[UserId, ...], Field(max_length=10_000, strict=False)] = option("User ids.", default=())


class BatchingOptions(Options):
    """How requests of the target version are joined into calls."""

    called: ClassVar[str] = "batching"

    join: bool | None = option(
        "Whether rows of several requests go into one call. Not given: as the trial of the version found; not if a "
        "row's answer depends on other rows, or if that is not known of code of its own. true: you know it does not."
    )
    max_rows: Annotated[int, Field(ge=1, le=1_000_000)] | None = option(
        "Most rows of several requests in one call, up to `ML_MAX_BATCH_ROWS`; a larger single request goes alone.",
        unit="rows",
    )
    max_wait_ms: Annotated[float, Field(ge=0, le=1_000, allow_inf_nan=False)] = option(
        "How long a request may wait for others to join it; 0: it never waits for company.",
        default=0.0,
        unit="milliseconds",
    )


class ResourceOptions(Options):
    """What is reserved for each replica of the target version."""

    called: ClassVar[str] = "resources"

    cpus: Positive | None = option("CPUs, also fractions.", unit="CPUs")
    memory_mb: Annotated[int, Field(ge=1, le=100_000_000)] | None = option(
        "Memory that Ray reserves on the node; a replica that takes more is not stopped for that.", unit="MB"
    )
    gpus: NotNegative = option(
        "GPUs: a fraction of one, which replicas then share, or whole ones. Without any, a replica sees no GPU.",
        default=0.0,
        unit="GPUs",
    )

    @field_validator("gpus")
    @classmethod
    def _fraction_or_whole(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError("must be a fraction of one GPU, or a whole number of them")
        return gpus


class RolloutOptions(Options):
    """How a strategy proceeds, and how its version runs; what is not given keeps its default.

    `immediate` takes `accept_changes` and those that say how the version runs (`RUN_OPTIONS`).
    """

    called: ClassVar[str] = "the options of a deployment"

    traffic_split_percentage: Percent | None = option(
        "Percent of the traffic in the first step of a canary; the next steps are the higher ones of 5, 25, 50, 100.",
        unit="percent",
    )
    steps: Annotated[tuple[Percent, ...], Field(min_length=1, max_length=100, strict=False)] | None = option(
        "All steps of a canary instead: percent of the traffic in each, rising.",
        unit="list of percents",
        examples=[[5, 50, 100]],
    )
    step_seconds: Seconds | None = option("Minimum time of a step.", unit="seconds")
    step_max_seconds: Seconds | None = option(
        "Maximum time of a step whose evidence stays inconclusive; then somebody must approve.", unit="seconds"
    )
    min_samples: Annotated[int, Field(ge=1, le=10**9)] | None = option(
        "Requests of the target version that must be judged in each step.", unit="requests"
    )
    rollback_on_failure: bool = option(
        "Roll a failing version back; false: pause its deployment instead.", default=True
    )
    health_check_criteria: HealthCriteria = option("What the target version is judged by.", default=HealthCriteria())
    approval_required: bool = option(
        "Somebody other than the author must approve before the first traffic moves.", default=False
    )
    approval_before: Gate | Gates | None = option(
        "Where approval is needed: before anything starts, or before a step; may be a list.",
        unit='"start" or percent',
        examples=["start", 50, [5, 100]],
    )
    approval_timeout_s: Seconds = option(
        "Longest wait for an approval; then the deployment is aborted.", default=86_400.0, unit="seconds"
    )
    fallback_to_stable: bool = option(
        "If the target version fails a request, the stable version answers it; the failure still counts.",
        default=True,
    )
    shadow_percent: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = option(
        "Percent of the traffic that is copied to the target version in its preview; not given: "
        "up to 20 requests a second for each gateway; 0: none.",
        unit="percent",
    )
    hold_seconds: Seconds | None = option(
        "Bake time: how long after completion the old version is kept warm and the new one is still judged; "
        "if it fails, it is rolled back at once.",
        unit="seconds",
    )
    accept_changes: Annotated[tuple[ChangeName, ...], Field(max_length=1_000, strict=False)] = option(
        "Differences of its signature from the stable version's that are wanted, by the names that the refusal gives.",
        default=(),
        unit="list of names",
        examples=[["added:income", "classes"]],
    )
    overrides: Overrides = option(
        "Users who always get the target version, whatever the weights.", default=Overrides(), unit='`{"users": [ids]}`'
    )

    batching: BatchingOptions = option(
        "How requests are joined into calls of the version.", default=BatchingOptions(), unit="`{name: value}`"
    )
    resources: ResourceOptions = option(
        "What is reserved for each replica of the version.", default=ResourceOptions(), unit="`{name: value}`"
    )
    timeout_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] | None = option(
        "Longest time from a request's arrival to its answer by the version; at most `ML_REQUEST_TIMEOUT_S`.",
        unit="seconds",
    )

    isolation: Literal["none", "process"] = option(
        "Where the version's own code runs: `process` is a child process without the platform's keys, environment, "
        "files and Ray (docs/security.md); `none` is the replica itself.",
        default="none",
    )

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: tuple[float, ...] | None) -> tuple[float, ...] | None:
        # In ten-thousandths, as traffic is shared out: 24.999 percent is the same as 25.
        if steps and any(later <= earlier for earlier, later in pairwise(round(percent * 100) for percent in steps)):
            raise ValueError("percents must rise from step to step")
        return steps

    @property
    def gates(self) -> tuple[str | float, ...]:
        """`approval_before` as a list."""
        before = self.approval_before
        return before if isinstance(before, tuple) else () if before is None else (before,)

    @property
    def shadow(self) -> int:
        """`shadow_percent` in ten-thousandths."""
        return round((self.shadow_percent or 0.0) * 100)

    @property
    def run(self) -> RunOptions:
        """How the version runs and is called."""
        batching, resources = self.batching, self.resources
        reserved = Resources(resources.cpus, resources.memory_mb, resources.gpus)
        joined = batching.join, batching.max_rows or 0, batching.max_wait_ms
        return RunOptions(*joined, self.timeout_s, reserved, Isolation(self.isolation))

    @property
    def runs_code(self) -> bool:
        """True if the options name code that the platform runs."""
        return bool(self.health_check_criteria.custom)
