"""The decorator that makes a function a command: its options, its connection, and how its answer is printed."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from streamb.cli.command import command
from streamb.cli.options import AsJson, FieldsOf, Limit, Where
from streamb.cli.output import Answer, Facts, Table
from streamb.errors import NotRunning
from streamb.sdk.http import HttpClient


@pytest.fixture
def group():
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    return app


@pytest.fixture
def run(group):
    def run(*words, code=0):
        done = CliRunner().invoke(group, words)
        assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
        return done.stdout

    return run


def options_of(group, name):
    command = typer.main.get_command(group).commands[name]
    return [option.opts[0] for option in command.params if option.param_type_name == "option"]


def test_the_options_of_all_commands_come_last(group):
    @command(group, "one")
    def one(client: HttpClient, limit: Limit = 5, as_json: AsJson = False) -> Answer:
        """List one."""
        return Answer(None)

    @command(group, "two")
    def two(limit: Limit = 5) -> Answer:
        """List two."""
        return Answer(None)

    assert options_of(group, "one") == ["--limit", "--state-dir", "--address", "--api-key", "--json"]
    assert options_of(group, "two") == ["--limit", "--json"]
    assert typer.main.get_command(group).commands["one"].help == "List one."


def test_an_answer_is_lines_facts_and_tables_or_one_json_document(group, run):
    @command(group, "show")
    def show(name: str) -> Answer:
        rows = [{"n": 1, "size": 2.5}, {"n": 2, "size": None}]
        table = Table({"number": "n", "twice": lambda row: 2 * row["n"], "size": "size"}, rows, empty="no rows")
        return Answer({"name": name}, f"this is {name}", Facts({"a": 1}), Table({}, [], empty="no rows"), table)

    assert [line.split() for line in run("show", "x").splitlines()] == [
        ["this", "is", "x"],
        ["a", "1"],
        ["no", "rows"],
        ["number", "twice", "size"],
        ["1", "2", "2.5"],
        ["2", "4", "-"],
    ]
    assert json.loads(run("show", "x", "--json")) == {"name": "x"}


def test_the_exit_code_is_the_answers(group, run):
    @command(group, "check")
    def check() -> Answer:
        return Answer({"well": False}, "unwell", exit_code=1)

    assert run("check", code=1) == "unwell\n"
    assert json.loads(run("check", "--json", code=1)) == {"well": False}


def test_a_function_that_works_otherwise_for_scripts_is_told(group, run):
    @command(group, "told")
    def told(as_json: AsJson = False) -> Answer:
        return Answer(as_json, str(as_json))

    assert run("told") == "False\n"
    assert run("told", "--json") == "true\n"


def test_the_connection_is_open_until_the_answer_is_printed(group, run):
    seen = []

    @command(group, "ask")
    def ask(client: HttpClient) -> Answer:
        seen.append(client)
        return Answer(client.url, client.url)

    assert run("ask", "--address", "http://127.0.0.1:1", "--api-key", "k") == "http://127.0.0.1:1\n"
    assert seen[0]._client.is_closed


def test_a_function_may_connect_itself(group, run, tmp_path):
    @command(group, "later")
    def later(where: Where, now: bool = False) -> Answer:
        if now:
            where.connect()
        return Answer(vars_of(where))

    def vars_of(where):
        return [str(where.state_dir), where.address, where.api_key]

    assert json.loads(run("later", "--json", "--state-dir", str(tmp_path))) == [str(tmp_path), None, None]
    done = CliRunner().invoke(group, ["later", "--now", "--state-dir", str(tmp_path)])
    assert isinstance(done.exception, NotRunning)


class Told(BaseModel):
    folds: Annotated[int, Field(ge=2, description="how many parts")] | None = None
    limit_s: float | None = Field(None, gt=0, description="seconds")
    color: Literal["red", "blue"] = Field("red", description="the paint")
    deploy: Literal["immediate"] | None = None
    tag: tuple[str, ...] = ()
    quiet: bool = False
    share: Annotated[float, Field(ge=0, le=1)] | None = None


def test_fields_of_a_model_are_options(group, run):
    seen = {}

    @command(group, "one")
    def one(told: Annotated[dict[str, Any], FieldsOf(Told, tuple(Told.model_fields))]) -> Answer:
        seen.update(told)
        return Answer(None)

    assert options_of(group, "one") == [
        "--folds",
        "--limit",
        "--color",
        "--deploy",
        "--tag",
        "--quiet",
        "--share",
        "--json",
    ]
    run("one")
    assert seen == {}
    run("one", "--folds", "3", "--limit", "1.5", "--color", "blue", "--deploy", "--tag", "a", "--tag", "b", "--quiet")
    assert seen == {
        "folds": 3, "limit_s": 1.5, "color": "blue", "deploy": "immediate", "tag": ["a", "b"], "quiet": True,
    }  # fmt: skip
    seen.clear()
    run("one", "--share", "0")
    assert seen == {"share": 0.0}
    for wrong in (("--folds", "1"), ("--share", "2")):
        run("one", *wrong, code=2)
    shown = " ".join(run("one", "--help").split())
    assert "--color red|blue the paint (default: red)" in shown
    assert "how many parts" in shown
