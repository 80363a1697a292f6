"""One real platform (and with it one real local Ray) for all tests that need one."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamb import __version__
from streamb.config import load_settings
from streamb.sdk.discovery import KEY_FILE, RunningInfo, write_platform_file

if TYPE_CHECKING:
    from streamb.cluster import RunningPlatform

GATEWAYS = 2


@pytest.fixture(scope="session")
def state_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="streamb-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def platform(state_dir: Path) -> Iterator[RunningPlatform]:
    """A platform in development mode with two gateways, on a free port; stopped, with every process, at the end."""
    from streamb.cluster import start_platform  # takes seconds: only where it is needed

    settings = load_settings(
        environment="development",
        state_dir=state_dir,
        port=0,
        gateway_replicas=GATEWAYS,
        request_timeout_s=60,
    )
    running = start_platform(settings)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def ray_cluster(platform: RunningPlatform) -> str:
    """The address of the session's local Ray, which this process is connected to."""
    return platform.ray_address


@pytest.fixture
def beside_a_platform(platform: RunningPlatform, empty_folder: None) -> None:
    """The session's platform runs here, as far as the files tell that `streamb up` leaves in its folder."""
    folder = Path(".streamb")
    folder.mkdir()
    write_platform_file(folder, RunningInfo(platform.url, os.getpid(), time.time(), __version__))
    (folder / KEY_FILE).write_text(platform.api_key)
