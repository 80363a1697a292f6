"""What the search job may be told, and what of it a study remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, model_validator

from streamb.registry.model import check_model_id
from streamb.registry.semver import Semver
from tune_jobs.arguments import checked, validated

ON_RESUME: Final = frozenset(
    {"trials", "deadline_s", "workers", "executor", "model_id", "version", "output", "state_dir", "url", "resume"}
)
"""What may be said again when a study goes on; everything else is as it was asked for."""


def _model_id(text: str) -> str:
    return checked(check_model_id, text)


def _version(text: str) -> str:
    return checked(Semver.parse, text)


class OptimizeArgs(BaseModel):
    """What the job may be told."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    csv: FilePath | None = Field(None, description="the data; its first line names the columns")
    target: str | None = Field(None, description="the column to predict")
    model: str = Field("random_forest", description="a name such as random_forest, or package.module:Name of your own")
    space: FilePath | None = Field(None, description="JSON file with the search space; by default the model's own")
    preset: Literal["fast", "balanced", "thorough"] = Field("balanced", description="how thorough")
    objective: str = Field("auto", description="a scikit-learn scorer; auto is accuracy for classes, r2 for quantities")
    trials: int | None = Field(None, ge=1, description="how many trials, the defaults included")
    folds: int | None = Field(None, ge=2, description="of the cross-validation")
    deadline_s: float | None = Field(None, gt=0, description="seconds after which the search ends")
    workers: int | None = Field(None, ge=1, description="trials at the same time")
    executor: Literal["auto", "sequential", "processes", "ray"] = Field("auto", description="where trials run")
    acquisition: Literal["auto", "ei", "pi", "ucb"] = Field("auto", description="how the next trial is chosen")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="everything random follows from it")
    task: Literal["auto", "classification", "regression"] = Field("auto", description="what the target is")
    drop: tuple[str, ...] = Field((), description="a column to leave out; may be repeated")
    category: tuple[str, ...] = Field((), description="a column that holds categories; may be repeated")
    text: tuple[str, ...] = Field((), description="a column that holds text; may be repeated")
    group: str | None = Field(None, description="a column whose equal values stay in one fold; not learned from")
    order_by: str | None = Field(None, description="a column that orders rows in time; not learned from")
    test_share: float = Field(0.2, ge=0.05, le=0.5, description="share of the rows kept apart from the search")
    study: str | None = Field(None, description="what to call the study")
    resume: str | None = Field(
        None, description="go on with this study; its limits, and where its best model goes, may be new"
    )
    model_id: Annotated[str, AfterValidator(_model_id)] | None = Field(
        None, description="register the best under this id"
    )
    version: Annotated[str, AfterValidator(_version)] | None = Field(None, description="semantic version, as 1.0.0")
    name: str = Field("", description="what people call the model")
    description: str = Field("", description="what it is for")
    owner: str = Field("", description="who answers for it")
    deploy: Literal["immediate"] | None = Field(None, description="deploy the version once it is registered")
    url: str | None = Field(None, description="the platform to register at, as http://HOST:PORT")
    state_dir: Path | None = Field(None, description="where studies are kept, and the platform that runs there")
    output: Path | None = Field(None, description="write the best model's artifact into this new folder")
    tensorboard: bool = Field(default=False, description="write TensorBoard's files beside the study")

    @model_validator(mode="after")
    def _one_beginning(self) -> OptimizeArgs:
        if self.resume is not None:
            others = sorted(self.model_fields_set - ON_RESUME)
            if others:
                shown = ", ".join(f"--{name.replace('_', '-')}" for name in others)
                raise ValueError(f"--resume goes on as it was asked for: leave out {shown}")
            return self
        if self.csv is None or self.target is None:
            raise ValueError("--csv and --target say what to learn from; --resume goes on with a study")
        if (self.model_id is None) != (self.version is None):
            raise ValueError("--model-id and --version go together: the best model is registered under both")
        if self.deploy and self.model_id is None:
            raise ValueError("--deploy needs --model-id and --version")
        if self.output is not None and self.output.exists():
            raise ValueError(f"--output {self.output}: it exists already; name a new folder")
        if self.group is not None and self.order_by is not None:
            raise ValueError("--group and --order-by exclude each other")
        return self

    def remembered(self) -> dict[str, Any]:
        """What a study keeps, JSON-ready; files by their whole path, so that it may go on from another folder."""
        told = self.model_dump(mode="json", exclude={"resume", "study", "state_dir", "url"}, exclude_defaults=True)
        for name in ("csv", "space", "output"):
            if told.get(name):
                told[name] = str(Path(told[name]).absolute())
        return told

    def going_on(self, remembered: dict[str, Any], study: str) -> OptimizeArgs:
        """The arguments of a study that goes on: as it was asked for, with what is said now on top.

        Raises:
            WrongArgument: together they are not allowed, such as a folder to write to that is there by now.
        """
        now = {name: getattr(self, name) for name in self.model_fields_set & ON_RESUME - {"resume"}}
        return validated(OptimizeArgs, {**remembered, "study": study, **now})
