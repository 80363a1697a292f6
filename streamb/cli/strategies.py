"""The options of `streamb deploy` that say how a version gets traffic, and the request body made from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import orjson
import typer

from streamb.cli.options import read_pairs
from streamb.metrics.limits import Limits
from streamb.options import Options
from streamb.rollouts.options import RolloutOptions


def declared(group: type[Options], name: str, **more: Any) -> Any:
    """A command-line option with the words, the unit and the range of a declared one."""
    low, high = group.limits_of(name)
    return typer.Option(min=low, max=high, help=group.words_of(name), show_default=False, **more)


Strategy = Annotated[str, typer.Option(help="immediate, canary, blue_green or rolling.")]
Percent = Annotated[float | None, declared(RolloutOptions, "traffic_split_percentage")]
Steps = Annotated[str | None, typer.Option(help="Percent of the traffic in each step, such as 5,50,100.")]
StepSeconds = Annotated[float | None, declared(RolloutOptions, "step_seconds")]
MinSamples = Annotated[int | None, declared(RolloutOptions, "min_samples")]
MaxErrorRate = Annotated[float | None, declared(Limits, "max_error_rate")]
MaxLatencyMs = Annotated[float | None, declared(Limits, "max_latency_ms")]
MinAccuracy = Annotated[float | None, declared(Limits, "min_accuracy")]
MinThroughput = Annotated[float | None, declared(Limits, "min_throughput")]
MaxDriftScore = Annotated[float | None, declared(Limits, "max_drift_score")]
Criteria = Annotated[
    list[str] | None, typer.Option("--criterion", metavar="NAME=VALUE", help="Any other criterion; repeatable.")
]
Approval = Annotated[bool, typer.Option("--approval", help=RolloutOptions.words_of("approval_required"))]
ApprovalBefore = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WHEN", help="Require approval before start, or before the step with this percent; repeatable."
    ),
]
NoFallback = Annotated[
    bool, typer.Option("--no-fallback", help="Do not let the old version answer requests that the new one fails.")
]
NoRollback = Annotated[
    bool, typer.Option("--no-rollback", help="Pause a failing deployment instead of rolling it back.")
]
ShadowPercent = Annotated[float | None, declared(RolloutOptions, "shadow_percent")]
HoldSeconds = Annotated[float | None, declared(RolloutOptions, "hold_seconds")]
OtherOptions = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=JSON", help="Any other option of the strategy; repeatable."),
]


def options(others: Iterable[str] | None, **flags: Any) -> dict[str, Any]:
    """Return the `options` of the request: those given by their flags, and those given by `--option`.

    Raises:
        BadParameter: an option has no value, or is given twice.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    rest = {name: _json_or_text(value) for name, value in read_pairs(others, "--option").items()}
    return _united(given, rest, "--option")


def criteria(others: Iterable[str] | None, **flags: float | None) -> dict[str, Any]:
    """Return the health criteria: those given by their flags, and those given by `--criterion`.

    Raises:
        BadParameter: a criterion has no value, or is given twice.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    rest = {name: _json_or_text(value) for name, value in read_pairs(others, "--criterion").items()}
    return _united(given, rest, "--criterion")


def percents(text: str | None) -> list[float] | None:
    """Read percents such as `5,50,100`.

    Raises:
        BadParameter: one of them is not a number.
    """
    if text is None:
        return None
    try:
        return [float(part.strip().removesuffix("%")) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"--steps takes percents with commas between them, like 5,50,100; got {text!r}"
        ) from None


def gates(words: Iterable[str] | None) -> list[str | float] | None:
    """Read where approval is needed: `start`, or the percent of a step.

    Raises:
        BadParameter: a word is neither of the two.
    """
    try:
        return [word if word == "start" else float(word.removesuffix("%")) for word in words or ()] or None
    except ValueError as error:
        raise typer.BadParameter(f"--approval-before takes start or the percent of a step ({error})") from None


def _json_or_text(value: str) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _united(given: dict[str, Any], rest: dict[str, Any], option: str) -> dict[str, Any]:
    twice = sorted(given.keys() & rest.keys())
    if twice:
        raise typer.BadParameter(f"{', '.join(twice)} is given by its own option and by {option}; choose one")
    return {**given, **rest}
