"""Command lines from pydantic models."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, Field

from tune_jobs.arguments import WrongArgument, parse_arguments


class Args(BaseModel):
    model_id: str
    share: float = Field(0.2, gt=0, lt=1, description="part of 100%")
    kind: Literal["red", "blue"] | None = None
    tag: tuple[str, ...] = ()
    dry_run: bool = False
    cached: bool = True


def parse(*argv: str) -> Args:
    return parse_arguments(Args, argv, program="job", description="A job.")


def test_every_field_is_an_option() -> None:
    args = parse("--model-id", "m", "--share", "0.5", "--kind", "red", "--tag", "a", "--tag", "b", "--dry-run")
    assert args == Args(model_id="m", share=0.5, kind="red", tag=("a", "b"), dry_run=True)
    assert parse("--model-id", "m", "--no-cached").cached is False
    assert parse("--model-id", "m") == Args(model_id="m")


def test_what_the_model_refuses_is_named_with_what_is_allowed() -> None:
    with pytest.raises(WrongArgument, match="--share 7: Input should be less than 1"):
        parse("--model-id", "m", "--share", "7")
    with pytest.raises(WrongArgument, match="--share much: Input should be a valid number"):
        parse("--model-id", "m", "--share", "much")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--kind", "green", "--model-id", "m"], "choose from 'red', 'blue'"),
        ([], "required: --model-id"),
        (["--model-id", "m", "--colour", "x"], "unrecognized arguments: --colour"),
        (["--model", "m"], "required: --model-id"),  # no abbreviations: they break when an option is added
    ],
)
def test_usage_mistakes_end_with_code_2(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(*argv)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_help_describes_each_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    assert "part of 100% (default: 0.2)" in capsys.readouterr().out
