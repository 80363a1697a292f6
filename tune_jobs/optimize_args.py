"""What the search job may be told, and what of it a study remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, FilePath, model_validator

from tune_jobs.arguments import JobArgs, validated

ON_RESUME: Final = frozenset(
    {"trials", "deadline_s", "workers", "executor", "model_id", "version", "output", "state_dir", "url", "resume"}
)
"""What may be said again when a study goes on; everything else is as it was asked for."""


class OptimizeArgs(JobArgs):
    """What the job may be told, besides what every job may."""

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
    group: str | None = Field(None, description="a column whose equal values stay in one fold; not learned from")
    order_by: str | None = Field(None, description="a column that orders rows in time; not learned from")
    test_share: float = Field(0.2, ge=0.05, le=0.5, description="share of the rows kept apart from the search")
    study: str | None = Field(None, description="what to call the study")
    resume: str | None = Field(
        None, description="go on with this study; its limits, and where its best model goes, may be new"
    )
    state_dir: Path | None = Field(None, description="where studies are kept, and the platform that runs there")
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
        self.check_output()
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
