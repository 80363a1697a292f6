"""A job's command line, with one option per field of its pydantic model, and the job's exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from streamb.clock import Clock, SystemClock
from streamb.errors import InvalidInput, StreambError
from streamb.sdk.job_options import Option
from tune_jobs.progress import Progress

A = TypeVar("A", bound=BaseModel)


class WrongArgument(InvalidInput):
    """An argument that is not allowed, or does not fit the data it names. A job ends with exit code 2."""

    code = "wrong_argument"

    @classmethod
    def of(cls, option: str, value: object, problem: str) -> WrongArgument:
        """Return the error for `--option value` with this problem."""
        return cls(f"--{option} {value}: {problem}")


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
        model: the pydantic model of its arguments.
        argv: the command line; None: this process's.
        clock: the clock; None: the system's.
        program: the job's name in messages.
        description: what the job does, for `--help`.

    Returns:
        The result of `run`; 1 if it failed or was interrupted, 2 if an argument was wrong. A printed line says why.
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
    """Parse a command line (by default this process's) into the model.

    `test_share: float` becomes `--test-share`; a `bool` is a flag; a `tuple[str, ...]` may be given several times; a
    `Literal` lists its choices. Field descriptions are the help.

    Raises:
        WrongArgument: the model rejects values; the message names each.
        SystemExit: with code 2 for options that do not exist, are missing, or are not among the choices; with 0 for
            `--help`. argparse has printed why.
    """
    parser = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
    for name in model.model_fields:
        _add_option(parser, name, model)
    return validated(model, {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None})


def validated(model: type[A], given: Mapping[str, Any]) -> A:
    """Return the arguments as an instance of the model.

    Raises:
        WrongArgument: the model rejects some of them; the message names each.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise WrongArgument("; ".join(_sentences(error))) from None


def _add_option(parser: argparse.ArgumentParser, name: str, model: type[BaseModel]) -> None:
    field, option = model.model_fields[name], Option.of(model, name)
    told: dict[str, Any] = {"dest": name, "help": option.sentence.replace("%", "%%"), "required": field.is_required()}
    if option.kind is bool:
        told |= {"action": argparse.BooleanOptionalAction if field.default else "store_true", "default": None}
    elif option.choices:
        told["choices"] = option.choices
    else:
        told |= {"action": "append" if option.kind == list[str] else "store", "metavar": name.upper()}
    parser.add_argument(f"--{name.replace('_', '-')}", **told)


def _sentences(error: ValidationError) -> Iterable[str]:
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ")
        if problem["loc"]:
            yield f"--{str(problem['loc'][0]).replace('_', '-')} {problem['input']}: {message}"
        else:
            yield message
