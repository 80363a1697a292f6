"""What makes a function a command: the options that all commands share, a connection, and a printed answer."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

import typer

from streamb.cli.options import Address, ApiKey, AsJson, FieldsOf, StateDir, Where
from streamb.cli.output import Answer, print_json
from streamb.sdk.http import HttpClient

CommandFunction = TypeVar("CommandFunction", bound=Callable[..., Answer])


def _platform_options(state_dir: StateDir = None, address: Address = None, api_key: ApiKey = None) -> None: ...
def _json_option(as_json: AsJson = False) -> None: ...


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function, eval_str=True).parameters.values())


_PLATFORM: Final = _parameters(_platform_options)
_JSON: Final = _parameters(_json_option)
_TARGETS: Final = (HttpClient, Where)


def command(group: typer.Typer, name: str) -> Callable[[CommandFunction], CommandFunction]:
    """Make a function the command `name` of `group`; its docstring is the command's help.

    The function takes its own arguments and options and returns the `Answer`, which is printed for people, or as JSON
    with `--json`. Its first parameter may have one of two types that say which platform is meant:

    - `HttpClient`: an open connection, closed when the answer has been printed;
    - `Where`: the options themselves, for a command that connects later or somewhere else.

    Either adds `--state-dir`, `--address` and `--api-key`. Every command has `--json`; a function that works otherwise
    for scripts has a parameter `as_json` and is told. A parameter annotated with `FieldsOf` stands for several options
    that a model declares. Errors are left to the handler in `streamb.cli.app`.

    For example::

        @command(commands, "unsilence")
        def unsilence(client: HttpClient, silence_id: SilenceId) -> Answer:
            '''End a silence now.'''
            ended = client.change("DELETE", f"/api/alerts/silences/{silence_id}")
            return Answer(ended, f"{ended['id']}: {ended['state']}")
    """

    def register(function: CommandFunction) -> CommandFunction:
        group.command(name)(_for_typer(function))
        return function

    return register


def _for_typer(function: Callable[..., Answer]) -> Callable[..., None]:
    """The function as typer is to see it: with all options, and without a result."""
    own = _parameters(function)
    first = own[0].annotation if own else None
    grouped = {option.name: fields for option in own for fields in _fields(option)}
    own = [shown for option in own for shown in ([one for f in _fields(option) for one in f.parameters()] or [option])]
    told_json = "as_json" in {parameter.name for parameter in own}

    def run(**given: Any) -> None:
        as_json = given["as_json"] if told_json else given.pop("as_json")
        with contextlib.ExitStack() as opened:
            for name, fields in grouped.items():
                given[name] = fields.take(given)
            target: list[Any] = []
            if first in _TARGETS:
                where = Where(**{option.name: given.pop(option.name) for option in _PLATFORM})
                target = [where if first is Where else opened.enter_context(where.connect())]
            _print(function(*target, **given), as_json)

    options = [*own[1:], *_PLATFORM] if first in _TARGETS else own
    shown = [*(option for option in options if option.name != "as_json"), *_JSON]
    run.__doc__, run.__name__ = function.__doc__, function.__name__
    vars(run)["__signature__"] = inspect.Signature(
        [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in shown]
    )
    return run


def _fields(option: inspect.Parameter) -> list[FieldsOf]:
    return [told for told in getattr(option.annotation, "__metadata__", ()) if isinstance(told, FieldsOf)]


def _print(answer: Answer, as_json: bool) -> None:
    if as_json:
        print_json(answer.value)
    else:
        answer.print()
    if answer.exit_code:
        raise typer.Exit(answer.exit_code)
