"""What may come in: one model per request body, every value bounded, nothing unknown accepted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from fastapi import Path, Query
from pydantic import AfterValidator, Field, model_validator

from streamb.options import ShortText, Strict
from streamb.registry import MOST_TAGS, Stage
from streamb.rollouts import Strategy
from streamb.rollouts.options import RolloutOptions
from streamb.rollouts.strategies import check_used

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
LongText = Annotated[str, Field(max_length=5_000, pattern=_NO_NUL)]
Key = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_storable_text)]
Number = Annotated[float, Field(allow_inf_nan=False)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_storable_json)]
Tags = Annotated[dict[Key, ShortText], Field(max_length=MOST_TAGS)]
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


class ModelBody(Strict):
    """A model to create, or to bring up to date: values that are not empty replace what is there."""

    model_id: Name
    name: ShortText = ""
    description: LongText = ""
    owner: ShortText = ""
    tags: Tags = Field(default_factory=dict)


class LineageBody(Strict):
    """Where a version comes from."""

    job_id: ShortText | None = None
    data_digest: ShortText | None = None
    parent_version: Reference | None = None


class VersionBody(Strict):
    """The `metadata` part of an upload."""

    version: Version
    owner: ShortText = ""
    metadata: JsonObject = Field(default_factory=dict)
    metrics: Annotated[dict[Key, Number], Field(max_length=200)] = Field(default_factory=dict)
    hyperparameters: JsonObject = Field(default_factory=dict)
    lineage: LineageBody = Field(default_factory=LineageBody)
    tags: Tags = Field(default_factory=dict)


class AliasBody(Strict):
    """Which version an alias names."""

    version: Reference


class StageBody(Strict):
    """The stage a version goes to."""

    stage: Stage = Field(strict=False)


class TagsBody(Strict):
    """All tags of a model; those that are not named are removed."""

    tags: Tags


class DeploymentBody(Strict):
    """A version to bring into traffic."""

    model_id: Name
    target_version: Reference
    strategy: Strategy = Field(default=Strategy.IMMEDIATE, strict=False)
    options: RolloutOptions = Field(default_factory=RolloutOptions)
    force: bool = Field(default=False, description="Do it although the environment refuses it; needs an admin key.")

    @model_validator(mode="after")
    def _options_are_used(self) -> Self:
        check_used(self.strategy, self.options)
        return self


class SteerBody(Strict):
    """Who steers a deployment, and why; both go into its history."""

    by: ShortText = Field(default="", description="Who decides this; by default the name of the API key.")
    reason: LongText = Field(default="", description="Why, in words.")


class RollbackBody(SteerBody):
    """Back to which version."""

    to_version: Reference | None = Field(
        default=None, description="Any version that was registered before; by default the one that answered before."
    )


class JobBody(Strict):
    """A command to run on the cluster."""

    entrypoint: Annotated[str, Field(min_length=1, max_length=10_000, pattern=_NO_NUL)]
    name: ShortText = ""
    working_dir: Annotated[str, Field(max_length=4_096, pattern=_NO_NUL)] | None = Field(
        default=None, description="A folder on the platform's machine, copied to where the job runs."
    )
    env: Variables = Field(default_factory=dict)
