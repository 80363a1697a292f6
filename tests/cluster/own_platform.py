"""A platform of a test's own, in processes of its own (`streamb up`), which the test may kill as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from streamb import ProductionMLManager
from streamb.config import child_environment
from streamb.sdk.discovery import KEY_FILE, read_platform_file
from tests.cluster.processes import until

START_S = 180


class OwnPlatform:
    """`streamb up` on a state directory, with two gateways.

    Args:
        state_dir: its folder; what it holds is there again after another start.
        settings: `ML_*` variables by the setting's name.
    """

    def __init__(self, state_dir: Path, **settings: str) -> None:
        self.state_dir = state_dir
        variables = {"gateway_replicas": "2", "request_timeout_s": "60", "start_timeout_s": "150", **settings}
        self._environment = child_environment(**{f"ML_{name.upper()}": value for name, value in variables.items()})
        self.start()

    def start(self) -> None:
        """Start it, and wait until it says that it is up."""
        log = self.state_dir.with_name(f"{self.state_dir.name}.log")
        command = [sys.executable, "-m", "streamb", "up", "--no-sample", "--port", "0", "--state-dir"]
        with log.open("w") as said:
            self.process = subprocess.Popen(
                [*command, str(self.state_dir)], stdout=said, stderr=said, env=self._environment
            )

        def up() -> bool:
            assert self.process.poll() is None, log.read_text()[-3000:]
            return "streamb is up" in log.read_text()

        until(up, START_S, "it is up")
        info = read_platform_file(self.state_dir)
        assert info is not None
        self.url, self.api_key = info.url, (self.state_dir / KEY_FILE).read_text().strip()

    def manager(self) -> ProductionMLManager:
        """A connection to it."""
        return ProductionMLManager(address=self.url, api_key=self.api_key, state_dir=self.state_dir)

    def kill(self) -> None:
        """Every process of it ends at once, as when the machine loses power."""
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGSTOP)  # so that nobody sees the others die
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait(60)
        psutil.wait_procs(family, timeout=30)

    def stop(self) -> None:
        """Stop it as Ctrl-C does; kill it if it does not stop."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int):
    """A disk of its own, mounted at the folder; needs root on Linux."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def may_mount() -> bool:
    """Whether this process may mount a disk."""
    return sys.platform == "linux" and os.geteuid() == 0
