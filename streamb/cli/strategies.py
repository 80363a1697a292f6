"""The options of `streamb deploy` that say how a version gets traffic, and the request body made from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import orjson
import typer

from streamb.cli.options import FieldsOf, option_of, read_pairs
from streamb.metrics.limits import Limits
from streamb.rollouts.options import RolloutOptions

Strategy = Annotated[str, typer.Option(help="immediate, canary, blue_green or rolling.")]
Percent: Any = option_of(RolloutOptions, "traffic_split_percentage", "--percent")
Steps = Annotated[str | None, typer.Option(help="Percent of the traffic in each step, such as 5,50,100.")]
Criteria = Annotated[
    list[str] | None, typer.Option("--criterion", metavar="NAME=VALUE", help="Any other criterion; repeatable.")
]
Approval: Any = option_of(RolloutOptions, "approval_required", "--approval")
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
AcceptChanges = Annotated[
    list[str] | None,
    typer.Option(
        "--accept-change",
        metavar="NAME",
        help="A difference of its signature that is wanted, by the name that the refusal gives; repeatable.",
    ),
]
OtherOptions = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=JSON", help="Any other option of the strategy; repeatable."),
]
Batching = Annotated[
    list[str] | None,
    typer.Option(
        "--batching",
        metavar="NAME=VALUE",
        help="How requests are joined: join (true, false), max_rows, max_wait_ms; repeatable.",
    ),
]
Resources = Annotated[
    list[str] | None,
    typer.Option(
        "--resource", metavar="NAME=VALUE", help="Reserved for each replica: cpus, memory_mb, gpus; repeatable."
    ),
]
RequestTimeout: Any = option_of(RolloutOptions, "timeout_s", "--request-timeout")
Isolation: Any = option_of(RolloutOptions, "isolation")
Declared = Annotated[
    dict[str, Any], FieldsOf(RolloutOptions, ("step_seconds", "min_samples", "shadow_percent", "hold_seconds"))
]
Limited = Annotated[dict[str, Any], FieldsOf(Limits, ("max_error_rate", "max_latency_ms", "min_accuracy"))]


def united(flag: str, others: Iterable[str] | None, **flags: Any) -> dict[str, Any]:
    """What was given by options of its own, and by the repeated one for all others.

    Args:
        flag: the repeated one, for messages.
        others: what was given by it, each `NAME=VALUE`; the value may be JSON.
        flags: what was given by options of its own, by name; None: it was not given.

    Raises:
        BadParameter: one has no value, or is given twice.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    rest = {name: _json_or_text(value) for name, value in read_pairs(others, flag).items()}
    twice = sorted(given.keys() & rest.keys())
    if twice:
        raise typer.BadParameter(f"{', '.join(twice)} is given by its own option and by {flag}; choose one")
    return {**given, **rest}


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
