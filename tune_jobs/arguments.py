"""A job's command line, made of its pydantic model: one option per field; refusals say what is allowed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from streamb.errors import InvalidInput, StreambError

A = TypeVar("A", bound=BaseModel)


class WrongArgument(InvalidInput):
    """An argument that is not allowed, or does not fit the data it names. A job ends with exit code 2."""

    code = "wrong_argument"

    @classmethod
    def of(cls, option: str, value: object, problem: str) -> WrongArgument:
        """For `--option value`, what is wrong and what is allowed."""
        return cls(f"--{option} {value}: {problem}")


def checked(check: Callable[[str], object], text: str) -> str:
    """The text, if a check of streamb's accepts it; else an error that pydantic reports in the check's own words."""
    try:
        check(text)
    except StreambError as error:
        raise ValueError(error.message) from None
    return text


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
