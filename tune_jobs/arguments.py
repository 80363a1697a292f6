"""A job's command line: what all jobs may be told, one option per field, and how a job ends."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, ValidationError
from pydantic.fields import FieldInfo

from streamb.clock import Clock, SystemClock
from streamb.errors import InvalidInput, StreambError
from streamb.registry.model import check_model_id
from streamb.registry.semver import Semver
from tune_jobs.progress import Progress

A = TypeVar("A", bound=BaseModel)


class WrongArgument(InvalidInput):
    """An argument that is not allowed, or does not fit the data it names. A job ends with exit code 2."""

    code = "wrong_argument"

    @classmethod
    def of(cls, option: str, value: object, problem: str) -> WrongArgument:
        """For `--option value`, what is wrong and what is allowed."""
        return cls(f"--{option} {value}: {problem}")


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """A text that a check of streamb's accepts; else an error that pydantic reports in the check's own words."""

    def validate(text: str) -> str:
        try:
            check(text)
        except StreambError as error:
            raise ValueError(error.message) from None
        return text

    return AfterValidator(validate)


ModelId = Annotated[str, _checked(check_model_id)]
Version = Annotated[str, _checked(Semver.parse)]


class JobArgs(BaseModel):
    """What every job may be told: the data, what it learns from it, and where the model goes."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    csv: FilePath | None = Field(None, description="the data; its first line names the columns")
    target: str | None = Field(None, description="the column to predict")
    task: Literal["auto", "classification", "regression"] = Field("auto", description="what the target is")
    drop: tuple[str, ...] = Field((), description="a column to leave out; may be repeated")
    category: tuple[str, ...] = Field((), description="a column that holds categories; may be repeated")
    text: tuple[str, ...] = Field((), description="a column that holds text; may be repeated")
    model_id: ModelId | None = Field(None, description="register the model under this id")
    version: Version | None = Field(None, description="semantic version, as 1.0.0")
    name: str = Field("", description="what people call the model")
    description: str = Field("", description="what it is for")
    owner: str = Field("", description="who answers for it")
    deploy: Literal["immediate"] | None = Field(None, description="deploy the version once it is registered")
    url: str | None = Field(None, description="the platform to register at, as http://HOST:PORT")
    state_dir: Path | None = Field(None, description="the state directory of a platform on this machine")
    output: Path | None = Field(None, description="write the model's artifact into this new folder")

    def check_output(self) -> None:
        """Refuse a folder to write to that exists already.

        Raises:
            ValueError: it exists.
        """
        if self.output is not None and self.output.exists():
            raise ValueError(f"--output {self.output}: it exists already; name a new folder")


def run_job(
    run: Callable[[A, Progress], int],
    model: type[A],
    argv: Sequence[str] | None,
    clock: Clock | None,
    *,
    program: str,
    description: str,
) -> int:
    """Read a job's command line and run it; returns its exit code.

    Args:
        run: the job; returns its exit code.
        model: its arguments.
        argv: the command line; None: this process's.
        clock: None: the system's.
        program: how the job is called, for messages.
        description: what it does, for `--help`.

    Returns:
        What `run` returned; 1 when it failed or was interrupted, 2 when an argument was wrong. A line says why.
    """
    progress = Progress(clock or SystemClock())
    try:
        return run(parse_arguments(model, argv, program=program, description=description), progress)
    except WrongArgument as error:
        print(f"{program}: wrong argument: {error.message}", file=sys.stderr)
        return 2
    except StreambError as error:
        progress.say(f"failed: {error.message}")
    except KeyboardInterrupt:
        progress.say("interrupted")
    return 1


def parse_arguments(model: type[A], argv: Sequence[str] | None, *, program: str, description: str) -> A:
    """Read a command line (by default this process's).

    `test_share: float` becomes `--test-share`; a `bool` is a flag; a `tuple[str, ...]` may be given several times; a
    `Literal` lists its choices. Field descriptions are the help.

    Raises:
        WrongArgument: values that the model refuses, each by name.
        SystemExit: with code 2 for options that do not exist, are missing, or are not among the choices; with 0 for
            `--help`. argparse has printed why.
    """
    parser = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
    for name, field in model.model_fields.items():
        _add_option(parser, name, field)
    return validated(model, {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None})


def validated(model: type[A], given: Mapping[str, Any]) -> A:
    """Arguments that the model accepts.

    Raises:
        WrongArgument: it refuses some of them; names each.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise WrongArgument("; ".join(_sentences(error))) from None


def _add_option(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    kind = field.annotation
    options: dict[str, Any] = {"dest": name, "help": _help(field), "required": field.is_required()}
    if kind is bool:
        options["action"] = argparse.BooleanOptionalAction if field.default else "store_true"
        options["default"] = None
    elif get_origin(kind) is tuple:
        options |= {"action": "append", "metavar": name.upper()}
    elif choices := _choices(kind):
        options["choices"] = choices
    else:
        options["metavar"] = name.upper()
    parser.add_argument(f"--{name.replace('_', '-')}", **options)


def _choices(kind: Any) -> list[str]:
    """The values of a `Literal`, also of an optional one."""
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    return [choice for part in get_args(kind) for choice in _choices(part)]


def _help(field: FieldInfo) -> str:
    text = (field.description or "").replace("%", "%%")
    shown = not field.is_required() and field.default not in (None, "", (), False)
    return f"{text} (default: {field.default})" if shown else text


def _sentences(error: ValidationError) -> Iterable[str]:
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ")
        if problem["loc"]:
            yield f"--{str(problem['loc'][0]).replace('_', '-')} {problem['input']}: {message}"
        else:
            yield message
