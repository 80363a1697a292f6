"""What may come in: one model per request body, every value bounded, nothing unknown accepted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from streamb.registry import MOST_TAGS, Stage
from streamb.rollouts import Strategy

_DEEPEST: Final = 16
_LONGEST_JSON: Final = 256 * 1024
_LARGEST_INT: Final = 2**63


def _storable_text(text: str) -> str:
    if "\x00" in text:
        raise ValueError("text must not hold the character NUL")
    return text


def _storable_json(value: Any) -> Any:
    """JSON that every store and every client can hold: bounded, finite, and valid Unicode."""
    _check_json(value, _DEEPEST)
    if len(json.dumps(value, ensure_ascii=False).encode()) > _LONGEST_JSON:
        raise ValueError(f"longer than {_LONGEST_JSON} bytes of JSON")
    return value


def _check_json(value: Any, depth: int) -> None:
    if depth == 0:
        raise ValueError(f"nested deeper than {_DEEPEST} levels")
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError("text must be Unicode without NUL and without half characters (surrogates)")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite")
    elif isinstance(value, int) and abs(value) >= _LARGEST_INT:
        raise ValueError("whole numbers must fit in 64 bits")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _check_json(key, depth)
            _check_json(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            _check_json(inner, depth - 1)


_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_SEMVER: Final = (  # the one that semver.org suggests
    r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$"
)
_NO_NUL: Final = r"^[^\x00]*$"
_REFERENCE: Final = r"^[A-Za-z0-9][A-Za-z0-9.+_-]{0,127}$"

Name = Annotated[str, Field(pattern=_NAME, description="Letters, digits, `.`, `_`, `-`; at most 100.")]
Reference = Annotated[str, Field(pattern=_REFERENCE, description="A semantic version, an alias, or `latest`.")]
Version = Annotated[
    str,
    Field(max_length=100, pattern=_SEMVER, description="A semantic version.", examples=["1.0.0"]),
]
ShortText = Annotated[str, Field(max_length=200, pattern=_NO_NUL)]
LongText = Annotated[str, Field(max_length=5_000, pattern=_NO_NUL)]
Key = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_storable_text)]
Number = Annotated[float, Field(allow_inf_nan=False)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_storable_json)]
Tags = Annotated[dict[Key, ShortText], Field(max_length=MOST_TAGS)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=30 * 86_400, allow_inf_nan=False)]
Gate = Literal["start"] | Percent
ImportPath = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$")]

Variables = Annotated[
    dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$")], LongText],
    Field(max_length=200, json_schema_extra={"additionalProperties": False}),
]

ModelId = Annotated[str, Path(pattern=_NAME, description="The model.")]
VersionReference = Annotated[str, Path(pattern=_REFERENCE, description="A version, an alias, or `latest`.")]
Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Limit = Annotated[int, Query(ge=1, le=500, description="Most items in the answer.")]
Cursor = Annotated[
    str | None, Query(max_length=500, pattern=r"^[ -~]+$", description="`next_cursor` of the page before.")
]


class StrictBody(BaseModel):
    """The base of all bodies."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def canonical(self) -> str:
        """Equal text for equal content."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


class ModelBody(StrictBody):
    """A model to create, or to bring up to date: values that are not empty replace what is there."""

    model_id: Name
    name: ShortText = ""
    description: LongText = ""
    owner: ShortText = ""
    tags: Tags = Field(default_factory=dict)


class LineageBody(StrictBody):
    """Where a version comes from."""

    job_id: ShortText | None = None
    data_digest: ShortText | None = None
    parent_version: Reference | None = None


class VersionBody(StrictBody):
    """The `metadata` part of an upload."""

    version: Version
    owner: ShortText = ""
    metadata: JsonObject = Field(default_factory=dict)
    metrics: Annotated[dict[Key, Number], Field(max_length=200)] = Field(default_factory=dict)
    hyperparameters: JsonObject = Field(default_factory=dict)
    lineage: LineageBody = Field(default_factory=LineageBody)
    tags: Tags = Field(default_factory=dict)


class AliasBody(StrictBody):
    """Which version an alias names."""

    version: Reference


class StageBody(StrictBody):
    """The stage a version goes to."""

    stage: Stage = Field(strict=False)


class TagsBody(StrictBody):
    """All tags of a model; those that are not named are removed."""

    tags: Tags


class HealthCriteriaBody(StrictBody):
    """What the target version is judged by, in each step. What is not named keeps its default."""

    max_error_rate: Share | None = Field(
        default=None,
        description="Share of requests, 0 to 1, that may fail. Also the limit of the fast abort (then 0.05).",
    )
    max_latency_ms: Positive | None = Field(default=None, description="Milliseconds, of `latency_percentile`.")
    latency_percentile: Literal[50, 95, 99] | None = Field(
        default=None, description="Which one is limited, and compared with the stable version's. Default 95."
    )
    min_accuracy: Share | None = Field(default=None, description="Share of right labels, 0 to 1; from feedback.")
    min_success_rate: Share | None = Field(default=None, description="Share of successes, 0 to 1; from feedback.")
    max_error_value: NotNegative | None = Field(
        default=None, description="Mean absolute error, in the unit of the target; from feedback."
    )
    min_throughput: NotNegative | None = Field(default=None, description="Requests per second of the target version.")
    max_drift_score: Share | None = Field(default=None, description="0 to 1.")
    max_prediction_shift: Share | None = Field(
        default=None,
        description="Jensen-Shannon distance, 0 to 1, of its predictions from those of the stable version.",
    )
    max_error_increase: Share | None = Field(
        default=None,
        description="How far its error rate may lie above the stable version's: a difference. Default 0.01.",
    )
    max_latency_increase: NotNegative | None = Field(
        default=None,
        description="How far its percentile may lie above the stable version's: a share of it. Default 0.25.",
    )
    latency_slack_ms: NotNegative | None = Field(
        default=None, description="Milliseconds above the stable version's that never count. Default 5."
    )
    compare_with_stable: bool | None = Field(default=None, description="Default true.")
    custom: Annotated[list[ImportPath], Field(max_length=20)] | None = Field(
        default=None, description="Criteria of your own, `package.module:function`. They run code, so they need a key."
    )


class OverridesBody(StrictBody):
    """Who gets the target version, whatever the weights say."""

    users: Annotated[list[Key], Field(max_length=10_000)] = Field(default_factory=list, description="User ids.")


class DeploymentOptions(StrictBody):
    """How a strategy proceeds. `immediate` takes no options; what is not named keeps the strategy's default."""

    traffic_split_percentage: Percent | None = Field(
        default=None, description="Percent of the traffic where a canary begins; then those of 5, 25, 50, 100 above it."
    )
    steps: Annotated[list[Percent], Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="Percent of the traffic, step by step, rising.", examples=[[5, 50, 100]]
    )
    step_seconds: Seconds | None = Field(default=None, description="Shortest time of a step.")
    step_max_seconds: Seconds | None = Field(
        default=None, description="Longest time of a step. When the evidence is too thin by then, it awaits approval."
    )
    min_samples: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        default=None, description="Requests of the target version that a step must have judged."
    )
    rollback_on_failure: bool | None = Field(
        default=None, description="A version that fails is rolled back; false: it is paused. Default true."
    )
    health_check_criteria: HealthCriteriaBody | None = None
    approval_required: bool | None = Field(
        default=None, description="Somebody other than the author must approve before the traffic moves. Default false."
    )
    approval_before: Gate | Annotated[list[Gate], Field(min_length=1, max_length=100)] | None = Field(
        default=None,
        description='Where approval is needed: "start", the percent of a step, or a list of them.',
        examples=["start", 50, [5, 100]],
    )
    approval_timeout_s: Seconds | None = Field(
        default=None, description="Longest wait for an approval; without it the deployment is aborted. Default 86400."
    )
    fallback_to_stable: bool | None = Field(
        default=None, description="What the target version fails is answered by the stable one. Default true."
    )
    shadow_percent: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = Field(
        default=None, description="Percent of the traffic that is copied to the target version while it waits at 0 %."
    )
    hold_seconds: Seconds | None = Field(
        default=None, description="How long the old version is kept warm afterwards. Default of blue_green: 300."
    )
    overrides: OverridesBody | None = None

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: list[float] | None) -> list[float] | None:
        if steps and any(later <= earlier for earlier, later in pairwise(steps)):
            raise ValueError("percents must rise from step to step")
        return steps

    @property
    def given(self) -> dict[str, Any]:
        """What was named, as plain JSON values."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def runs_code(self) -> bool:
        """True when they name code that the platform is to run."""
        return self.health_check_criteria is not None and bool(self.health_check_criteria.custom)


class DeploymentBody(StrictBody):
    """A version to bring into traffic."""

    model_id: Name
    target_version: Reference
    strategy: Strategy = Field(default=Strategy.IMMEDIATE, strict=False)
    options: DeploymentOptions = Field(default_factory=DeploymentOptions)
    force: bool = Field(default=False, description="Do it although the environment refuses it; needs an admin key.")

    @model_validator(mode="after")
    def _immediate_takes_no_options(self) -> Self:
        if self.strategy is Strategy.IMMEDIATE and self.options.given:
            raise ValueError(f"the strategy immediate takes no options, got {', '.join(self.options.given)}")
        return self


class SteerBody(StrictBody):
    """Who steers a deployment, and why; both go into its history."""

    by: ShortText = Field(default="", description="Who decides this; by default the name of the API key.")
    reason: LongText = Field(default="", description="Why, in words.")


class RollbackBody(SteerBody):
    """Back to which version."""

    to_version: Reference | None = Field(
        default=None, description="Any version that was registered before; by default the one that answered before."
    )


class JobBody(StrictBody):
    """A command to run on the cluster."""

    entrypoint: Annotated[str, Field(min_length=1, max_length=10_000, pattern=_NO_NUL)]
    name: ShortText = ""
    working_dir: Annotated[str, Field(max_length=4_096, pattern=_NO_NUL)] | None = Field(
        default=None, description="A folder on the platform's machine, copied to where the job runs."
    )
    env: Variables = Field(default_factory=dict)
