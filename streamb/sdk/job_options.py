"""The options of the training job and of the search job, declared once for the jobs and for `streamb tune`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, model_validator

from streamb.errors import StreambError
from streamb.hpo.presets import Acquisition, Deadline, Executing, FoldCount, Seed, Trials, Workers
from streamb.registry.model import check_model_id
from streamb.registry.semver import Semver

ON_RESUME: Final = ("trials", "deadline_s", "workers", "executor", "model_id", "version", "output")
"""Options that may be given again when a study is resumed; all others keep their first value."""
_LARGEST_SEED: Final = 2**31 - 1


def _accepted_by(check: Callable[[str], object]) -> AfterValidator:
    """Return a validator that refuses what `check` refuses, with the message of its error."""

    def accepted(text: str) -> str:
        try:
            check(text)
        except StreambError as error:
            raise ValueError(error.message) from None
        return text

    return AfterValidator(accepted)


ModelId = Annotated[str, _accepted_by(check_model_id), Field(description="register the model under this id")]
Version = Annotated[str, _accepted_by(Semver.parse), Field(description="semantic version, as 1.0.0")]


class JobOptions(BaseModel):
    """Options of every job that learns from a table: the data, and where the model goes."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    csv: FilePath | None = Field(None, description="the data; its first line names the columns")
    target: str | None = Field(None, description="the column to predict")
    task: Literal["auto", "classification", "regression"] = Field("auto", description="what the target is")
    drop: tuple[str, ...] = Field((), description="a column to leave out; may be repeated")
    category: tuple[str, ...] = Field((), description="a column that holds categories; may be repeated")
    text: tuple[str, ...] = Field((), description="a column that holds text; may be repeated")
    seed: Annotated[Seed, Field(le=_LARGEST_SEED)] = 0
    model_id: ModelId | None = None
    version: Version | None = None
    name: str = Field("", description="what people call the model")
    description: str = Field("", description="what it is for")
    owner: str = Field("", description="who answers for it")
    deploy: Literal["immediate"] | None = Field(None, description="deploy the version once it is registered")
    output: Path | None = Field(None, description="write the model's artifact into this new folder")
    url: str | None = Field(None, description="the platform to register at, as http://HOST:PORT")
    state_dir: Path | None = Field(None, description="the state directory: of studies, and of a platform here")

    @model_validator(mode="after")
    def _new_folder(self) -> JobOptions:
        if self.output is not None and self.output.exists():
            raise ValueError(f"--output {self.output}: it exists already; name a new folder")
        return self


class SearchOptions(JobOptions):
    """What the search job may be told."""

    model: str = Field("random_forest", description="a name such as random_forest, or package.module:Name of your own")
    space: FilePath | None = Field(None, description="JSON file with the search space; by default the model's own")
    preset: Literal["fast", "balanced", "thorough"] = Field("balanced", description="how thorough")
    objective: str = Field("auto", description="a scikit-learn scorer; auto is accuracy for classes, r2 for quantities")
    trials: Trials | None = None
    folds: FoldCount | None = None
    deadline_s: Deadline | None = None
    workers: Workers | None = None
    executor: Executing = "auto"
    acquisition: Acquisition = "auto"
    group: str | None = Field(None, description="a column whose equal values stay in one fold; not learned from")
    order_by: str | None = Field(None, description="a column that orders rows in time; not learned from")
    test_share: float = Field(0.2, ge=0.05, le=0.5, description="share of the rows kept apart from the search")
    study: str | None = Field(None, description="what to call the study")
    resume: str | None = Field(
        None, description="go on with this study; its limits, and where its best model goes, may be new"
    )
    tensorboard: bool = Field(default=False, description="write TensorBoard's files beside the study")

    @model_validator(mode="after")
    def _one_beginning(self) -> SearchOptions:
        if self.resume is not None:
            others = sorted(self.model_fields_set - {*ON_RESUME, "resume", "state_dir", "url"})
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


@dataclass(frozen=True, slots=True)
class Option:
    """A field of a model as a command line shows it.

    Attributes:
        kind: bool, int, float, str, Path, or a list of str for one that may be given several times.
        choices: the values that are allowed; empty for any.
        least: the least value; None for none.
        most: the greatest value; None for none.
        sentence: what it means, its unit, and its default if that says something.
    """

    kind: Any
    choices: tuple[str, ...]
    least: float | None
    most: float | None
    sentence: str

    @classmethod
    def of(cls, model: type[BaseModel], name: str) -> Option:
        """Read a field.

        >>> Option.of(SearchOptions, "folds")
        Option(kind=<class 'int'>, choices=(), least=2, most=None, sentence='number of cross-validation folds')
        >>> Option.of(SearchOptions, "deploy").choices
        ('immediate',)
        """
        told, field = model.model_json_schema()["properties"][name], model.model_fields[name]
        told = {**told.get("anyOf", [{}])[0], **told}
        shown = not field.is_required() and field.default not in (None, "", (), False)
        kind = Path if told.get("format", "").endswith("path") else _KINDS[told["type"]]
        choices = told.get("enum", [told["const"]] if "const" in told else [])
        unit = f" In {told['unit']}." if told.get("unit") else ""
        sentence = told.get("description", "") + unit + (f" (default: {field.default})" if shown else "")
        least = told.get("minimum", told.get("exclusiveMinimum"))
        return cls(kind, tuple(choices), least, told.get("maximum"), sentence)


_KINDS: Final = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list[str]}
