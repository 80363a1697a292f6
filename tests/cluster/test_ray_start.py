"""A Ray that starts slowly, badly or not at all: in a process of its own, with a false raylet in place of the real."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from streamb.cluster.ray_start import limits_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

_PROGRAM = """
import os, signal, sys, threading
from pathlib import Path
from streamb.cluster.session import prepare_ray, start_ray
from streamb.errors import StartFailed
import psutil

here = Path(sys.argv[1])
prepare_ray(120)
from ray._private import services
real = services.RAYLET_EXECUTABLE
false = here / "bin" / "raylet"
false.parent.mkdir()
false.write_text("#!/bin/bash\\n" + sys.argv[2].format(real=real, here=here))
false.chmod(0o755)
services.RAYLET_EXECUTABLE = str(false)
(here / "state").mkdir()
try:
    session = start_ray(1, here / "state", 120)
    print("up")
    session.leave()
except StartFailed as error:
    print(error.message)
except KeyboardInterrupt:
    print("interrupted")
print("left:", len(psutil.Process().children(recursive=True)))
"""


def start(tmp_path, raylet: str, *, extra: str = "") -> str:
    program = f"{extra}\n" + _PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), raylet], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("left: 0\n"), done.stdout
    return done.stdout


def test_a_start_that_fails_once_is_tried_again_with_a_home_that_cannot_be_written(tmp_path):
    once = '[ -e {here}/mark ] || {{ touch {here}/mark; exit 3; }}\nexec {real} "$@"'
    said = start(tmp_path, once, extra="import os; os.environ['HOME'] = '/proc'")
    assert said.startswith("up\n")


def test_a_start_that_fails_twice_says_why_and_keeps_the_logs(tmp_path):
    began = time.monotonic()
    said = start(tmp_path, "exit 3")
    assert said.startswith("Ray did not start: its process raylet has ended")
    assert f"its logs are in {tmp_path / 'state' / 'logs' / 'ray'}" in said
    assert (tmp_path / "state" / "logs" / "ray" / "gcs_server.out").stat().st_size
    assert time.monotonic() - began < 120, "it does not wait for what cannot come"


def test_ctrl_c_ends_a_start_that_hangs(tmp_path):
    interrupt = "import os, signal, threading; threading.Timer(15, lambda: os.kill(os.getpid(), signal.SIGINT)).start()"
    assert start(tmp_path, "exec sleep 1000", extra=interrupt).startswith("interrupted")


@pytest.mark.parametrize(("seconds", "worker", "agent"), [(30.5, 60, 100_000), (300, 300, 300_000)])
def test_rays_limits_follow_ours_and_never_shrink_below_its_own(seconds, worker, agent):
    limits = {name: int(value) for name, value in limits_of(seconds).items()}
    assert limits["RAY_raylet_start_wait_time_s"] >= seconds
    assert limits["RAY_gcs_server_port_wait_time_s"] >= seconds
    assert limits["RAY_worker_register_timeout_seconds"] == worker
    assert limits["RAY_agent_register_timeout_ms"] == agent
