"""Options that many commands share, and the platform that they describe."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import BaseModel

from streamb.config import ENVIRONMENTS, load_settings
from streamb.errors import InvalidInput
from streamb.sdk.discovery import read_api_key, require_platform
from streamb.sdk.http import HttpClient
from streamb.sdk.job_options import Option

_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def _one_of_the_presets(name: str | None) -> str | None:
    if name is not None and name not in ENVIRONMENTS:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(ENVIRONMENTS)}")
    return name


Presets = Annotated[
    str | None,
    typer.Option(
        "--environment",
        "--env",
        callback=_one_of_the_presets,
        help="development, staging or production.",
    ),
]
StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="The platform's folder. By default ML_STATE_DIR, else .streamb.")
]
Address = Annotated[str | None, typer.Option("--address", help="URL of a remote platform: http://HOST:PORT.")]
ApiKey = Annotated[str | None, typer.Option("--api-key", help="API key for the platform at --address.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Show at most this many entries.")]


@dataclass(frozen=True, slots=True)
class Where:
    """The platform that the options `--state-dir`, `--address` and `--api-key` describe."""

    state_dir: Path | None
    address: str | None
    api_key: str | None

    def connect(self) -> HttpClient:
        """Return a client of the platform at `address`, or of the one that runs on the state directory.

        Raises:
            NotRunning: no platform runs on the state directory.
        """
        if self.address is not None:
            return HttpClient(self.address, self.api_key)
        folder = load_settings(state_dir=self.state_dir).state_dir
        return HttpClient(require_platform(folder).url, self.api_key or read_api_key(folder))


@dataclass(frozen=True, slots=True)
class FieldsOf:
    """Marks a parameter of a command that stands for several options, one for each named field of a model.

    The function gets a dict of the options that were given. The annotation
    `Annotated[dict[str, Any], FieldsOf(SearchOptions, ("seed",))]` declares the option `--seed` with the field's type,
    range and description. A field of seconds (`deadline_s`) is called without its unit (`--deadline`), and a field that
    has only one value is a flag.

    Attributes:
        model: the model that declares the fields.
        names: names of the fields, in the order in which the command's help shows them.
    """

    model: type[BaseModel]
    names: tuple[str, ...]

    def parameters(self) -> list[inspect.Parameter]:
        """Return the options as parameters for typer."""
        keyword = inspect.Parameter.KEYWORD_ONLY
        shown = [(name, option_of(self.model, name)) for name in self.names]
        return [inspect.Parameter(name, keyword, default=None, annotation=option) for name, option in shown]

    def take(self, given: dict[str, Any]) -> dict[str, Any]:
        """Remove these options from `given`, and return those that have a value."""
        told = {name: value for name in self.names if (value := given.pop(name)) or type(value) in (int, float)}
        flags = {name: Option.of(self.model, name).choices for name, value in told.items() if value is True}
        return told | {name: choices[0] for name, choices in flags.items() if choices}


def option_of(model: type[BaseModel], name: str, flag: str | None = None) -> Any:
    """Return the option for a field of a model, with its type, range and description.

    Args:
        model: the model that declares the field.
        name: the name of the field.
        flag: the option's name on the command line; None: made from the field's name.
    """
    option = Option.of(model, name)
    flag = flag or f"--{name.removesuffix('_s').replace('_', '-')}"
    if option.kind is bool or len(option.choices) == 1:
        return Annotated[bool, typer.Option(flag, help=option.sentence)]
    shown = "|".join(option.choices) or None
    declared = typer.Option(flag, help=option.sentence, min=option.least, max=option.most, metavar=shown)
    return Annotated[option.kind | None, declared]


def read_pairs(pairs: Iterable[str] | None, option: str) -> dict[str, str]:
    """Turn repeated `NAME=VALUE` options into a dict.

    Raises:
        BadParameter: one of them has no name or no `=`; the message names `option`.
    """
    found: dict[str, str] = {}
    for pair in pairs or ():
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"{option} takes NAME=VALUE, got {pair!r}")
        found[name] = value
    return found


def read_duration(text: str, option: str) -> float:
    """Convert a duration such as 30m, 2h, 1d or 1h30m to seconds.

    >>> read_duration("1h30m", "--for")
    5400.0

    Raises:
        InvalidInput: it is none; the message names `option`.
    """
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidInput(f"{option} takes a time like 30m, 2h or 1d, not {text!r}")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
