"""One real platform (and with it one real local Ray) for all tests of this folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamb.cluster import RunningPlatform, start_platform
from streamb.config import load_settings

GATEWAYS = 2


@pytest.fixture(scope="session")
def state_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="streamb-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def platform(state_dir: Path) -> Iterator[RunningPlatform]:
    """A platform in development mode with two gateways, on a free port; stopped, with every process, at the end."""
    settings = load_settings(environment="development", state_dir=state_dir, port=0, gateway_replicas=GATEWAYS)
    running = start_platform(settings)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def ray_cluster(platform: RunningPlatform) -> str:
    """The address of the session's local Ray, which this process is connected to."""
    return platform.ray_address
