"""A soak that was interrupted goes on: `pytest --resume FILE` leaves out what has passed at this commit.

The file holds the commit and the tests that have passed; another commit, or another change to the working tree,
begins anew.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from functools import cache
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]


@cache
def commit() -> str:
    """What the tests are run on: the commit and a digest of what differs from it; empty where git does not tell."""
    try:
        head, change = (
            subprocess.run(["git", *words], cwd=_ROOT, check=True, capture_output=True, timeout=30).stdout
            for words in (("rev-parse", "HEAD"), ("diff", "HEAD"))
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    told = head.decode().strip()[:12]
    return told + (f"+{hashlib.sha256(change).hexdigest()[:12]}" if change else "")


def results_folder() -> Path:
    """Where results of long tests are kept; git ignores it."""
    folder = _ROOT / ".soak"
    folder.mkdir(exist_ok=True)
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--resume", metavar="FILE", type=Path, help="leave out what has passed at this commit; note more")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    done = _passed(config)
    if done:
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
        items[:] = [item for item in items if item.nodeid not in done]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    file = item.config.getoption("--resume")
    if file is not None and commit() and report.when == "call" and report.passed:
        done = sorted(_passed(item.config) | {item.nodeid})
        file.write_text(json.dumps({"commit": commit(), "passed": done}, indent=1) + "\n")
    return report


def _passed(config: pytest.Config) -> set[str]:
    file = config.getoption("--resume")
    if file is None or not file.exists() or not commit():
        return set()
    kept = json.loads(file.read_text())
    return set(kept["passed"]) if kept["commit"] == commit() else set()
