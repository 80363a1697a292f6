"""A soak that was interrupted goes on with what has not passed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from streamb.config import child_environment
from tests.soak import commit

ROOT = Path(__file__).parents[1]
TESTS = """
from pathlib import Path

def test_passes():
    with Path("runs").open("a") as runs:
        runs.write("passes ")

def test_fails_at_first():
    with Path("runs").open("a") as runs:
        runs.write("fails ")
    assert Path("mended").exists()
"""


@pytest.fixture
def soak(tmp_path):
    if not commit():
        pytest.skip("git does not tell the commit here")
    (tmp_path / "test_long.py").write_text(TESTS)

    def run() -> tuple[int, list[str]]:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.soak", "-p", "no:cacheprovider"]
        environment = {**child_environment(), "PYTHONPATH": str(ROOT)}
        (tmp_path / "runs").write_text("")
        done = subprocess.run(
            [*command, "--resume", "passed.json", "test_long.py"],
            cwd=tmp_path,
            env=environment,
            timeout=60,
            capture_output=True,
        )
        return done.returncode, (tmp_path / "runs").read_text().split()

    return run


def test_what_has_passed_is_left_out_until_the_commit_changes(soak, tmp_path):
    assert soak() == (1, ["passes", "fails"])
    assert soak() == (1, ["fails"]), "it goes on with what failed"
    (tmp_path / "mended").touch()
    assert soak() == (0, ["fails"])
    assert soak() == (5, []), "nothing is left"
    record = json.loads((tmp_path / "passed.json").read_text())
    (tmp_path / "passed.json").write_text(json.dumps({**record, "commit": "another"}))
    assert soak() == (0, ["passes", "fails"]), "another commit begins anew"
