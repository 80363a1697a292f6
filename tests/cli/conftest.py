"""The command line in this process, against a live platform that it finds by its state directory."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamb.cli.app import app
from streamb.sdk.discovery import RunningInfo, write_platform_file
from tests.sdk.live import LivePlatform


@dataclass(frozen=True)
class Cli:
    """Runs commands; `state_dir` is added where a platform is meant."""

    state_dir: Path

    def run(self, *arguments: str, code: int = 0):
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
        return done

    def __call__(self, *arguments: str, code: int = 0) -> str:
        end = arguments.index("--") if "--" in arguments else len(arguments)
        here = ("--state-dir", str(self.state_dir))
        return self.run(*arguments[:end], *here, *arguments[end:], code=code).stdout

    def json(self, *arguments: str, code: int = 0):
        end = arguments.index("--") if "--" in arguments else len(arguments)
        return json.loads(self(*arguments[:end], "--json", *arguments[end:], code=code))


@pytest.fixture
def live(tmp_path):
    with LivePlatform(tmp_path / "state").running() as platform:
        yield platform


@pytest.fixture
def cli(live):
    state_dir = live.backend.settings.state_dir
    write_platform_file(state_dir, RunningInfo(live.url, os.getpid(), time.time(), "0.1.0"))
    (state_dir / "api-key").write_text(live.backend.api_key)
    return Cli(state_dir)
