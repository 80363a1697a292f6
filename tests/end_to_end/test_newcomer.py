"""What a newcomer does, with nothing replaced: start, copy the printed line, look around, stop."""

import json
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from streamb import ProductionMLManager
from tests.cluster.processes import until

pytestmark = [pytest.mark.ray, pytest.mark.fault, pytest.mark.timeout(300)]

READY_S = 90
"""The promise of the README: ready and answering within this, after the installation."""


def streamb(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamb", *arguments], capture_output=True, text=True, timeout=timeout
    )


class Up:
    """A `streamb up` in the foreground, as in a terminal."""

    def __init__(self, state_dir) -> None:
        self.state_dir, self.began = state_dir, time.monotonic()
        command = [sys.executable, "-m", "streamb", "up", "--port", "0", "--state-dir", str(state_dir)]
        self.said = state_dir.with_name(f"{state_dir.name}.stderr")
        with self.said.open("w") as said:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
        self.lines: list[str] = []

    def until(self, pattern: str) -> str:
        for line in self.process.stdout:
            self.lines.append(line)
            if re.search(pattern, line):
                return line.strip()
        raise AssertionError(f"ended without {pattern!r}: {self.lines} {self.said.read_text()[-2000:]}")

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    running = Up(tmp_path_factory.mktemp("newcomer"))
    yield running
    running.end()


def test_a_newcomers_first_session(up):
    curl = up.until(r"curl .*predict")
    assert time.monotonic() - up.began < READY_S
    command = curl[curl.index("curl") :]
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True).stdout
    assert json.loads(answer)["predictions"][0] in {"setosa", "versicolor", "virginica"}, answer

    second = streamb("up", "--state-dir", str(up.state_dir))
    assert second.returncode == 1
    assert "already" in second.stderr
    assert "Traceback" not in second.stderr

    status = streamb("status", "--state-dir", str(up.state_dir), "--json")
    assert status.returncode == 0, status.stderr
    assert [model["model_id"] for model in json.loads(status.stdout)["models"]] == ["iris"]
    health = streamb("health", "--state-dir", str(up.state_dir), "--json")
    assert json.loads(health.stdout)["status"] == "healthy"

    with ProductionMLManager(state_dir=up.state_dir) as manager:
        assert not manager.embedded, "attaches instead of starting a second platform"
        assert manager.predict("iris", [[6.7, 3.0, 5.2, 2.3]]).predictions == ["virginica"]

    family = up.family()
    assert len(family) > 5
    up.end()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive, [p.cmdline() for p in alive]
    assert up.process.returncode == 0
    assert not (up.state_dir / "platform.json").exists()


def test_started_again_it_serves_what_it_served_and_killed_it_takes_everything_with_it(up):
    assert up.process.poll() is not None, "the first test has stopped it"
    again = Up(up.state_dir)
    try:
        again.until(r"curl .*predict")
        with ProductionMLManager(state_dir=up.state_dir) as manager:
            assert manager.predict("iris", [[5.1, 3.5, 1.4, 0.2]]).predictions == ["setosa"]
        # Ray's own agents notice that their parent is gone, but take up to two minutes over their last report.
        family = [process for process in again.family() if "Agent" not in process.name()]
        again.process.kill()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive, [p.cmdline() for p in alive]
    finally:
        again.end()


def test_down_stops_it_while_it_starts(up):
    assert up.process.poll() is not None, "the first test has stopped it"
    starting = Up(up.state_dir)
    try:
        until(lambda: "waiting for Ray Serve" in starting.said.read_text(), 60)
        family = starting.family()
        down = streamb("down", "--state-dir", str(up.state_dir))
        assert down.returncode == 0, down.stderr
        starting.process.wait(60)
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive, [p.cmdline() for p in alive]
    finally:
        starting.end()
