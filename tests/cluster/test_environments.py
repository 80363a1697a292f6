"""Environments of versions as Ray gets them, and what Ray says when one cannot be installed."""

from __future__ import annotations

import pytest

from streamb.cluster.environments import runtime_env, why_not_installed

PIP = """Failed to set up runtime environment.
[Node 192.0.2.2] Traceback (most recent call last):
  File "runtime_env/utils.py", line 105, in check_output_cmd
    raise SubprocessCalledProcessError(
ray._private.runtime_env.utils.SubprocessCalledProcessError: Run cmd[17] failed with the following details.
Command '['python', '-m', 'pip', 'install', '-r', 'requirements.txt']' returned non-zero exit status 1.
Last 50 lines of stdout:
    Looking in links: /srv/wheels
    ERROR: Could not find a version that satisfies the requirement nosuchpackage==1.0 (from versions: none)
    ERROR: No matching distribution found for nosuchpackage==1.0
"""
UV = """Command '['python', '-m', 'uv', 'pip', 'install']' returned non-zero exit status 1.
Last 50 lines of stdout:
    Using Python 3.11.7 environment at: virtualenv
      \N{MULTIPLICATION SIGN} No solution found when resolving dependencies:
      ╰─▶ Because nosuchpackage was not found in the provided package locations and
          you require nosuchpackage, we can conclude that your requirements are
          unsatisfiable.
"""
UV_COMPLAINT = (
    "\N{MULTIPLICATION SIGN} No solution found when resolving dependencies: ╰─▶ Because nosuchpackage was not found in "
    "the provided package locations and you require nosuchpackage, we can conclude that your requirements are "
    "unsatisfiable."
)
LATE = """Failed to install runtime_env within the timeout of 300 seconds. Consider increasing the timeout.
Traceback (most recent call last):
TimeoutError
"""


class TestRuntimeEnv:
    @pytest.mark.parametrize("tool", ["pip", "uv"])
    def test_has_the_requirements_and_a_limit_of_whole_seconds(self, tool):
        assert runtime_env({tool: ["tiny==1.0"]}, 12.3) == {
            tool: ["tiny==1.0"],
            "config": {"setup_timeout_seconds": 13},
        }

    def test_a_version_without_an_environment_has_none(self):
        assert runtime_env({}, 300) == {}


class TestWhyNotInstalled:
    @pytest.mark.parametrize(
        ("message", "why"),
        [
            (PIP, "ERROR: No matching distribution found for nosuchpackage==1.0"),
            (UV, UV_COMPLAINT),
            (LATE, "it took too long; raise ML_ENVIRONMENT_TIMEOUT_S, or require less"),
            ("RuntimeError: Please install virtualenv\n", "RuntimeError: Please install virtualenv"),
            ("", ""),
        ],
        ids=["pip", "uv", "late", "other", "nothing"],
    )
    def test_is_the_installer_s_own_complaint(self, message, why):
        assert why_not_installed(message) == why

    def test_is_bounded(self):
        assert len(why_not_installed("ERROR: " + "x" * 10_000)) < 600
