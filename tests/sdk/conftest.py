"""A live platform for the module, and a manager on it."""

from __future__ import annotations

import pytest

from streamb import ProductionMLManager
from tests.sdk.live import LivePlatform


@pytest.fixture
def live(tmp_path):
    with LivePlatform(tmp_path / "state").running() as platform:
        yield platform


@pytest.fixture
def manager(live):
    with ProductionMLManager(address=live.url, api_key=live.backend.api_key) as manager:
        yield manager
